"""Plug-and-play: for masks that the network never met, and consistent with what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.metrics import psnr
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.patterns import Pattern, PoissonDisc, RandomLines
from ambient_mri.prior.bundle import Bundle, load_bundle
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.methods import reconstruction
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.plug_and_play import STEPS, plug_and_play
from tests.laws.operators import relative

SLICES = 4


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(located("brain_flair_64"))


def _scans(pattern: Pattern) -> tuple[Measurement, Tensor]:
    scans = open_evaluation(load_spec("brain_demo"), "test", pattern=pattern, limit=SLICES)
    measured, truths = zip(*scans, strict=True)
    return collate(measured), torch.cat(truths).abs()


def _psnr(image: Tensor, truth: Tensor) -> float:
    return sum(psnr(truth[i].numpy(), image[i].abs().numpy()) for i in range(SLICES)) / SLICES


@pytest.mark.parametrize(("pattern", "wins"), [(PoissonDisc(4, 0.08), True), (RandomLines(4, 0.08), False)])
def test_it_is_for_masks_of_another_kind(pattern: Pattern, wins: bool, bundle: Bundle) -> None:
    """The model has seen lines only."""
    scan, truth = _scans(pattern)
    one, turns = (_psnr(reconstruction(name, bundle)(scan, None), truth) for name in ("one-step", "plug-and-play"))
    assert (turns > one + 0.2) is wins


class Counted(AmbientPrior):
    calls = 0

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        type(self).calls += 1
        return super().denoise(x_in, sigma, given)


def test_evaluations_and_strength(bundle: Bundle) -> None:
    """A larger strength leans on the network, a smaller one on the data."""
    scan, _ = _scans(PoissonDisc(4, 0.08))
    observed, prior = Observation.of(scan), Counted(bundle.prior.network)
    with torch.inference_mode():
        residuals = [
            float(observed.residual(plug_and_play(prior, observed, scan.encoding(), strength=strength)).norm())
            for strength in (0.05, 0.5, 5.0)
        ]
    assert Counted.calls == 3 * (1 + STEPS) == 3 * reconstruction("plug-and-play", bundle).evaluations
    assert residuals == sorted(residuals)
    assert residuals[2] > 1.2 * residuals[0]


def test_the_batch_changes_nothing(bundle: Bundle) -> None:
    """Not even beside a scan of other noise."""
    scan, _ = _scans(PoissonDisc(4, 0.08))
    scan = replace(scan, noise_std=scan.noise_std * torch.tensor([1.0, 4.0, 1.0, 2.0]))
    run = reconstruction("plug-and-play", replace(bundle, prior=AmbientPrior(bundle.prior.network)))
    whole = run(scan, None)
    assert relative(torch.cat([run(scan[i : i + 1], None) for i in range(SLICES)]), whole) < 1e-4


def test_a_model_that_knows_one_noise_level_is_refused(bundle: Bundle) -> None:
    unrolled = replace(bundle, card=bundle.card.model_copy(update={"method": "ssdu"}))
    with pytest.raises(InputError, match="plug-and-play asks for all noise levels"):
        reconstruction("plug-and-play", unrolled)


def test_without_a_model() -> None:
    with pytest.raises(InputError, match="plug-and-play needs a trained bundle"):
        reconstruction("plug-and-play", None)
