"""What the table of a BIDS data set knows of patients, and a split ignores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ambient_mri.data import location
from ambient_mri.data.check import check
from ambient_mri.data.leaks import leaks
from ambient_mri.data.spec import DataSpec, load_spec

PEOPLE = 24


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DataSpec]:
    """24 people, of whom the first four have two records each; ages repeat, and there are two sites."""
    lines = ["participant_id\tperson\tage\tsite"]
    root = tmp_path / "cohort"
    for number in range(PEOPLE + 4):
        name, person = f"sub-{number:02d}", number % PEOPLE
        lines.append(f"{name}\tperson-{person}\t{40 + person / 2:g}\t{'AB'[number % 2]}")
        folder = root / name / "anat"
        folder.mkdir(parents=True)
        volume = np.random.default_rng(number).random((16, 16, 3)).astype(np.float32)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"{name}_FLAIR.nii.gz")
    (root / "participants.tsv").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv(location.DATA_VARIABLE, str(tmp_path))

    def spec(column: str) -> DataSpec:
        path = tmp_path / f"{column}.yaml"
        path.write_text(
            "based_on: brain_bids\n"
            f"source: {{root: cohort, patient_column: {column}, image_size: 16, slices: middle}}\n"
            "split: {validation: 4, test: 6}\n"
        )
        return load_spec(str(path))

    return spec


def test_people_under_two_names_are_found_by_the_table(cohort: Callable[[str], DataSpec]) -> None:
    [leak] = leaks(cohort("participant_id"))
    assert (leak.column, leak.people) == ("person", 4)
    split_apart = [p for p in leak.held_out if int(p.removeprefix("sub-")) % PEOPLE < 4]
    assert len(split_apart) == len(leak.held_out) == leak.across
    warned = [line for line in check(cohort("participant_id")) if line.startswith("warning: by the column person")]
    assert len(warned) == 1
    assert "4 people are several patients" in warned[0]


def test_a_split_by_people_leaks_nothing(cohort: Callable[[str], DataSpec]) -> None:
    assert leaks(cohort("person")) == []
    assert leaks(load_spec("brain_demo")) == []


def test_people_on_both_sides_are_counted(cohort: Callable[[str], DataSpec]) -> None:
    """Whatever the seed deals, a person is across exactly if one record trains and the other does not."""
    from ambient_mri.data.split import parts

    base, seen = cohort("participant_id"), set()
    for seed in range(6):
        spec = base.model_copy(update={"split": base.split.model_copy(update={"seed": seed})})
        train = {record.patient for record in parts(spec)["train"]}
        apart = [p for p in range(4) if (f"sub-{p:02d}" in train) != (f"sub-{p + PEOPLE:02d}" in train)]
        [leak] = leaks(spec)
        assert leak.across == len(apart)
        assert not leak.held_out & train
        seen.add(leak.across)
    assert len(seen) > 1
