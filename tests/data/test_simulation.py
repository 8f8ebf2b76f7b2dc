"""A simulated scan holds what was measured and nothing else."""

from dataclasses import replace

import pytest
import torch

from ambient_mri.data.simulation import Acquisition, acquire, birdcage_maps, simulate_scan
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.patterns import FullySampled, Pattern, Pixels, RandomLines
from ambient_mri.randomness import stream

SHAPE = (34, 48)


def phantom() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, SHAPE[0]), torch.linspace(-1, 1, SHAPE[1]), indexing="ij")
    return (x.square() + y.square() < 0.6).float() * (1 + 0.3 * torch.sin(9 * x) * torch.cos(7 * y))


def lines(**changes: object) -> Acquisition:
    return replace(Acquisition(RandomLines(acceleration=3)), **changes)  # type: ignore[arg-type]


def misfit(measurement: Measurement, truth: torch.Tensor) -> torch.Tensor:
    return measurement.y - measurement.operator().forward(truth)


@pytest.mark.parametrize("coils", [1, 4])
def test_truth_explains_a_noiseless_measurement(coils: int) -> None:
    scan = simulate_scan(phantom(), lines(coils=coils), "a")
    assert misfit(scan.measurement, scan.truth).abs().max() < 1e-5
    assert scan.measurement.y.dtype == torch.complex64
    assert scan.measurement.y.shape == (1, coils, *SHAPE)


def test_noise_has_the_stated_level_per_component() -> None:
    scan = simulate_scan(phantom(), lines(noise_std=0.05, coils=8), "a")
    m = scan.measurement
    residual = misfit(m, scan.truth)[m.mask.expand_as(m.y)]
    for part in (residual.real, residual.imag):
        assert float(part.std()) == pytest.approx(float(m.noise_std), rel=0.05)
    assert float(m.noise_std * m.scale) == pytest.approx(0.05)


def test_unmeasured_samples_are_zero_and_never_read() -> None:
    setting = lines(noise_std=0.02)
    samples = torch.randn(1, 4, *SHAPE, generator=stream(0, "test", "a"), dtype=torch.complex64)
    maps = birdcage_maps(4, SHAPE, stream(0, "coils", "a"))
    clean = acquire(samples, setting, "a", maps=maps)
    poisoned = torch.where(clean.mask, samples, torch.full_like(samples, float("nan")))
    again = acquire(poisoned, setting, "a", maps=maps)
    assert not clean.y[~clean.mask.expand_as(clean.y)].any()
    assert torch.equal(clean.y, again.y)
    assert torch.equal(clean.scale, again.scale)
    assert clean.sensitivity_maps is not None
    assert again.sensitivity_maps is not None
    assert torch.equal(clean.sensitivity_maps, again.sensitivity_maps)


def test_another_pattern_keeps_phase_coils_and_noise() -> None:
    setting = lines(noise_std=0.05)
    a = simulate_scan(phantom(), setting, "a").measurement
    b = simulate_scan(phantom(), replace(setting, pattern=FullySampled(RandomLines(acceleration=3))), "a").measurement
    both = a.mask & b.mask
    assert int(both.sum()) == int(a.mask.sum()) < SHAPE[1] == int(b.mask.expand(1, 1, 1, -1).sum() // b.mask.shape[-2])
    difference = (a.y * a.scale - b.y * b.scale)[both.expand_as(a.y)]
    assert difference.abs().max() < 1e-5


@pytest.mark.parametrize("setting", [lines(noise_std=0.02), Acquisition(Pixels(missing=0.5), domain="image")])
def test_reproducible_and_different_between_scans_and_seeds(setting: Acquisition) -> None:
    state = torch.get_rng_state()
    one, same = simulate_scan(phantom(), setting, "a"), simulate_scan(phantom(), setting, "a")
    assert torch.equal(one.measurement.y, same.measurement.y)
    assert torch.equal(one.truth, same.truth)
    for scan_id, seed in (("b", 0), ("a", 1)):
        other = simulate_scan(phantom(), setting, scan_id, seed=seed)
        assert not torch.equal(one.measurement.mask, other.measurement.mask)
    assert torch.equal(state, torch.get_rng_state())


def test_slices_of_a_volume_share_mask_and_coils() -> None:
    a = simulate_scan(phantom(), lines(noise_std=0.02), "v/0", volume_id="v").measurement
    b = simulate_scan(phantom(), lines(noise_std=0.02), "v/1", volume_id="v").measurement
    assert torch.equal(a.mask, b.mask)
    assert not torch.equal(a.y, b.y)
    assert a.sensitivity_maps is not None
    assert b.sensitivity_maps is not None
    assert torch.allclose(a.sensitivity_maps.abs(), b.sensitivity_maps.abs())


def test_pixels_are_real_without_coils_and_with_complex_noise() -> None:
    scan = simulate_scan(phantom(), Acquisition(Pixels(missing=0.4), domain="image", noise_std=0.1), "a")
    m = scan.measurement
    assert m.sensitivity_maps is None
    assert m.y.shape == (1, 1, *SHAPE)
    assert not scan.truth.imag.any()
    assert bool((scan.truth.real >= 0).all())
    residual = misfit(m, scan.truth)[m.mask]
    assert float(residual.imag.std()) == pytest.approx(float(residual.real.std()), rel=0.2)


@pytest.mark.parametrize("pattern", [RandomLines(acceleration=3), FullySampled(RandomLines(acceleration=3))])
def test_normalised_energy_does_not_depend_on_the_input_scale(pattern: Pattern) -> None:
    a = simulate_scan(phantom(), lines(pattern=pattern), "a")
    b = simulate_scan(1000 * phantom(), lines(pattern=pattern), "a")
    assert torch.allclose(a.measurement.y, b.measurement.y, atol=1e-5)
    assert torch.allclose(a.truth, b.truth, atol=1e-5)


def test_absorbed_phase_makes_the_truth_nearly_real() -> None:
    scan = simulate_scan(phantom(), lines(), "a")
    assert float(scan.truth.real.square().sum() / scan.truth.abs().square().sum()) > 0.9


def test_maps_are_normalised_and_turn_with_the_scan() -> None:
    a, b = (birdcage_maps(4, (17, 11), stream(0, "coils", name)) for name in "ab")
    assert torch.allclose(a.abs().square().sum(1), torch.ones(1, 17, 11), atol=1e-5)
    assert not torch.allclose(a.abs(), b.abs(), atol=1e-2)


@pytest.mark.parametrize(
    "image", [torch.zeros(8, 8), torch.full((8, 8), float("nan")), -torch.rand(8, 8), torch.rand(1, 8, 8)]
)
def test_images_that_cannot_be_are_refused(image: torch.Tensor) -> None:
    with pytest.raises(InputError, match="sub-1"):
        simulate_scan(image, lines(), "sub-1")


@pytest.mark.parametrize("change", [{"coils": 0}, {"noise_std": -1.0}, {"phase": "rough"}, {"domain": "wavelet"}])
def test_settings_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        lines(**change)
