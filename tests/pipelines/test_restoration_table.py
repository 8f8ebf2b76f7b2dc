"""The restoration table on images that a package ships, with trainings of two steps."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.comparison import Part, restoration_table, twin, usual_rates
from ambient_mri.prior.training import TrainOptions
from ambient_mri.reconstruction.methods import METHODS, applies

ROOT = Path(__file__).parents[2]
Pipeline = Callable[[list[str]], int]


def _pipeline(name: str) -> Pipeline:
    main: Pipeline = runpy.run_path(str(ROOT / "pipelines" / f"{name}.py"))["main"]
    return main


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """40 of scikit-learn's handwritten digits, 8 x 8, as PNG."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    folder = tmp_path / "digits"
    folder.mkdir()
    for i, image in enumerate(datasets.load_digits().images[:40]):
        Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


def test_rates_are_those_of_the_papers() -> None:
    assert usual_rates(load_spec("brain_bids_pixels")) == (1.666667, 2.5, 5.0, 10.0)
    assert usual_rates(load_spec("brain_bids_blocks")) == ()
    assert usual_rates(load_spec("brain_bids")) == (2, 4, 6, 8)


@pytest.mark.parametrize("name", ["brain_bids", "brain_bids_pixels", "brain_bids_blocks"])
def test_the_twin_is_the_same_data_fully_sampled(name: str, tmp_path: Path) -> None:
    spec = load_spec(name)
    other = load_spec(twin(name, spec, tmp_path))
    assert (other.source, other.split) == (spec.source, spec.split)
    assert other.acquisition.pattern.kind == "fully_sampled"
    assert other.acquisition.further.pattern == spec.acquisition.pattern
    assert other.acquisition.noise_std == spec.acquisition.noise_std
    assert other.title.endswith("(oracle of evaluation tables)")


def test_what_is_finished_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        "based_on: brain_demo\nsource: {subjects: 20, image_size: 32}\nsplit: {validation: 2, test: 2}\n"
    )
    data, out, said = str(tmp_path / "small.yaml"), tmp_path / "out", []
    parts = (Part("ambient", ("one-step", "zero-filled")), Part("clean", ("ddrm",)), Part("ssdu", ("one-step",)))

    def table() -> list[tuple[str, float, int]]:
        found = restoration_table(
            data, out, TrainOptions(data, out, steps=2, preset="tiny"), parts=parts, rates=(4.0,), limit=1,
            tuning_slices=1, progress=said.append,
        )  # fmt: skip
        return [(row.method, row.psnr.mean, row.nfe) for row in found.rows]

    rows = table()
    assert [name for name, *_ in rows] == ["one-step", "zero-filled", "ddrm", "ssdu"]
    assert [nfe for *_, nfe in rows] == [1, 0, 20, 1]
    assert len({round(figure, 6) for _, figure, _ in rows}) == 4
    before = len(said)
    assert table() == rows
    assert len(said) == before


@pytest.mark.slow
@pytest.mark.usefixtures("untuned")
def test_natural_images(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = _pipeline("natural_images"), tmp_path / "out"
    words = [str(digits), "--image-size", "8", "--steps", "2", "--preset", "tiny", "--limit", "1", "--rates", "2.5"]
    words += ["--tuning-slices", "1", "--out", str(out)]
    assert run(words) == 0
    found = json.loads((out / "results.json").read_text())
    assert [one["data"] for one in found] == ["pixels", "blocks"]
    drawn = ["a-fill", "a-dps", "dps", "ddrm", "ssdu"]
    for one in found:
        names = [row["method"] for row in one["rows"]]
        assert sorted(names) == sorted([name for name in METHODS if applies(name, "image")] + drawn)
        cost = {row["method"]: row["nfe"] for row in one["rows"]}
        assert (cost["one-step"], cost["ssdu"], cost["dps"], cost["ddrm"]) == (1, 1, 100, 20)
    text = (out / "results.md").read_text()
    assert "60% (R = 2.5)" in text
    assert "| 2.5 | dps |" in text
    assert (out / "results.html").read_text().count("<h1>") == 3
    assert run([str(tmp_path / "none"), *words[1:]]) == 2
    assert "none" in capsys.readouterr().err
