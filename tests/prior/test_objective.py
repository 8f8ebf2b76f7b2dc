"""The objective reads nothing unmeasured, and its noisy targets teach the signal, not the noise."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ambient_mri import solvers
from ambient_mri.corruption import Further, FurtherCorruption
from ambient_mri.data.cohort import subject
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.data.spec import load_spec
from ambient_mri.measurement import DATA_STD, collate
from ambient_mri.operators import Identity, Masked, Sense
from ambient_mri.patterns import RandomLines
from ambient_mri.prior.completion import Precision, completed
from ambient_mri.prior.feed import compared
from ambient_mri.prior.network import GAIN_START, LIKENESS_START, PRESETS, build_network
from ambient_mri.prior.objective import ambient_loss, withheld_error
from ambient_mri.prior.preconditioning import LAMBDA_FLOOR, AmbientPrior
from ambient_mri.prior.steps import draw
from ambient_mri.prior.validation import summarise
from ambient_mri.randomness import stream, white
from ambient_mri.solvers import Resolvent, conjugate_gradients


@dataclass(frozen=True)
class Shrink:
    """h(x) = w x."""

    weight: Tensor

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return self.weight * x_in


@pytest.mark.parametrize("noise_std", [0.3, 0.0])
def test_noisy_targets_teach_the_bayes_estimate(noise_std: float) -> None:
    """x ~ N(0, s²), everything shown: the least loss is at the Wiener weight s²/(s² + σ²), not at the target's."""
    rng = stream(0, "test")
    signal, sigma = 0.5, 0.6
    x = signal * white((4000, 1, 4, 4), rng)
    y = x + noise_std * white((4000, 1, 4, 4), rng)
    everything = torch.ones(4000, 1, 4, 4, dtype=torch.bool)
    A = Masked(Identity(), everything)
    weights = torch.linspace(0.2, 1.0, 81)
    levels = torch.full((4000,), sigma), torch.full((4000,), noise_std)
    noise = white((4000, 1, 4, 4), rng)
    losses = [
        float(ambient_loss(Shrink(w), y, A, Further(A, everything.float()), *levels, noise).mean()) for w in weights
    ]
    best = float(weights[int(torch.tensor(losses).argmin())])
    assert best == pytest.approx(signal**2 / (signal**2 + sigma**2), abs=0.03)


@pytest.mark.parametrize("noisier", [0.03, 0.3, 3.0])
def test_what_d_showed_counts_the_less_the_less_noise_was_added(noisier: float) -> None:
    """All shown, no network and no drawn noise: the sum is |α y|² over α (α c_out² + σ_y²), with α = 1 - σ_y²/σ²."""
    y, noise_std = white((1, 1, 4, 4), stream(0, "test", 1)), torch.tensor([0.2])
    sigma = noise_std * (1 + noisier)
    A = Masked(Identity(), torch.ones(1, 1, 4, 4, dtype=torch.bool))
    further = Further(A, torch.ones(1, 1, 4, 4))
    loss = ambient_loss(Shrink(torch.zeros(())), y, A, further, sigma, noise_std, torch.zeros_like(y))
    alpha = 1 - float(noise_std / sigma) ** 2
    squared = float(1 / (1 / sigma**2 + 1 / DATA_STD**2))  # c_out²
    expected = alpha * float(y.abs().square().mean()) / (alpha * squared + 0.2**2)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_unmeasured_samples_are_never_read() -> None:
    data = open_scans(load_spec("brain_demo"), "train", limit=2)
    batch = collate([data[0], data[1]])
    poisoned = torch.where(batch.mask, batch.y, torch.nan)
    sizes = PRESETS["tiny"]
    prior = AmbientPrior(build_network(sizes))
    A = batch.operator()
    further = FurtherCorruption(RandomLines(4), (0.3, 0.6)).draw(A, [stream(0, "test", i) for i in range(2)])
    sigma, noise = torch.full((2,), 0.3), white(tuple(batch.y.shape), stream(0, "test", 1, 0))
    loss = ambient_loss(prior, poisoned, A, further, sigma, batch.noise_std, noise)
    loss.mean().backward()
    assert torch.equal(loss, ambient_loss(prior, batch.y, A, further, sigma, batch.noise_std, noise))
    assert all(bool(torch.isfinite(p.grad).all()) for p in prior.network.parameters() if p.grad is not None)
    assert bool(torch.isfinite(withheld_error(prior, poisoned, A, further, batch.noise_std)[0]).all())


def test_the_last_stage_can_silence_a_part_and_begins_by_leaving_all() -> None:
    scan = open_scans(load_spec("brain_demo"), "train", limit=1)[0]
    A, sizes = scan.operator(), PRESETS["tiny"]
    network, x_in = build_network(sizes), A.adjoint(scan.y)
    lam = (scan.noise_std / DATA_STD).square().clamp_min(LAMBDA_FLOOR).reshape(1, 1, 1, 1)
    with torch.no_grad():
        begun = AmbientPrior(network).denoise(x_in, scan.noise_std, A)
        gain_of_imaginary = slice(11 * sizes.patch**2, 12 * sizes.patch**2)  # pixels are folded within each output
        network.stages[-1].out[-1].conv.bias[gain_of_imaginary] = -3.0  # type: ignore[index]
        silent = AmbientPrior(network).denoise(x_in, scan.noise_std, A)
    image = solvers.Resolvent(A, lam)(x_in)  # zeros come out of a network that has learned nothing
    variance, likeness = (
        torch.ones(1, 2, *image.shape[-2:]),
        torch.full((1, 4, *image.shape[-2:]), LIKENESS_START).exp(),
    )
    for _ in network.stages:
        image = completed(A, x_in, torch.zeros_like(image), Precision.of(A, lam, variance, likeness), image)
    torch.testing.assert_close(begun, image * torch.tensor(GAIN_START).sigmoid(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(silent.real, begun.real)
    assert float(begun.imag.abs().max()) > 0.01
    assert float(silent.imag.abs().max()) < 1e-6


def _maps(shape: tuple[int, int, int, int], rng: torch.Generator) -> Tensor:
    maps = white(shape, rng)
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize("width", [96, 0], ids=["rows", "iterated"])
def test_resolvent_solves_is_symmetric_and_differentiates_to_itself(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solvers, "DIRECT_WIDTH", width)
    rng = stream(0, "test")
    maps = _maps((2, 4, 17, 12), rng)
    masks = torch.stack([RandomLines(2, 0.2).draw((17, 12), rng)[None] for _ in range(2)])
    A, lam = Masked(Sense(maps), masks), torch.tensor([0.05, 0.2]).reshape(2, 1, 1, 1)
    inverse = Resolvent(A, lam)
    b, c = A.normal(white((2, 1, 17, 12), rng)), A.normal(white((2, 1, 17, 12), rng))
    exact = conjugate_gradients(A, b, lam, tolerance=1e-6)
    tolerance = 1e-4 if width else 0.02
    assert float((inverse(b) - exact).norm() / exact.norm()) < tolerance
    assert float((inverse(A.normal(c)) - c + lam * inverse(c)).norm() / c.norm()) < 2 * tolerance
    assert torch.allclose(torch.vdot(c.flatten(), inverse(b).flatten()),
                          torch.vdot(inverse(c).flatten(), b.flatten()), rtol=tolerance)  # fmt: skip
    leaf = b.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(inverse(leaf), leaf, grad_outputs=c)
    assert torch.allclose(gradient, inverse(c), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("noise_std", [0.02, 0.004, 0.0])
def test_ssdu_is_not_judged_on_what_d_showed(noise_std: float) -> None:
    """At any noise: an estimate that is wrong where D showed, and right where it hid, loses nothing but its noise."""
    rng = stream(0, "test")
    law = Acquisition(RandomLines(4), coils=1, noise_std=noise_std)
    scan = simulate_scan(subject(0).images[0], law, "scan/0")
    batch = scan.measurement
    drawn = compared(draw(batch, FurtherCorruption(RandomLines(4), (0.3, 0.6)), [rng]), batch, "ssdu")

    @dataclass(frozen=True)
    class Wrong:
        share: float

        def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
            return scan.truth + self.share * given.adjoint(given.forward(scan.truth))

    losses = [
        ambient_loss(Wrong(share), batch.y, batch.operator(), drawn.further, drawn.sigma, batch.noise_std, drawn.noise)
        for share in (0.0, 1.0)
    ]
    assert float(losses[1]) == pytest.approx(float(losses[0]), abs=1e-5)
    assert float(losses[0]) < 0.05


def test_the_interval_of_withheld_error_is_over_patients() -> None:
    """48 slices of 4 patients who differ more among each other than within: 95 % of intervals hold the truth."""
    rng, trials, caught = torch.Generator().manual_seed(0), 600, 0
    patients = [str(i // 12) for i in range(48)]
    for _ in range(trials):
        error = (1 + 0.3 * torch.randn(4, 1, generator=rng) + 0.1 * torch.randn(4, 12, generator=rng)).flatten()
        found = summarise(error, torch.ones(48), patients, 0)
        caught += found.low <= 1 <= found.high
    assert caught / trials > 0.92  # counted by slices it would be .35
    alone = summarise(error, torch.ones(48), ["a"] * 48, 0)
    assert alone.low == alone.nmse == alone.high
