"""Who is in a data set, and who is kept for validation and test: by patient, never by slice or file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ambient_mri import files
from ambient_mri.data.facts import Bids, BrainDemo, FastMRI, Images, Source, SplitFacts
from ambient_mri.data.location import locate
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
WHOLE_FILE_BYTES = 64 * 2**20
END_BYTES = 2**20


def list_records(spec: DataSpec) -> list[SliceRecord]:
    """Every slice of a data set.

    Raises
    ------
    InputError
        If the data set is absent (`location.locate`) or holds nothing of what the spec describes.
    """
    if spec.mixture is not None:
        return _mixed(spec)
    source = spec.source
    if isinstance(source, BrainDemo):
        names = [f"demo-{subject:04d}" for subject in range(source.subjects)]
        return [SliceRecord(name, i, name) for name in names for i in range(source.slices)]
    root = locate(spec)
    records, wanted = _in_folder(source, root)
    if not records:
        raise InputError(
            f"no files there fit {wanted}", where=f"{spec.name}: {root}", remedy="Correct the spec's source"
        )
    return list(records)


def _mixed(spec: DataSpec) -> list[SliceRecord]:
    """The slices of all components. Patients of a source that several share are dealt out by a seeded hash."""
    assert spec.mixture is not None
    found: list[SliceRecord] = []
    begun: dict[Source, float] = {}
    for component, (facts, one) in enumerate(zip(spec.mixture, spec.components(), strict=True)):
        records, first = list_records(one), begun.get(facts.source, 0.0)
        last = begun[facts.source] = first + facts.share
        order = sorted({record.patient for record in records}, key=lambda who: _rank(f"mixture {who}", spec.split.seed))
        mine = set(order[round(first * len(order)) : round(last * len(order))])
        found += [replace(record, component=component) for record in records if record.patient in mine]
    return found


@lru_cache(maxsize=8)
def _in_folder(source: Bids | FastMRI | Images, root: Path) -> tuple[tuple[SliceRecord, ...], str]:
    """What a source finds, and what it looked for; specs that differ elsewhere share it."""
    match source:
        case Bids():
            from ambient_mri.data.readers import nifti

            wanted = f"sub-*/**/*_{source.suffix}.nii.gz"
            records = nifti.list_slices(
                root, suffix=source.suffix, slices=source.slices, patient_column=source.patient_column
            )
        case FastMRI():
            from ambient_mri.data.readers import fastmri

            wanted = f"*.h5 in {', '.join(source.folders)}"
            records = fastmri.list_slices(root, folders=source.folders, slices=source.slices)
        case Images():
            from ambient_mri.data.readers import images

            wanted = f"*{', *'.join(images.SUFFIXES)}"
            records = images.list_slices(root, patient=source.patient)
    return tuple(records), wanted


@lru_cache(maxsize=8)
def _parts(spec: DataSpec, roots: tuple[Path | None, ...]) -> dict[Part, tuple[SliceRecord, ...]]:
    return split_records(list_records(spec), spec.split, spec.name)


def parts(spec: DataSpec) -> dict[Part, tuple[SliceRecord, ...]]:
    """The slices of each part; listed once for each data set and place."""
    places = (None if isinstance(one.source, BrainDemo) else locate(one) for one in spec.components())
    return _parts(spec, tuple(places))


def split_records(records: Sequence[SliceRecord], facts: SplitFacts, name: str) -> dict[Part, tuple[SliceRecord, ...]]:
    """Deal out patients in the order of a seeded hash: validation, test, training, and those who are in no part.

    The order of a patient depends on nobody else, so that new patients move at most as many others
    as they are.

    Raises
    ------
    InputError
        If too few patients are left for training.
    """
    order = sorted({record.patient for record in records}, key=lambda patient: _rank(patient, facts.seed))
    validation, test = (_count(share, len(order)) for share in (facts.validation, facts.test))
    if validation + test >= len(order):
        raise InputError(
            f"{validation} validation and {test} test patients of {len(order)} leave nobody to train on",
            where=f"{name}: split",
            remedy="Lower the counts, or state fractions",
        )
    held_out = validation + test
    training = len(order) if facts.train is None else _count(facts.train, len(order))
    trained = order[held_out : held_out + training]
    if facts.half is not None:  # a coin for each, which depends on nobody else: see `audit.halves`
        side = ("first", "second").index(facts.half)
        trained = [patient for patient in trained if _rank(f"half {patient}", facts.seed)[0] % 2 == side]
    part_of: dict[str, Part | None] = dict.fromkeys(order)
    part_of |= dict.fromkeys(order[:validation], "validation")
    part_of |= dict.fromkeys(order[validation:held_out], "test")
    part_of |= dict.fromkeys(trained, "train")
    place = {patient: i for i, patient in enumerate(order)}
    ordered = sorted(records, key=lambda record: (place[record.patient], record.volume_id, record.index))
    return {part: tuple(record for record in ordered if part_of[record.patient] == part) for part in PARTS}


def write_manifest(spec: DataSpec, path: Path) -> Path:
    """Write who is in which part as JSON, with the hash of every file and no name of any.

    A scan is known by the first 16 digits of its file's SHA-256, a patient by those of the hash over
    the scans: whoever has the files can find them, nobody else can work them out from names.
    Files above 64 MiB are hashed by their size and their first and last MiB (`"of": "ends"`).
    """
    document: dict[str, Any] = {
        "spec": spec.name,
        "spec_sha256": spec.sha256,
        "simulated": spec.simulated,
        "seed": spec.split.seed,
        "parts": {part: _patients(records, spec) for part, records in parts(spec).items()},
    }
    return files.write(path, json.dumps(document, indent=1) + "\n")


def _patients(records: Iterable[SliceRecord], spec: DataSpec) -> list[dict[str, Any]]:
    scans: dict[str, dict[str, SliceRecord]] = {}
    slices: dict[str, int] = {}
    for record in records:
        scans.setdefault(record.patient, {}).setdefault(record.volume_id, record)
        slices[record.volume_id] = slices.get(record.volume_id, 0) + 1
    patients = []
    for volumes in scans.values():
        listed = []
        for record in volumes.values():
            digest, of = _file_hash(record, spec.components()[record.component])
            listed.append({"id": digest[:16], "sha256": digest, "of": of, "slices": slices[record.volume_id]})
        listed.sort(key=lambda scan: str(scan["sha256"]))
        joined = hashlib.sha256("".join(str(scan["sha256"]) for scan in listed).encode()).hexdigest()
        patients.append({"id": joined[:16], "scans": listed})
    return patients


def _file_hash(record: SliceRecord, spec: DataSpec) -> tuple[str, str]:
    """SHA-256 of a file and what it is of."""
    if record.path is None:  # made on the fly: what makes it identifies it
        return hashlib.sha256(f"{spec.source.model_dump_json()}/{record.volume_id}".encode()).hexdigest(), "recipe"
    size = record.path.stat().st_size
    with record.path.open("rb") as file:
        if size <= WHOLE_FILE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest(), "bytes"
        ends = file.read(END_BYTES)
        file.seek(-END_BYTES, os.SEEK_END)
        return hashlib.sha256(str(size).encode() + ends + file.read(END_BYTES)).hexdigest(), "ends"


def _rank(patient: str, seed: int) -> bytes:
    return files.text_sha256(f"{seed}\0{patient}")


def _count(share: int | float, patients: int) -> int:
    return share if isinstance(share, int) else max(round(share * patients), 1)
