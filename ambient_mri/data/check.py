"""What is found of a data set, in lines for people: files, sizes, storage, parts, law."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ambient_mri.data.facts import BrainDemo, FastMRI
from ambient_mri.data.leaks import leaks
from ambient_mri.data.location import locate
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.readers.fastmri import Volume, open_volume
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import PARTS, parts


def check(spec: DataSpec) -> list[str]:
    """Findings, the most important first; lines that start with "warning:" ask for something.

    Facts and storage of every file are looked at; of the images only the first, middle and last one.

    Raises
    ------
    InputError
        If the data set is absent or cannot be read as the spec says.
    """
    split = parts(spec)
    records = [record for part in PARTS for record in split[part]]
    lines = [_found(spec, records), *_parts(split.items()), *_leaks(spec)]
    for k, one in enumerate(spec.components()):
        mine = [record for record in records if record.component == k]
        if spec.mixture is not None:
            lines.append(f"component {k} of {len(spec.mixture)}: {_found(one, mine)}")
        lines += _component(one, [replace(record, component=0) for record in mine])
    return [*lines, f"spec {spec.name}, SHA-256 {spec.sha256[:16]}"]


def summary(spec: DataSpec) -> str:
    """How many scans, of how many patients, and where: one line; no scan is read.

    Raises
    ------
    InputError
        If the data set is absent.
    """
    return _found(spec, [record for records in parts(spec).values() for record in records])


def _component(spec: DataSpec, records: Sequence[SliceRecord]) -> list[str]:
    if not records:
        return ["warning: no scan is of this kind; raise its share"]
    found = _storage(spec, records) if isinstance(spec.source, FastMRI) else _samples(spec, records)
    return [*_acquisition(spec), *_law(spec), *found]


def _found(spec: DataSpec, records: Sequence[SliceRecord]) -> str:
    scans = len({record.volume_id for record in records})
    patients = len({record.patient for record in records})
    what = f"{scans} scans of {patients} patients, {len(records)} slices"
    return f"{what}, made on the fly" if isinstance(spec.source, BrainDemo) else f"{what} in {locate(spec)}"


def _parts(split: Iterable[tuple[str, Sequence[SliceRecord]]]) -> list[str]:
    return [
        f"{part}: {len({record.patient for record in records})} patients, {len(records)} slices"
        for part, records in split
    ]


def _leaks(spec: DataSpec) -> list[str]:
    return [
        f"warning: by the column {leak.column} of participants.tsv {leak.people} people are several patients here, "
        f"{leak.across} of them in training and hold-out at once; set source.patient_column to it if it names people"
        for leak in leaks(spec)
    ]


def _acquisition(spec: DataSpec) -> list[str]:
    facts = spec.acquisition
    if isinstance(spec.source, FastMRI):
        coils = "coils as in the files" if facts.coils is None else f"{facts.coils} coils"
        origin = "simulated k-space" if spec.simulated else "acquired k-space"
        found = "as the files state it, otherwise estimated from the ends of the readout"
        return [f"{origin}, {coils}, noise {found if facts.noise_std is None else f'{facts.noise_std:g}'}"]
    what = "pixels" if facts.domain == "image" else f"k-space of {facts.coils} coils"
    return [f"simulated {what}, noise {facts.noise_std or 0:g} in units where images have standard deviation .5"]


def _law(spec: DataSpec) -> list[str]:
    law = spec.acquisition.pattern
    facts = ", ".join(f"{key} {value:g}" for key, value in law.model_dump(exclude={"kind"}).items())
    low, high = spec.acquisition.further.keep
    hidden = "hides as many again" if law.kind == "blocks" else f"keeps {low:g} to {high:g} of what was measured"
    lines = [f"law {law.kind}{': ' if facts else ''}{facts}; training {hidden}"]
    if law.kind == "fully_sampled":
        lines.append("warning: fully sampled: a prior trained on it saw clean images")
    elif law.kind != "from_files" and isinstance(size := getattr(spec.source, "image_size", None), int):
        probability = spec.pattern().probability((size, size))
        lines.append(f"measures {float(probability.mean()):.1%} of {size} x {size} on average")
    lines.append("whether this law can be learned from is checked when training starts")
    return lines


def _storage(spec: DataSpec, records: Sequence[SliceRecord]) -> list[str]:
    volumes = [open_volume(path) for path in _paths(records)]
    shapes = Counter(volume.shape[1:] for volume in volumes)
    common = ", ".join(f"{c} x {y} x {x} ({count})" for (c, y, x), count in shapes.most_common(4))
    lines = [f"{len(shapes)} shapes of slices (coils x y x x): {common}{', …' if len(shapes) > 4 else ''}"]
    masked = sum(volume.mask is not None for volume in volumes)
    bare = len(volumes) - masked
    if bare and spec.acquisition.pattern.kind == "from_files":
        lines.append(
            f"warning: {bare} of {len(volumes)} files bring no mask, and from_files needs one; state their law"
        )
    else:
        lines.append(f"{masked} files bring a mask, {bare} are fully sampled and get one from the law")
    if masked and bare:
        lines.append("warning: files with and without masks are mixed; are all of them of this law?")
    simulated = sum(volume.simulated for volume in volumes)
    if simulated and not spec.simulated:
        lines.append(
            f"warning: {simulated} files say that their k-space was simulated, and the spec does not; state "
            "source.simulated: true, or model cards and pages call it acquired"
        )
    slow = [volume for volume in volumes if _is_slow(volume)]
    if slow:
        lines.append(
            f"warning: {len(slow)} files are compressed or chunked across slices, e.g. {slow[0].path.name} (chunks "
            f"{slow[0].chunks}, {slow[0].compression or 'no compression'}): reading a slice may take 5 to 50 times as "
            "long; rewrite them contiguous"
        )
    padded = sum(not bool(volume.acquired.all()) for volume in volumes)
    if padded:
        lines.append(f"{padded} files are padded with lines that were never acquired; these count as not measured")
    if len(shapes) > 1:
        lines.append("slices of different shapes cannot share a batch; source.crop_kspace makes them equal")
    return lines


def _is_slow(volume: Volume) -> bool:
    across = volume.chunks is not None and (volume.chunks[0] > 1 or volume.chunks[-1] < volume.shape[-1])
    return across or volume.compression is not None


def _samples(spec: DataSpec, records: Sequence[SliceRecord]) -> list[str]:
    """Read three slices, so that unreadable files show now and not in training."""
    from ambient_mri.data.dataset import Scans

    chosen = [records[0], records[len(records) // 2], records[-1]]
    sizes = sorted({scan.image_shape for scan in Scans(spec, "train", chosen, 0)})
    total = sum(path.stat().st_size for path in _paths(records))
    stored = f", {total / 2**20:.0f} MiB of files" if total else ""
    return [f"three slices read: {' and '.join(f'{y} x {x}' for y, x in sizes)}{stored}"]


def _paths(records: Sequence[SliceRecord]) -> list[Path]:
    return [path for path in dict.fromkeys(record.path for record in records) if path is not None]
