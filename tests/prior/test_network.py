"""A cascade that grows computes what it did before, until training finds something for the new stages to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.measurement import DATA_STD
from ambient_mri.operators import Identity, Masked
from ambient_mri.prior import completion
from ambient_mri.prior.bundle import initialise, load_bundle
from ambient_mri.prior.network import (
    LIKENESS,
    LIKENESS_START,
    LOG_VARIANCE,
    Architecture,
    Cascade,
    architecture,
    build_network,
    grown,
)
from ambient_mri.prior.preconditioning import AmbientPrior, output_scale


def test_a_grown_model_answers_as_the_one_that_it_grew_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where iterations end: with more stages there are more of them."""
    monkeypatch.setattr(completion, "ITERATIONS", 300)
    monkeypatch.setattr(completion, "TOLERANCE", 1e-6)
    bundle = load_bundle("brain_128_refined")
    assert bundle.card.preset == "small", "of fewer stages"
    network = build_network(architecture("deep"))
    initialise(bundle.path, network, "deep")
    scan = open_scans(load_spec("brain_demo"), "train", limit=1)[0]
    A = scan.operator()
    before = AmbientPrior(bundle.prior.network).denoise(A.adjoint(scan.y), scan.noise_std, A)
    after = AmbientPrior(network).denoise(A.adjoint(scan.y), scan.noise_std, A)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    assert float(before.abs().max()) > 0.5, "a model that answers"
    after.abs().square().sum().backward()  # type: ignore[no-untyped-call]
    for stage in network.stages:
        assert float(stage.out[-1].conv.weight.grad.abs().max()) > 0, "every stage learns from the first step"  # type: ignore[index, union-attr]


def _random(sizes: Architecture) -> Cascade:
    network = build_network(sizes, seed=1)
    for stage in network.stages:
        torch.nn.init.normal_(stage.out[-1].conv.weight, std=0.1)  # type: ignore[index, union-attr]
    return network


def test_a_stage_sees_what_the_measurement_added_to_the_prediction_before_it() -> None:
    """How the scan answers a guess: all that a network without coil maps learns of them."""
    network = _random(replace(architecture("tiny"), stages=2))
    entered: list[torch.Tensor] = []
    network.stages[1].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    network.stages[0].register_forward_hook(lambda _, given, made: entered.append(made))
    guesses: list[torch.Tensor] = []

    def complete(
        guess: torch.Tensor, variance: torch.Tensor, likeness: torch.Tensor, last: torch.Tensor
    ) -> torch.Tensor:
        guesses.append(guess)
        known = variance + 0.7 * likeness[:, :2] + 0.4 * likeness[:, 2:]
        return 0.3 * guess.roll(3, -1) + torch.complex(known[:, :1], known[:, 1:]) + 0.5 * last

    start = torch.randn(2, 1, 16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([0.1, 0.2]).reshape(2, 1, 1, 1)
    network(start, torch.zeros(2, 1, 16, 16), torch.zeros(2), complete, scale)
    made, planes = (torch.nn.functional.pixel_shuffle(folded, network.patch) for folded in entered)
    parts = [torch.complex(made[:, k : k + 1], made[:, k + 1 : k + 2]) for k in (0, 2)]
    variance = (LOG_VARIANCE * made[:, 4:6].tanh()).exp()
    likeness = (LIKENESS_START + LIKENESS * made[:, 6:10].tanh()).exp()
    completed = complete(parts[0], variance, likeness, start)
    torch.testing.assert_close(guesses[0], parts[0])
    assert min(float(of.detach().std() / of.detach().mean()) for of in (variance, likeness)) > 0.1, (
        "of every pixel its own"
    )
    torch.testing.assert_close(torch.complex(planes[:, 5:6], planes[:, 6:7]), completed - parts[0])
    torch.testing.assert_close(torch.complex(planes[:, :1], planes[:, 1:2]), completed + scale * parts[1])
    torch.testing.assert_close(torch.complex(planes[:, 2:3], planes[:, 3:4]), start)


def test_weights_of_before_answer_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that saw five planes, made one prediction and said nothing of variances: whole images, where one formula
    holds for both, but for the little likeness that all begin with."""
    monkeypatch.setattr("ambient_mri.prior.network.LIKENESS_START", -30.0)
    sizes = architecture("tiny")
    network, pixels = _random(sizes), sizes.patch**2
    old, now = {}, network.state_dict()
    for name, value in now.items():
        if ".conv_in.conv.weight" in name:
            value = value[:, : 5 * pixels]
        if ".out.2.conv." in name:
            gains = value[10 * pixels :]
            value = torch.cat([value[: 2 * pixels], gains])
        old[name] = value
    wide = grown(old, "tiny", "tiny")
    assert {name: value.shape for name, value in wide.items()} == {name: value.shape for name, value in now.items()}
    network.load_state_dict(wide)
    x, sigma = torch.randn(2, 1, 16, 16, dtype=torch.complex64), torch.tensor([0.05, 1.0])
    A = Masked(Identity(), torch.ones(2, 1, 16, 16, dtype=torch.bool))
    entered: list[torch.Tensor] = []
    network.stages[1].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    predictions: list[torch.Tensor] = []
    network.stages[0].register_forward_hook(lambda _, given, made: predictions.append(made[:, : 2 * pixels]))
    AmbientPrior(network).denoise(x, sigma, A)
    F, seen = (torch.nn.functional.pixel_shuffle(of[0], sizes.patch)[:, :2] for of in (predictions, entered))
    sigma = sigma[:, None, None, None]
    lam = (sigma / DATA_STD).square()
    expected = (x / DATA_STD + (lam + output_scale(sigma) / DATA_STD) * torch.complex(*F.chunk(2, 1))) / (1 + lam)
    torch.testing.assert_close(torch.complex(*seen.chunk(2, 1)), expected)
    assert not wide["stages.1.conv_in.conv.weight"][:, 5 * pixels :].any()
    more = {"stages.1.conv_in.conv.weight": torch.zeros(32, 40, 3, 3)}
    assert grown(more, "tiny", "tiny")["stages.1.conv_in.conv.weight"].shape[1] == 40, "for load_state_dict to refuse"


def test_weights_that_knew_no_likeness_keep_all_else() -> None:
    sizes = architecture("tiny")
    now, pixels = _random(sizes).state_dict(), sizes.patch**2
    old = dict(now)
    for stage in range(sizes.stages):
        for name in (f"stages.{stage}.out.2.conv.{kind}" for kind in ("weight", "bias")):
            old[name] = torch.cat([now[name][: 6 * pixels], now[name][10 * pixels :]])
    wide = grown(old, "tiny", "tiny")
    for name, value in now.items():
        expected = value.clone()
        if ".out.2.conv." in name:
            expected[6 * pixels : 10 * pixels] = 0
        assert torch.equal(wide[name], expected), name
    assert all(torch.equal(now[name], value) for name, value in grown(now, "tiny", "tiny").items()), "nor twice"


def test_new_stages_are_copies_that_predict_nothing() -> None:
    weights = {name: value + 1 for name, value in build_network(architecture("small")).state_dict().items()}
    made = grown(weights, "small", "deep")
    assert made.keys() == build_network(architecture("deep")).state_dict().keys()
    inner, outer = "conv_in.conv.weight", "out.2.conv.weight"
    for stage, origin in enumerate([0, 1, 1, 1, 2]):
        assert torch.equal(made[f"stages.{stage}.{inner}"], weights[f"stages.{origin}.{inner}"])
        predicted, variances = made[f"stages.{stage}.{outer}"].split([16, len(made[f"stages.{stage}.{outer}"]) - 16])
        assert bool(predicted.any()) is (stage not in (2, 3)), "nor correct"
        assert variances.any(), "what is not known yet, they know as before"


@pytest.mark.parametrize(("have", "want"), [("deep", "small"), ("small", "base")])
def test_what_cannot_grow_is_refused(have: str, want: str) -> None:
    with pytest.raises(InputError, match=rf"of preset {have}, cannot become one of {want}\. Give --preset {have}"):
        grown({}, have, want)
