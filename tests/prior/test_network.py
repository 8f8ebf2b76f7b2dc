"""A cascade that grows computes what it did before, until training finds something for the new stages to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.prior.bundle import initialise, load_bundle
from ambient_mri.prior.network import architecture, build_network, grown
from ambient_mri.prior.preconditioning import AmbientPrior


def test_a_grown_model_answers_as_the_one_that_it_grew_from() -> None:
    bundle = load_bundle("brain_flair_64_refined")
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


def test_a_stage_sees_what_the_measurement_added_to_the_prediction_before_it() -> None:
    """How the scan answers a guess: all that a network without coil maps learns of them."""
    network = build_network(replace(architecture("tiny"), stages=2), seed=1)
    for stage in network.stages:
        torch.nn.init.normal_(stage.out[-1].conv.weight, std=0.1)  # type: ignore[index, union-attr]
    entered: list[torch.Tensor] = []
    network.stages[1].register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    guesses: list[torch.Tensor] = []

    def complete(guess: torch.Tensor) -> torch.Tensor:
        guesses.append(guess)
        return 0.3 * guess.roll(3, -1) + 1.0

    start = torch.randn(2, 1, 16, 16, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    network(start, torch.zeros(2, 1, 16, 16), torch.zeros(2), complete)
    planes = torch.nn.functional.pixel_shuffle(entered[0], network.patch)
    missed = complete(guesses[0]) - guesses[0]
    torch.testing.assert_close(torch.complex(planes[:, 5], planes[:, 6]), missed[:, 0])
    torch.testing.assert_close(torch.complex(planes[:, 0], planes[:, 1]), complete(guesses[0])[:, 0])
    torch.testing.assert_close(torch.complex(planes[:, 2], planes[:, 3]), start[:, 0])


def test_weights_of_fewer_planes_answer_as_before() -> None:
    """The missing columns of each first layer become zero; nothing else changes, and no weight is cut off."""
    network = build_network(architecture("tiny"), seed=1)
    now = network.state_dict()
    first = "stages.1.conv_in.conv.weight"
    old = {name: value[:, :20] if ".conv_in.conv.weight" in name else value for name, value in now.items()}
    wide = grown(old, "tiny", "tiny")
    assert wide[first].shape == now[first].shape
    assert not wide[first][:, 20:].any()
    assert torch.equal(wide[first][:, :20], now[first][:, :20])
    assert now[first][:, 20:].any()
    assert all(torch.equal(wide[name], now[name]) for name in now if not name.endswith("conv_in.conv.weight"))
    network.load_state_dict(wide)
    more = {first: torch.nn.functional.pad(now[first], (0, 0, 0, 0, 0, 4))}
    assert grown(more, "tiny", "tiny")[first].shape == more[first].shape, "for load_state_dict to refuse"


def test_new_stages_are_copies_with_a_silent_last_layer() -> None:
    weights = {name: value + 1 for name, value in build_network(architecture("small")).state_dict().items()}
    made = grown(weights, "small", "deep")
    assert made.keys() == build_network(architecture("deep")).state_dict().keys()
    inner, outer = "conv_in.conv.weight", "out.2.conv.weight"
    for stage, origin in enumerate([0, 1, 1, 1, 2]):
        assert torch.equal(made[f"stages.{stage}.{inner}"], weights[f"stages.{origin}.{inner}"])
        assert bool(made[f"stages.{stage}.{outer}"].any()) is (stage not in (2, 3))


@pytest.mark.parametrize(("have", "want"), [("deep", "small"), ("small", "base")])
def test_what_cannot_grow_is_refused(have: str, want: str) -> None:
    with pytest.raises(InputError, match=rf"of preset {have}, cannot become one of {want}\. Give --preset {have}"):
        grown({}, have, want)
