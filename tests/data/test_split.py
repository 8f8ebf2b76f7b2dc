"""A patient is in one part only, whatever the number of scans; parts are stable; the manifest names nobody."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from PIL import Image

from ambient_mri.data import location
from ambient_mri.data.facts import SplitFacts
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.spec import load_spec
from ambient_mri.data.split import parts, split_records, write_manifest
from ambient_mri.errors import InputError


def _records(patients: int, scans: int = 2) -> list[SliceRecord]:
    return [SliceRecord(f"scan{p}-{s}", i, f"p{p}") for p in range(patients) for s in range(scans) for i in range(2)]


def _patients(split):
    return {part: {record.patient for record in records} for part, records in split.items()}


def test_counts_are_of_patients_and_parts_share_none():
    split = split_records(_records(20), SplitFacts(validation=3, test=5), "x")
    who = _patients(split)
    assert [len(who[part]) for part in ("train", "validation", "test")] == [12, 3, 5]
    assert not who["train"] & who["validation"] | who["train"] & who["test"] | who["validation"] & who["test"]
    assert sum(map(len, split.values())) == 80


def test_fractions():
    who = _patients(split_records(_records(20), SplitFacts(validation=0.1, test=0.25), "x"))
    assert (len(who["validation"]), len(who["test"])) == (2, 5)


def test_a_small_training_part_leaves_the_hold_out_as_it_is():
    whole = split_records(_records(20), SplitFacts(validation=3, test=5), "x")
    small = split_records(_records(20), SplitFacts(validation=3, test=5, train=4), "x")
    assert (small["validation"], small["test"]) == (whole["validation"], whole["test"])
    who = _patients(small)["train"]
    assert len(who) == 4
    assert who < _patients(whole)["train"]
    assert small["train"] == tuple(record for record in whole["train"] if record.patient in who)


def test_halves_are_disjoint_and_make_up_the_training_part():
    whole = split_records(_records(200, 1), SplitFacts(validation=3, test=5), "x")
    both = (SplitFacts(validation=3, test=5, half="first"), SplitFacts(validation=3, test=5, half="second"))
    halves = [split_records(_records(200, 1), facts, "x") for facts in both]
    assert all((half["validation"], half["test"]) == (whole["validation"], whole["test"]) for half in halves)
    first, second = (_patients(half)["train"] for half in halves)
    assert not first & second
    assert first | second == _patients(whole)["train"]
    assert 70 < len(first) < 122  # of 192 fair coins
    fewer = SplitFacts(validation=3, test=5, train=40, half="first")
    assert _patients(split_records(_records(200, 1), fewer, "x"))["train"] < first, "nobody else moves a coin"
    again = SplitFacts(validation=3, test=5, half="first", seed=1)
    assert _patients(split_records(_records(200, 1), again, "x"))["train"] != first


def test_order_of_listing_changes_nothing_and_the_seed_does():
    facts = SplitFacts(validation=3, test=5)
    assert split_records(_records(20)[::-1], facts, "x") == split_records(_records(20), facts, "x")
    other = split_records(_records(20), SplitFacts(validation=3, test=5, seed=1), "x")
    assert _patients(other)["test"] != _patients(split_records(_records(20), facts, "x"))["test"]


def test_a_new_patient_moves_at_most_one_other():
    facts = SplitFacts(validation=3, test=5)
    before, after = (_patients(split_records(_records(n), facts, "x")) for n in (20, 21))
    moved = sum(len(before[part] - after[part]) for part in before)
    assert moved <= 2  # one across each border


def test_too_few_patients():
    with pytest.raises(InputError, match="leave nobody to train on"):
        split_records(_records(8), SplitFacts(validation=3, test=5), "x")


def test_manifest(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    for who in ("jones", "smith", "brown", "white"):
        (folder / who).mkdir(parents=True)
        for i in range(2):
            pixels = np.full((40, 40), 10 * len(who) + ord(who[0]) + i, np.uint8)
            Image.fromarray(pixels).save(folder / who / f"{who}{i}.png")
    path = tmp_path / "mine.yaml"
    path.write_text("based_on: images_folder\nsource: {patient: folder}\nsplit: {validation: 1, test: 1}\n")
    monkeypatch.setenv("AMBIENT_MRI_DATA", str(tmp_path))
    spec = load_spec(str(path))
    manifest = write_manifest(spec, tmp_path / "out" / "split.json")
    text = manifest.read_text()
    document = json.loads(text)
    assert document["spec_sha256"] == spec.sha256
    assert {part: len(patients) for part, patients in document["parts"].items()} == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    for who in ("jones", "smith", "brown", "white"):
        assert who not in text
    hashes = {sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*.png")}
    listed = [scan["sha256"] for part in document["parts"].values() for patient in part for scan in patient["scans"]]
    assert set(listed) == hashes
    assert list(manifest.parent.iterdir()) == [manifest]
    assert write_manifest(spec, tmp_path / "again.json").read_text() == text


def test_repeat_admissions_of_the_real_cohort_stay_together():
    if not any(place.is_dir() for place in location.places("brain_bids")):
        pytest.skip("brain_bids is not at $AMBIENT_MRI_DATA nor ../shared/data")
    split = parts(load_spec("brain_bids"))
    who = _patients(split)
    assert (len(who["validation"]), len(who["test"])) == (60, 100)
    assert not who["train"] & (who["validation"] | who["test"])
    scans = Counter(record.patient for records in split.values() for record in records)
    assert sum(count > 1 for count in scans.values()) > 30
