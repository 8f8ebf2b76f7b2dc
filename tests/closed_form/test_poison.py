"""METHOD check 8: NaN in every sample that was not measured changes nothing, from the scanner to the gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from monai.transforms import Compose
from torch import Tensor

from ambient_mri.coils import absorb_phase, edge_samples, espirit_maps, noise_std
from ambient_mri.corruption import FurtherCorruption
from ambient_mri.data.simulation import Acquisition, acquire, sample_everything
from ambient_mri.data.transforms import EstimateSensitivityMapsd, NormalizeByMeasuredd, RandUndersampled
from ambient_mri.measurement import Measurement, collate, energy_scale
from ambient_mri.operators import keep
from ambient_mri.patterns import Blocks, Pattern, Pixels, RandomLines, RandomPoints
from ambient_mri.prior.network import Architecture, build_network
from ambient_mri.prior.objective import ambient_loss, withheld_error
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.steps import draw
from ambient_mri.sampling.one_step import one_step
from tests.laws.expectation import generators

SHAPE = (20, 24)
SMALL = Architecture((8, 16), 1)


def _image() -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, SHAPE[0]), torch.linspace(-1, 1, SHAPE[1]), indexing="ij")
    return ((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1) * (1 + 0.4 * torch.cos(9 * x) * torch.cos(7 * y))


def _poison(y: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, y, torch.nan)


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(torch.view_as_real(value) if value.is_complex() else value).all())


ACQUISITIONS = {
    "lines, known maps": Acquisition(RandomLines(2, 0.3), noise_std=0.02),
    "lines, estimated maps": Acquisition(RandomLines(2, 0.3), noise_std=0.02, sensitivity_maps="espirit"),
    "points, estimated maps": Acquisition(RandomPoints(2, 0.4), noise_std=0.02, sensitivity_maps="espirit"),
    "pixels": Acquisition(Pixels(0.6), domain="image", noise_std=0.02),
    "block": Acquisition(Blocks(0.4, 0.4), domain="image"),
}


@dataclass(frozen=True)
class Twins:
    """The same two scans, one with zeros and one with NaN where nothing was measured."""

    clean: Measurement
    poisoned: Measurement


def _twins(name: str) -> Twins:
    acquisition, pairs = ACQUISITIONS[name], []
    for scan in ("a", "b"):
        full = sample_everything(_image(), acquisition, scan)
        clean = acquire(full.samples, acquisition, scan, maps=full.maps)
        poisoned = acquire(_poison(full.samples, clean.mask), acquisition, scan, maps=full.maps)
        pairs.append((clean, poisoned))
    clean, poisoned = (collate(list(parts)) for parts in zip(*pairs, strict=True))
    return Twins(clean, replace(poisoned, y=_poison(poisoned.y, poisoned.mask)))


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_acquisition_maps_phase_and_scale(name: str) -> None:
    twins = _twins(name)
    for part in ("mask", "sensitivity_maps", "noise_std", "scale"):
        ours, theirs = getattr(twins.clean, part), getattr(twins.poisoned, part)
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)
    assert torch.equal(twins.clean.y, twins.poisoned.without_unmeasured().y)
    assert bool(twins.poisoned.y.isnan().any())
    assert torch.equal(twins.clean.adjoint(), twins.poisoned.adjoint())
    assert _finite(twins.poisoned.adjoint())


@pytest.mark.parametrize("name", ["lines, known maps", "points, estimated maps"])
def test_coils_and_noise(name: str) -> None:
    y, mask = _twins(name).poisoned.y, _twins(name).poisoned.mask
    maps = espirit_maps(y, mask)
    assert _finite(maps)
    assert torch.equal(maps, espirit_maps(keep(mask, y), mask))
    assert torch.equal(absorb_phase(maps, y, mask), absorb_phase(maps, keep(mask, y), mask))
    assert noise_std(edge_samples(y, mask)) == noise_std(edge_samples(keep(mask, y), mask))
    probability = ACQUISITIONS[name].pattern.probability(SHAPE)
    assert energy_scale(y, mask, probability, 0.01) == energy_scale(keep(mask, y), mask, probability, 0.01)


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_training_validation_and_use(name: str) -> None:
    twins, pattern = _twins(name), ACQUISITIONS[name].pattern
    network = build_network(SMALL)
    prior = AmbientPrior(network)
    law = FurtherCorruption(pattern, (0.4, 0.9))
    results = []
    for scans in (twins.clean, twins.poisoned):
        drawn = draw(scans, law, generators(0, 2))
        noise = drawn.noise if scans is twins.clean else _poison(drawn.noise, drawn.further.operator.mask)
        arguments = scans.operator(), drawn.further
        loss = ambient_loss(prior, scans.y, *arguments, drawn.sigma, scans.noise_std, noise)
        gradients = torch.autograd.grad(loss.mean(), list(network.parameters()))
        with torch.no_grad():
            error, energy = withheld_error(prior, scans.y, *arguments, scans.noise_std)
            images = one_step(prior, scans), one_step(prior, scans, consistency=0.01)
        results.append([loss.detach(), *gradients, error, energy, *images])
    for ours, theirs in zip(*results, strict=True):
        assert _finite(theirs)
        assert torch.equal(ours, theirs)


def test_monai_transforms() -> None:
    pattern: Pattern = RandomLines(2, 0.3)
    full = sample_everything(_image(), ACQUISITIONS["lines, known maps"], "a").samples[0]
    steps = [
        RandUndersampled("kspace", pattern, domain="kspace"),
        EstimateSensitivityMapsd("kspace"),
        NormalizeByMeasuredd("kspace", pattern),
    ]
    first = Compose(steps).set_random_state(3)({"kspace": full})
    again = Compose(steps).set_random_state(3)({"kspace": _poison(full, first["mask"])})
    for key in ("kspace", "mask", "sensitivity_maps"):
        assert torch.equal(first[key], again[key])
    assert first["scale"] == again["scale"]
    later = {"kspace": _poison(full, first["mask"]), "mask": first["mask"]}  # a reader that leaves NaN
    later = Compose(steps[1:])(later)
    assert torch.equal(later["sensitivity_maps"], first["sensitivity_maps"])
    assert later["scale"] == first["scale"]
