"""A cascade that grows computes what it did before, until training finds something for the new stages to do."""

from __future__ import annotations

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
