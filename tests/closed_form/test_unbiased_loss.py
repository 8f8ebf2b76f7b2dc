"""METHOD check 2: for an arbitrary predictor the weighted loss on corrupted data is the clean loss on average."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.corruption import Corruption, Further, FurtherCorruption, MixedCorruption
from ambient_mri.errors import InputError
from ambient_mri.measurement import DATA_STD
from ambient_mri.operators import Encoding, Fourier, Identity, Masked, Sense
from ambient_mri.patterns import (
    Blocks,
    EmpiricalLines,
    FullySampled,
    GaussianLines,
    Pattern,
    Pixels,
    RandomLines,
    RandomPoints,
)
from ambient_mri.prior.objective import ambient_loss, withheld_error
from tests.laws.expectation import check_mean, check_not_mean, generators
from tests.laws.operators import complex_normal

SHAPE = (7, 10)
LARGE = 1e4  # c_out → σ_d, so that what D showed and what it hid count alike


@dataclass(frozen=True)
class Arbitrary:
    """A predictor that no one would train: nonlinear in its input, and it looks at the mask."""

    seen: list[Tensor] = field(default_factory=list)

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        share = given.mask.float().mean((1, 2, 3), keepdim=True)
        wave = torch.sin(x_in.real / sigma[:, None, None, None] + torch.arange(SHAPE[1]))
        self.seen.append(torch.complex(wave + share, x_in.imag.sign() * given.mask))
        return self.seen[-1]


def _maps() -> Tensor:
    maps = complex_normal(1, 3, *SHAPE, rng=Generator().manual_seed(7))
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


CASES: dict[str, tuple[Pattern, Encoding]] = {
    "pixels": (Pixels(0.6), Identity()),
    "block": (Blocks(0.4, 0.5), Identity()),
    "one coil, lines": (RandomLines(2.5, 0.2), Fourier()),
    "one coil, points": (RandomPoints(3, 0.2), Fourier()),
    "coils, lines": (RandomLines(2.5, 0.2), Sense(_maps())),
    "coils, gaussian lines": (GaussianLines(2.5, 0.2), Sense(_maps())),
    "coils, empirical lines": (EmpiricalLines((0.3, 0.5, 0.4, 1.0, 1.0, 1.0, 0.6, 0.5, 0.3, 0.5)), Sense(_maps())),
    "coils, fully sampled": (FullySampled(RandomLines(2.5, 0.2)), Sense(_maps())),
}


@dataclass(frozen=True)
class Scans:
    x: Tensor
    y: Tensor
    A: Masked
    further: Further
    noise: Tensor
    possible: Tensor  # 1 where A could have measured, given Ã


def _scans(name: str, count: int = 1200, noise_std: float = 0.0) -> Scans:
    pattern, encoding = CASES[name]
    rng, rngs = Generator().manual_seed(0), generators(1, count)
    x = complex_normal(count, 1, *SHAPE, rng=rng) + 0.5
    A = Corruption(pattern).draw(encoding, SHAPE, rngs)
    samples = encoding.forward(x)
    y = samples + noise_std * complex_normal(*samples.shape, rng=rng)
    further = FurtherCorruption(pattern, (0.3, 0.9)).draw(A, rngs)
    q = [pattern.given(s, m, 0.6)[None] for s, m in zip(further.operator.mask[:, 0], A.mask[:, 0], strict=True)]
    return Scans(x, y, A, further, complex_normal(*samples.shape, rng=rng), (torch.stack(q) > 0).float())


def _clean_error(scans: Scans, estimate: Tensor, where: Tensor) -> Tensor:
    """Σ over `where` of |E(h - x)|², `(b,)`: the loss that needs clean images."""
    error = scans.A.encoding.forward(estimate - scans.x).abs().square()
    return (where * error).sum((1, 2, 3))


@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_the_clean_loss(name: str) -> None:
    scans, prior = _scans(name), Arbitrary()
    count, pixels = len(scans.x), SHAPE[0] * SHAPE[1]
    sigma, silent = torch.full((count,), LARGE), torch.zeros(count)
    loss = ambient_loss(prior, scans.y, scans.A, scans.further, sigma, silent, scans.noise)
    estimate = prior.seen[-1]
    clean = _clean_error(scans, estimate, scans.possible)
    if name != "block":  # where two blocks overlap nothing could be measured; everywhere else the loss is the clean one
        assert torch.allclose(clean, (estimate - scans.x).abs().square().sum((1, 2, 3)), rtol=1e-4)
    check_mean(loss * pixels * DATA_STD**2 - clean, 0.0, slack=1e-4 * float(clean.mean()))

    if name == "coils, fully sampled":
        return
    unweighted = replace(scans.further, weight=scans.A.mask.float())
    biased = ambient_loss(prior, scans.y, scans.A, unweighted, sigma, silent, scans.noise)
    check_not_mean(biased * pixels * DATA_STD**2 - clean, 0.0)


@pytest.mark.parametrize("name", ["pixels", "coils, lines", "coils, gaussian lines"])
def test_validation_without_truth_is_unbiased_with_noise(name: str) -> None:
    scans, prior, noise_std = _scans(name, noise_std=0.4), Arbitrary(), torch.full((1200,), 0.4)
    pixels = SHAPE[0] * SHAPE[1]
    error, energy = withheld_error(prior, scans.y, scans.A, scans.further, noise_std)
    hidden = (~scans.further.operator.mask).float()
    clean = _clean_error(scans, prior.seen[-1], hidden)
    check_mean(error * pixels - clean, 0.0)
    check_mean(energy * pixels - _clean_error(scans, torch.zeros_like(scans.x), hidden), 0.0)
    silent, _ = withheld_error(prior, scans.y, scans.A, scans.further, torch.zeros(1200))
    check_not_mean(silent * pixels - clean, 0.0, deviations=5)  # the noise of the targets, not subtracted


LAWS = (
    FurtherCorruption(RandomLines(2.5, 0.2), (0.3, 0.9)),
    FurtherCorruption(RandomLines(5.0, 0.0), (0.4, 0.6)),
    FurtherCorruption(RandomPoints(3, 0.2), (0.3, 0.9)),
    FurtherCorruption(FullySampled(RandomLines(2.5, 0.2)), (0.3, 0.9)),
)
"""Lines of two accelerations, points, and fully sampled scans: what meets in the batches of a mixture."""


def _mixed(count: int = 1600) -> tuple[Scans, list[int]]:
    """Scans of all laws in turn in one batch, line masks as copies over rows beside masks of points."""
    rng, encoding = Generator().manual_seed(0), Sense(_maps())
    component = [i % len(LAWS) for i in range(count)]
    rngs = zip(component, generators(1, count), strict=True)
    drawn = [LAWS[k].pattern.draw(SHAPE, one).expand(SHAPE) for k, one in rngs]
    A = Masked(encoding, torch.stack(drawn)[:, None])
    x = complex_normal(count, 1, *SHAPE, rng=rng) + 0.5
    y = encoding.forward(x)
    further = MixedCorruption(LAWS).draw(A, generators(2, count), component)
    return Scans(x, y, A, further, complex_normal(*y.shape, rng=rng), torch.ones_like(further.weight)), component


def _surplus(scans: Scans, further: Further) -> Tensor:
    """Loss less the clean one, `(b,)`."""
    prior, count = Arbitrary(), len(scans.x)
    sigma, silent = torch.full((count,), LARGE), torch.zeros(count)
    loss = ambient_loss(prior, scans.y, scans.A, further, sigma, silent, scans.noise)
    clean = (prior.seen[-1] - scans.x).abs().square().sum((1, 2, 3))
    return loss * SHAPE[0] * SHAPE[1] * DATA_STD**2 - clean


def test_the_loss_of_a_mixture_is_the_clean_loss_for_every_component() -> None:
    scans, component = _mixed()
    surplus, which = _surplus(scans, scans.further), torch.tensor(component)
    check_mean(surplus, 0.0, slack=1e-2)
    for k in range(len(LAWS)):
        check_mean(surplus[which == k], 0.0, slack=1e-2)
    lines = scans.further.operator.mask[which != 2]
    assert torch.equal(lines, lines[:, :, :1].expand_as(lines)), "whole lines are hidden or shown"


def test_the_law_of_another_component_is_biased_or_refused() -> None:
    scans, component = _mixed()
    swapped = [{0: 1, 1: 0}.get(k, k) for k in component]
    further = MixedCorruption(LAWS).draw(scans.A, generators(2, len(component)), swapped)
    which = torch.tensor(component)
    check_not_mean(_surplus(scans, further)[which == 1], 0.0, deviations=5)
    with pytest.raises(InputError, match="a mask of points for a law of whole lines"):
        MixedCorruption(LAWS).draw(scans.A, generators(2, len(component)), None)


@pytest.mark.parametrize("name", ["coils, lines", "coils, gaussian lines", "coils, empirical lines"])
def test_a_copy_of_a_line_mask_over_rows_is_thinned_by_lines(name: str) -> None:
    pattern, encoding = CASES[name]
    law, rngs = FurtherCorruption(pattern, (0.3, 0.9)), generators(1, 40)
    A = Corruption(pattern).draw(encoding, SHAPE, rngs)
    copies = Masked(encoding, A.mask.expand(-1, -1, SHAPE[0], -1))
    one, other = law.draw(A, generators(2, 40)), law.draw(copies, generators(2, 40))
    assert other.weight.shape == (40, 1, *SHAPE)
    assert torch.equal(one.weight.expand_as(other.weight), other.weight)
    assert torch.equal(one.operator.mask.expand_as(other.weight), other.operator.mask)
    with pytest.raises(ValueError, match="on a grid of"):
        pattern.thin(copies.mask[0, 0], 0.5, rngs[0])
