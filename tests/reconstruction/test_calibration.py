"""`calibrate`: from a bundle to a factor beside it, which `reconstruct` applies, and says so."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from ambient_mri.cli import main
from ambient_mri.data.dataset import Scans, open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.coverage import Components
from ambient_mri.evaluation.drawn import Drawn
from ambient_mri.evaluation.held_out import held_out
from ambient_mri.evaluation.metrics import Interval
from ambient_mri.evaluation.reliability import Curve, Reliability, calibrate
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Masked
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.reconstruction.calibration import CALIBRATION, Calibration, load_calibration
from ambient_mri.reconstruction.posterior import Posterior, Sampling
from ambient_mri.report.calibration import reliability_chart
from ambient_mri.sampling.ensemble import Ensemble
from tests.laws.markup import Balance

SMALL = """
based_on: brain_demo
source: {subjects: 40, image_size: 32}
split: {validation: 12, test: 10}
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that a calibration may be written into."""
    return Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("calibrated") / "bundle"))


@pytest.fixture(scope="module")
def deviations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans to reconstruct."""
    scans = tmp_path_factory.mktemp("scans")
    assert main(["data", "simulate", "brain_demo", "--limit", "1", "--out", str(scans)]) == 0
    return next(scans.glob("*.h5"))


def _deviation(out: Path) -> np.ndarray:
    (path,) = out.glob("*_deviation.nii.gz")
    return np.asarray(nib.load(path).dataobj)


def test_calibrate_then_reconstruct(
    bundle: Path, small: Path, deviations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ["--method", "a-fill", "--samples", "4", "--nfe", "2"]
    scan = ["reconstruct", str(bundle), str(deviations), *drawn]
    assert main([*scan, "--out", str(tmp_path / "before")]) == 0
    assert "not calibrated: run `ambient-mri calibrate`" in capsys.readouterr().err

    written = [str(tmp_path / "found.json"), str(tmp_path / "found.html")]
    command = ["calibrate", str(bundle), "--data", str(small), *drawn, "--json", written[0], "--html", written[1]]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "Nominal 90% intervals cover" in said.out
    assert "validation: 12/12 slices, 0 s left" in said.err
    found = json.loads(Path(written[0]).read_text())
    kept = json.loads((bundle / CALIBRATION).read_text())
    assert found["calibration"] == kept
    assert (kept["method"], kept["samples"], kept["nfe"], kept["patients"]) == ("a-fill", 4, 2, 12)
    curves = {(curve["of"], curve["factor"] == 1): curve for curve in found["curves"]}
    after = curves["held-out measurements", False]
    # with 12 patients the guarantee asks for 97.5 % of what was fitted on
    assert after["coverage"][after["levels"].index(0.9)]["mean"] > 0.87
    assert ("pixels", False) in curves
    page = Path(written[1]).read_text()
    checker = Balance()
    checker.feed(page)
    assert checker.open == []
    assert page.count("<svg") == 2
    assert "simulated data" in page

    assert main([*scan, "--out", str(tmp_path / "after")]) == 0
    assert "not calibrated" not in capsys.readouterr().err
    ratio = _deviation(tmp_path / "after") / np.maximum(_deviation(tmp_path / "before"), 1e-9)
    assert np.median(ratio) == pytest.approx(kept["factor"], rel=1e-3)
    entry = next(iter(json.loads((tmp_path / "after" / "manifest.json").read_text())["files"].values()))
    assert (entry["deviation_calibrated"], entry["calibrated_on"]) == (True, "small")
    assert entry["deviation_factor"] == pytest.approx(kept["factor"])
    assert entry["nfe"] == 2
    (plain,) = json.loads((tmp_path / "before" / "manifest.json").read_text())["files"].values()
    assert entry["quality"]["coverage"] > plain["quality"]["coverage"], "of the deviations that were written"

    assert main([*scan[:-1], "3", "--out", str(tmp_path / "other")]) == 0
    assert "the calibration is for other samples (nfe 3 instead of 2)" in capsys.readouterr().err
    assert main([*scan[:-2], "--time-budget", "0.001", "--out", str(tmp_path / "timed")]) == 0
    (timed,) = json.loads((tmp_path / "timed" / "manifest.json").read_text())["files"].values()
    assert timed["nfe"] == 2, "with --nfe of it the same samples can be drawn again, or calibrated"
    capsys.readouterr()
    again = [*command[: command.index("--json")], "--limit", "5"]
    assert main(again) == 2
    assert "5 patients cannot bound an interval of 90%" in capsys.readouterr().err
    assert json.loads((bundle / CALIBRATION).read_text()) == kept, "a refusal leaves the earlier calibration"


@pytest.mark.parametrize("calls", [2, 5, 7], ids=["validation", "test", "images"])
def test_a_killed_calibration_goes_on(
    calls: int, tiny_bundle: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 slices in 3 batches, 10 in 3, and those 10 with all that was measured: 9 draws."""
    draw, spec, asked, most = Posterior.draw, load_spec(str(small)), list[int](), 99

    def counted(self: Posterior, *given: Any) -> Ensemble:
        if len(asked) == most:
            raise KeyboardInterrupt
        asked.append(len(given[0]))
        return draw(self, *given)

    def found(bundle: Path, limit: int = 99) -> Reliability:
        nonlocal most
        most = limit
        asked.clear()
        return replace(calibrate(bundle, spec, sampling=Sampling(samples=2, nfe=2), seed=3), command="")

    monkeypatch.setattr(Posterior, "draw", counted)
    killed, whole = (Path(shutil.copytree(tiny_bundle, tmp_path / name)) for name in ("killed", "whole"))
    with pytest.raises(KeyboardInterrupt):
        found(killed, calls)
    (kept,) = tmp_path.glob("killed_calibration_*.safetensors")  # beside the bundle, which may be handed on
    assert kept.stat().st_mode & 0o077 == 0, "it comes from patients"
    resumed = found(killed)
    assert len(asked) == 9 - calls, "nothing is drawn twice"
    assert not kept.exists(), "nothing is left over"
    assert found(whole) == resumed
    assert len(asked) == 9


def test_a_calibration_of_other_samples_is_drawn_anew(tmp_path: Path) -> None:
    one, other = Drawn(tmp_path / "bundle", {"nfe": 2}), Drawn(tmp_path / "bundle", {"nfe": 3})
    one.keep({("test", 4): Components(torch.ones(3), torch.full((3,), 2.0), torch.zeros(3), 8.0)})
    again = Drawn(tmp_path / "bundle", {"nfe": 2})["test", 4]
    assert (again.residual.tolist(), again.spread.tolist(), again.freedom) == ([1.0] * 3, [2.0] * 3, 8.0)
    assert ("test", 4) not in other
    assert ("test", 3) not in Drawn(tmp_path / "bundle", {"nfe": 2})
    assert one.path is not None
    one.path.write_bytes(b"half")
    with pytest.raises(InputError, match=r"bundle_calibration_.*cannot be read.*Remove it"):
        Drawn(tmp_path / "bundle", {"nfe": 2})


def test_a_calibration_belongs_to_weights_and_can_be_read(bundle: Path, tmp_path: Path) -> None:
    assert load_calibration(tmp_path, "") is None
    path = tmp_path / CALIBRATION
    path.parent.mkdir(parents=True)
    if (bundle / CALIBRATION).exists():
        shutil.copy(bundle / CALIBRATION, path)
        assert load_calibration(tmp_path, weights_sha256(bundle)) is not None
        assert load_calibration(tmp_path, "0" * 64) is None
    path.write_text("{}")
    with pytest.raises(InputError, match="calibration cannot be read"):
        load_calibration(tmp_path, "")


@pytest.mark.parametrize("method", ["one-step", "tv"])
def test_methods_without_samples_are_refused(method: str, bundle: Path, small: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["calibrate", str(bundle), "--data", str(small), "--method", method])
    assert refused.value.code == 2


def test_data_of_another_kind_are_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A refined model can be used on them, and a factor that was found on pixels says nothing of k-space."""
    assert main(["calibrate", str(bundle), "--data", "brain_bids_pixels"]) == 2
    assert "another kind" in capsys.readouterr().err


class _Recorder:
    """A sampler that notes what it is shown."""

    def __init__(self) -> None:
        self.shown: list[Masked] = []

    def draw(self, measurement: Measurement, strength: float | None) -> Ensemble:
        self.shown.append(measurement.operator())
        image = measurement.adjoint()
        return Ensemble(torch.cat([image, image], 1))


def test_what_is_held_out_is_not_shown_and_does_not_depend_on_batches(small: Path) -> None:
    scans, recorder = open_scans(load_spec(str(small)), "validation"), _Recorder()
    found = held_out(recorder, scans, seed=1)  # type: ignore[arg-type]
    shown = torch.cat([A.mask for A in recorder.shown])
    assert len(shown) == len(scans) == len(found)
    for i, scan in enumerate(scans):
        assert not bool((shown[i] & ~scan.mask[0]).any())
        hidden = int((scan.mask[0] & ~shown[i]).sum())
        assert 1 <= hidden <= 3
        assert len(found[scans.patient(i)]) == hidden * 32 * 4 * 2
    fewer = Scans(scans.spec, scans.part, scans.records[3:5], 0)
    other = held_out(_Recorder(), fewer, seed=1)  # type: ignore[arg-type]
    assert set(other) == {scans.patient(3), scans.patient(4)}


def test_a_factor_is_for_samples_drawn_as_those_that_it_was_fitted_on() -> None:
    known = Calibration(
        version="0", weights_sha256="", method="a-fill", samples=8, nfe=5, level=0.9, factor=1.2, data="d",
        data_sha256="", simulated=True, patients=9, coverage=(0.9, 0.8, 1.0),
    )  # fmt: skip
    assert known.differs("a-fill", 8, 5, None) == ""
    assert known.differs("a-fill", 8, 5, 0.3) == "strength 0.3 instead of the default"
    assert known.differs("mmps", 4, 5, None) == "method mmps instead of a-fill, samples 4 instead of 8"


def test_a_patient_of_whom_nothing_was_hidden_does_not_count(tmp_path: Path) -> None:
    """Of some ten lines beyond the centre a coin for each may hide none. The share of nothing made the factor 100."""
    law = "{kind: gaussian_lines, acceleration: 4}"
    (tmp_path / "few.yaml").write_text(SMALL + f"acquisition: {{pattern: {law}}}\n")
    scans, recorder = open_scans(load_spec(str(tmp_path / "few.yaml")), "validation"), _Recorder()
    found = held_out(recorder, scans)  # type: ignore[arg-type]
    hidden = {scans.patient(i): int(scan.mask.sum()) for i, scan in enumerate(scans)}
    for (patient, measured), shown in zip(hidden.items(), torch.cat([A.mask for A in recorder.shown]), strict=True):
        hidden[patient] = measured - int(shown.sum())
    assert 0 in hidden.values()
    assert {patient: len(components) for patient, components in found.items()} == {
        patient: lines * 32 * 4 * 2 for patient, lines in hidden.items() if lines
    }


def test_the_chart_puts_a_calibrated_curve_on_the_diagonal() -> None:
    levels = (0.25, 0.5, 0.75)
    chart = reliability_chart([Curve("x", 1.0, levels, tuple(Interval(v, v, v) for v in levels))])
    diagonal = chart.split('stroke-dasharray="5 4" points="')[1].split('"')[0]
    (x0, y0), (x1, y1) = (map(float, point.split(",")) for point in diagonal.split())
    drawn = chart.split('stroke-width="2" points="')[1].split('"')[0]
    for point in drawn.split():
        x, y = map(float, point.split(","))
        assert (x - x0) / (x1 - x0) == pytest.approx((y - y0) / (y1 - y0), abs=2e-3)
