"""Quality without a reference: clean scans raise no flag, planted faults do, and each names the right thing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ambient_mri.coils import calibration_region
from ambient_mri.data.cohort import subject
from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.data.spec import load_spec
from ambient_mri.measurement import Measurement
from ambient_mri.operators import keep
from ambient_mri.patterns import RandomLines, RandomPoints
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.quality import Quality
from ambient_mri.reconstruction.residual import residuals
from ambient_mri.reconstruction.withheld import kept_back, withheld

TV = methods.reconstruction("tv", None)


def _scan(number: int = 0, *, coils: int = 4, rate: float = 2, noise: float = 0.02) -> Measurement:
    law = Acquisition(RandomLines(rate), coils=coils, noise_std=noise, sensitivity_maps="espirit")
    return simulate_scan(subject(number).images[0], law, f"scan{number}/0").measurement


def _quality(scan: Measurement) -> Quality:
    return Quality.of(residuals(scan, TV(scan, None)), withheld(scan, TV, None))


def _noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)) * 2**0.5


def _bad_line(scan: Measurement) -> Measurement:
    y, line = scan.y.clone(), int(scan.mask[0, 0, 0].nonzero().flatten()[5])
    y[..., line] += 5 * scan.noise_std * _noise(tuple(y.shape[:-1]))
    return replace(scan, y=y)


FAULTS: dict[str, tuple[Callable[[Measurement], Measurement], str]] = {
    "noise too low": (lambda scan: replace(scan, noise_std=scan.noise_std / 2), "the noise level is too low"),
    "noise too high": (lambda scan: replace(scan, noise_std=scan.noise_std * 2), "less than any fit can leave"),
    "maps of other coils": (
        lambda scan: replace(scan, sensitivity_maps=scan.sensitivity_maps.roll(1, 1)),  # type: ignore[union-attr]
        "not explained by the reconstruction",
    ),
    "maps mirrored": (
        lambda scan: replace(scan, sensitivity_maps=scan.sensitivity_maps.flip(-1)),  # type: ignore[union-attr]
        "check coil maps",
    ),
    "corrupted line": (_bad_line, "stands out"),
    "mask of another scan": (
        lambda scan: replace(scan, mask=scan.mask.roll(1, -1), y=keep(scan.mask, scan.y)), "mask and data do not fit"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("coils", "rate", "noise"), [(4, 2, 0.02), (4, 4, 0.02), (8, 4, 0.01), (1, 2, 0.02)])
def test_clean_scans_raise_no_flag(coils: int, rate: float, noise: float) -> None:
    for number in range(2):
        quality = _quality(_scan(number, coils=coils, rate=rate, noise=noise))
        assert quality.flags() == ()
        assert quality.withheld_nmse is not None
        assert quality.withheld_nmse < 0.8


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_flagged(fault: str) -> None:
    spoil, words = FAULTS[fault]
    for number in range(2):
        flags = _quality(spoil(_scan(number))).flags()
        assert any(words in flag for flag in flags), flags


def test_chi_squared_of_the_true_image_is_one_and_of_a_free_fit_its_lower_bound() -> None:
    """y = A x + e: the residual at x is e, N components of variance σ²; a least-squares fit of P leaves N - P."""
    law = Acquisition(RandomLines(2), coils=6, noise_std=0.05)  # known maps: no error of the model
    found = simulate_scan(subject(0).images[0], law, "scan/0")
    scan, parts = found.measurement, residuals(found.measurement, found.truth)
    quality = Quality.of(parts)
    assert quality.components == 2 * 6 * 64 * int(scan.mask.sum())
    spread = (2 / quality.components) ** 0.5
    assert quality.chi2_per_component == pytest.approx(1, abs=4 * spread)
    assert abs(parts[0].structure) < 0.1
    fitted = methods.reconstruction("cg-sense", None)(scan, 1e-6)
    free = Quality.of(residuals(scan, fitted))
    assert free.lowest_chi2 == pytest.approx(1 - 2 * 64 * 64 / quality.components)
    assert free.chi2_per_component == pytest.approx(free.lowest_chi2, rel=0.03)


def _low_resolution(seed: int) -> torch.Tensor:
    """The central half of both axes: neighbouring pixels of the noise are much alike."""
    mask = torch.zeros(48, 40, dtype=torch.bool)
    mask[12:36, 10:30] = True
    return mask


MASKS: dict[str, Callable[[int], torch.Tensor]] = {
    "lines": lambda seed: RandomLines(3).draw((48, 40), torch.Generator().manual_seed(seed)),
    "points": lambda seed: RandomPoints(3).draw((48, 40), torch.Generator().manual_seed(seed)),
    "low resolution": _low_resolution,
}


@pytest.mark.parametrize("law", MASKS)
def test_white_noise_through_any_mask_has_no_structure(law: str) -> None:
    """Neighbours of masked noise are correlated; what the mask itself brings is taken off."""
    values = []
    for seed in range(8):
        noise, mask, one = _noise((1, 2, 48, 40), seed), MASKS[law](seed)[None, None], torch.ones(1)
        scan = Measurement(noise, mask, None, one, one, "kspace", ("a/0",))
        (part,) = residuals(scan, torch.zeros(1, 1, 48, 40, dtype=torch.complex64))
        values.append(part.structure)
        assert part.energy / part.noise == pytest.approx(1, abs=0.12)
    assert abs(float(np.mean(values))) < 0.06


def test_what_is_kept_back_is_measured_outside_the_calibration_region_and_repeats() -> None:
    mask = RandomLines(4).draw((64, 64), torch.Generator().manual_seed(0))
    held = kept_back(mask, torch.Generator().manual_seed(1))
    assert 0 < int(held.sum()) <= int(mask.sum()) // 2
    assert bool((mask | ~held).all())
    assert not bool(held[calibration_region(mask)].any())
    assert torch.equal(held, kept_back(mask, torch.Generator().manual_seed(1)))
    only_centre = torch.zeros(1, 64, dtype=torch.bool)
    only_centre[:, 28:37] = True
    assert not bool(kept_back(only_centre, torch.Generator()).any())


def test_an_image_made_with_the_lines_cannot_cheat() -> None:
    """The method sees neither values nor mask of what is kept back."""
    scan, seen = _scan(), []

    def spy(measurement: Measurement, strength: float | None) -> torch.Tensor:
        seen.append(measurement)
        return torch.zeros(1, 1, *measurement.image_shape, dtype=torch.complex64)

    found = withheld(scan, spy, None)
    assert found is not None
    assert found.nmse == pytest.approx(1), "an empty image explains nothing"
    taken = scan.mask & ~seen[0].mask
    assert found.samples == int(taken.sum()) * 4 * 64
    assert bool((keep(taken, seen[0].y) == 0).all())


@pytest.mark.parametrize(("spread", "least", "most"), [(1.0, 0.85, 0.95), (0.3, 0.0, 0.75)])
def test_coverage_counts_what_lies_inside(
    monkeypatch: pytest.MonkeyPatch, spread: float, least: float, most: float
) -> None:
    """Samples that scatter around the truth as their mean does cover 90 %; samples that are too sure do not."""
    from ambient_mri.reconstruction import withheld as module
    from ambient_mri.sampling.ensemble import Ensemble

    law = Acquisition(RandomLines(2), coils=1, noise_std=0.0001)
    found = simulate_scan(subject(0).images[0], law, "scan/0")

    class Drawn:
        sampling = type("S", (), {"samples": 32})

        def draw(self, measurement: Measurement, strength: float | None) -> Ensemble:
            centre = found.truth + 0.05 * _noise((1, 1, 64, 64), 1)
            return Ensemble(centre + spread * 0.05 * _noise((1, 32, 64, 64), 2))

    monkeypatch.setattr(module, "Posterior", Drawn)
    measured = withheld(found.measurement, Drawn(), None)  # type: ignore[arg-type]
    assert measured is not None
    assert measured.coverage is not None
    assert least <= measured.coverage <= most
    assert bool(Quality.of(held=measured).flags()) == (spread < 1)


@pytest.mark.parametrize("samples", [2, 4, 8])
@pytest.mark.parametrize("noise", [0.0001, 0.05])
def test_exact_samples_in_mirrored_pairs_cover_what_they_claim(
    monkeypatch: pytest.MonkeyPatch, samples: int, noise: float
) -> None:
    """x | y ~ N(mean, s²): a pair has one deviation, so that K samples have K/2; taken for K - 1 they covered 87 %."""
    from ambient_mri.reconstruction import withheld as module
    from ambient_mri.sampling.ensemble import Ensemble

    scan = _scan(coils=1, noise=noise)
    mean = 0.05 * _noise((30, 1, 64, 64), 1)
    y = scan.encoding().forward(mean + 0.05 * _noise((30, 1, 64, 64), 2)) + noise * _noise((30, 1, 64, 64), 3)
    away = 0.05 * _noise((30, samples // 2, 64, 64), 4)

    class Drawn:
        sampling = type("S", (), {"samples": samples})

        def draw(self, measurement: Measurement, strength: float | None) -> Ensemble:
            return Ensemble(mean + torch.cat([away, -away], 1))

    monkeypatch.setattr(module, "Posterior", Drawn)
    several = replace(scan[[0] * 30], y=y, noise_std=torch.full((30,), noise))
    measured = withheld(several, Drawn(), None)  # type: ignore[arg-type]
    assert measured is not None
    assert measured.coverage == pytest.approx(0.9, abs=0.012)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = load_spec("brain_demo")
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"slices": 3})})
    return simulate_files(spec, coils=4, acceleration=2, noise_std=0.02, out=tmp_path_factory.mktemp("scans"), limit=1)


def test_files_with_faults_are_flagged_in_manifest_output_and_result(scans: Path, tmp_path: Path) -> None:
    (good,) = scans.glob("*.h5")
    bad = {name: tmp_path / f"{name}.h5" for name in ("noise", "line", "mask")}
    for path in bad.values():
        shutil.copy(good, path)
    with h5py.File(bad["noise"], "r+") as file:
        file.attrs["noise_std"] = 3 * file.attrs["noise_std"]
    with h5py.File(bad["line"], "r+") as file:
        line = int(np.flatnonzero(file["mask"])[6])
        file["kspace"][1, ..., line] = 0.2 * _noise((4, 64), 3).numpy()
    with h5py.File(bad["mask"], "r+") as file:
        file["mask"][...] = np.roll(file["mask"][...], 1)
    lines: list[str] = []
    results = reconstruct(
        None, [good, *bad.values()], tmp_path / "out", method="tv", formats=["hdf5"], progress=lines.append
    )
    flags = {result.source.stem: " ".join(result.flags) for result in results}
    assert flags[good.stem] == ""
    assert "times that at the ends of the readout" in flags["noise"]
    assert f"slice 2: phase-encode line {line} (counted from 0)" in flags["line"]
    assert "mask and data do not fit" in flags["mask"]
    entries = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert {name: " ".join(entry["flags"]) for name, entry in entries.items()} == flags
    quality = entries[good.stem]["quality"]
    assert quality["chi2_per_component"] == pytest.approx(1, abs=0.2)
    assert 0 < quality["withheld_nmse"] < 0.5
    assert sum(line.startswith("check: ") for line in lines) == sum(len(result.flags) for result in results)
    again = reconstruct(None, [bad["mask"]], tmp_path / "out", method="tv", formats=["hdf5"])
    assert again[0].skipped
    assert again[0].flags == results[3].flags


def test_a_scan_without_noise_has_no_line_that_stands_out_of_it() -> None:
    """σ_y = 0 is no scale to call a residual large by, and infinity is no JSON."""
    law = Acquisition(RandomLines(2), coils=4, noise_std=0.0)
    scan = simulate_scan(subject(0).images[0], law, "scan/0").measurement
    for method, strength in (("zero-filled", None), ("cg-sense", 0.01)):
        image = methods.reconstruction(method, None)(scan, strength)
        quality = Quality.of(residuals(scan, image), None)
        assert quality.worst_line_noise is None
        assert not any("stands out" in flag for flag in quality.flags())
        json.dumps(quality.facts(), allow_nan=False)
