"""Data sets as measurements. `open_scans` serves training and holds nothing clean; `open_evaluation` also has truth."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.corruption import FurtherCorruption, FurtherLaw, MixedCorruption, Mixture
from ambient_mri.data.acquired import MeasuredVolume, matrix
from ambient_mri.data.facts import Bids, BrainDemo, FastMRI, Images
from ambient_mri.data.readers import SliceRecord, fastmri, images, nifti
from ambient_mri.data.simulation import SimulatedScan, simulate_scan, stream
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import PARTS, Part, parts
from ambient_mri.errors import InputError
from ambient_mri.fourier import ifft2c
from ambient_mri.measurement import Measurement
from ambient_mri.patterns import EmpiricalLines, Pattern

CACHE_BYTES = 2**30
"""Measurements kept in memory for each `Scans`; the least recently used are dropped beyond it."""
OPEN_VOLUMES = 16


class Scans:
    """The measurements of one part of a data set, one slice each; made at the first use and then kept.

    `scans[i]` has batch size 1, is normalised, and is the same whenever and wherever it is made. It
    comes from measured samples only: there is no way from here to a clean image.
    """

    def __init__(self, spec: DataSpec, part: Part, records: Sequence[SliceRecord], cache_bytes: int) -> None:
        self.spec, self.part, self.records = spec, part, tuple(records)
        self._recent = _Recent(cache_bytes)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Measurement:
        record = self.records[index]
        return self._recent.get(record, lambda: _measure(self.spec, record, None))

    def __iter__(self) -> Iterator[Measurement]:
        return (self[i] for i in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """`<scan>/<slice>` of every slice."""
        return [record.scan_id for record in self.records]

    @cached_property
    def image_shape(self) -> tuple[int, int]:
        """(y, x) of the first slice; acquired volumes of other sizes may follow."""
        return self[0].image_shape

    def patient(self, index: int) -> str:
        """Who the slice is of."""
        return self.records[index].patient

    def pattern(self) -> Pattern:
        """The law of A: the spec's, or the line frequencies over the training files (`from_files`)."""
        laws = tuple(_law(one) for one in self.spec.components())
        return laws[0] if self.spec.mixture is None else Mixture(laws, self._weights)

    def further(self) -> FurtherLaw:
        """The law of D."""
        specs = self.spec.components()
        laws = tuple(FurtherCorruption(_law(one), one.acquisition.further.keep) for one in specs)
        return laws[0] if self.spec.mixture is None else MixedCorruption(laws, self._weights)

    @property
    def _weights(self) -> tuple[float, ...]:
        """The share of slices of each component."""
        counts = Counter(record.component for record in self.records)
        return tuple(counts[k] / max(len(self), 1) for k in range(len(self.spec.components())))


class EvaluationScans:
    """EVALUATION ONLY. `scans[i]` is a measurement and its truth `(1, 1, y, x)` in the same normalised units.

    The truth of a simulated scan is the complex image behind it. That of an acquired, fully sampled
    scan is the root of the sum of squares over coils (Roemer 1990), as fastMRI evaluates: a magnitude.
    """

    def __init__(self, spec: DataSpec, part: Part, records: Sequence[SliceRecord], pattern: Pattern | None) -> None:
        self.spec, self.part, self.records, self._pattern = spec, part, tuple(records), pattern

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Measurement, Tensor]:
        record = self.records[index]
        spec = self.spec.components()[record.component]
        if isinstance(spec.source, FastMRI):
            measurement = _measure(self.spec, record, self._pattern)
            return measurement, _root_sum_of_squares(spec, record) / measurement.scale.reshape(1, 1, 1, 1)
        scan = _simulated(spec, record, self._pattern)
        return scan.measurement, scan.truth

    def __iter__(self) -> Iterator[tuple[Measurement, Tensor]]:
        return (self[i] for i in range(len(self)))

    @property
    def ids(self) -> list[str]:
        """`<scan>/<slice>` of every slice."""
        return [record.scan_id for record in self.records]

    def patient(self, index: int) -> str:
        """Who the slice is of."""
        return self.records[index].patient


def open_scans(spec: DataSpec, split: str, *, limit: int | None = None, cache_bytes: int = CACHE_BYTES) -> Scans:
    """The measurements of a part of a data set.

    Parameters
    ----------
    split
        "train", "validation" or "test".
    limit
        At most this many slices; patients come in the order of the split's seeded hash.
    cache_bytes
        Most memory that measurements may stay in.

    Raises
    ------
    InputError
        If the data are absent, or there is no such part.
    """
    part = _part(split)
    return Scans(spec, part, parts(spec)[part][:limit], cache_bytes)


def open_evaluation(
    spec: DataSpec, split: str, *, pattern: Pattern | None = None, limit: int | None = None
) -> EvaluationScans:
    """EVALUATION ONLY: measurements with their truth.

    Parameters
    ----------
    pattern
        Takes the place of the spec's law, e.g. another acceleration: phase, coils and noise stay as they are.

    Raises
    ------
    InputError
        If there is no truth: the scans were undersampled when they were acquired.
    """
    part = _part(split)
    records = parts(spec)[part][:limit]
    for k, one in enumerate(spec.components()):
        files = {record.path for record in records if record.component == k and isinstance(one.source, FastMRI)}
        for path in sorted(path for path in files if path is not None):
            if _volume(path).mask is not None:
                raise InputError(
                    "the scan was undersampled when it was acquired: there is no truth to evaluate against",
                    where=str(path),
                    remedy="Evaluate on fully sampled files, e.g. those of multicoil_val",
                )
    return EvaluationScans(spec, part, records, pattern)


class _Recent:
    """Measurements in memory, the least recently used dropped first."""

    def __init__(self, most_bytes: int) -> None:
        self._kept: OrderedDict[SliceRecord, Measurement] = OrderedDict()
        self._bytes, self._most_bytes = 0, most_bytes

    def get(self, key: SliceRecord, make: Callable[[], Measurement]) -> Measurement:
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = make()
        self._kept[key] = made
        self._bytes += _size(made)
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._bytes -= _size(self._kept.popitem(last=False)[1])
        return made


def _size(measurement: Measurement) -> int:
    maps = measurement.sensitivity_maps
    return sum(t.numel() * t.element_size() for t in (measurement.y, measurement.mask, maps) if t is not None)


def _part(split: str) -> Part:
    for part in PARTS:
        if split == part:
            return part
    raise InputError(f"no part is called {split!r}", where="split", remedy=f"Choose one of {', '.join(PARTS)}")


def _measure(spec: DataSpec, record: SliceRecord, pattern: Pattern | None) -> Measurement:
    """What was measured of a slice. A simulated scan's image ends here."""
    one = spec.components()[record.component]
    if isinstance(one.source, FastMRI):
        assert record.path is not None
        volume = _measured_volume(one, record.path, pattern)  # type: ignore[arg-type] # laws are frozen dataclasses
        measured = volume[record.index]
    else:
        measured = _simulated(one, record, pattern).measurement
    return measured if spec.mixture is None else replace(measured, component=(record.component,))


def _simulated(spec: DataSpec, record: SliceRecord, pattern: Pattern | None) -> SimulatedScan:
    image, affine = magnitude_image(spec, record)
    acquisition = spec.simulation(pattern)
    return simulate_scan(image, acquisition, record.scan_id, volume_id=record.volume_id, affine=affine)


def magnitude_image(spec: DataSpec, record: SliceRecord) -> tuple[Tensor, Tensor | None]:
    """EVALUATION AND SIMULATION ONLY: the magnitude image `(y, x)` that a scan is simulated from, and its affine."""
    where = f"{record.path} slice {record.index}"
    match spec.source:
        case BrainDemo(slices=slices, image_size=size, contrast=contrast, seed=seed):
            from ambient_mri.data.cohort import subject

            made = subject(
                int(record.volume_id.removeprefix("demo-")), seed=seed, size=size, slices=slices,
                contrast=None if contrast == "mixed" else contrast,
            )  # fmt: skip
            affine = made.affine.clone()
            affine[:3, 3] += record.index * affine[:3, 2]
            return made.images[record.index], affine
        case Bids(image_size=size):
            assert record.path is not None
            image, placed = nifti.read_slice(record.path, record.index)
            affine = nifti.resized_affine(placed, (image.shape[0], image.shape[1]), size).float()
            return images.resized(image, size, where), affine
        case Images(image_size=size):
            assert record.path is not None
            return images.resized(images.read_slice(record.path, record.index), size, where), None
    raise TypeError(f"{spec.source.kind} holds no images")


@lru_cache(maxsize=OPEN_VOLUMES)
def _volume(path: Path) -> fastmri.Volume:
    return fastmri.open_volume(path)


@lru_cache(maxsize=OPEN_VOLUMES)
def _measured_volume(spec: DataSpec, path: Path, pattern: Pattern | None) -> MeasuredVolume:
    """A file through its own mask, or through one of the law's that its name alone determines."""
    source, volume = spec.source, _volume(path)
    assert isinstance(source, FastMRI)
    if spec.acquisition.coils is not None and volume.shape[1] != spec.acquisition.coils:
        raise InputError(f"{volume.shape[1]} coils, but the spec states {spec.acquisition.coils}", where=str(path))
    if volume.mask is not None and spec.acquisition.pattern.kind == "fully_sampled":
        raise InputError(
            "the scan was undersampled when it was acquired, but the spec says fully_sampled", where=str(path),
            remedy="State its law, or from_files",
        )  # fmt: skip
    law = _law(spec) if pattern is None else pattern
    shape = matrix(volume, source.remove_oversampling, source.crop_kspace)[1]
    if volume.mask is not None:
        mask = None
    elif spec.acquisition.pattern.kind == "from_files" and pattern is None:
        raise InputError(
            "the file has no mask, but the spec says from_files", where=str(path), remedy="State the law in the spec"
        )
    else:
        mask = law.draw(shape, stream(path.stem, "mask"))
    return MeasuredVolume(
        volume,
        mask,
        probability=law.probability(shape),
        stated_noise_std=spec.acquisition.noise_std,
        remove_oversampling=source.remove_oversampling,
        crop_kspace=source.crop_kspace,
    )


@lru_cache(maxsize=8)
def _law(spec: DataSpec) -> Pattern:
    if spec.acquisition.pattern.kind != "from_files":
        return spec.pattern()
    source = spec.source
    assert isinstance(source, FastMRI)
    paths = [path for path in dict.fromkeys(record.path for record in parts(spec)["train"]) if path is not None]
    volumes = [MeasuredVolume(_volume(path), remove_oversampling=source.remove_oversampling,
                              crop_kspace=source.crop_kspace) for path in paths]  # fmt: skip
    for measured in volumes:
        if measured.mask.shape != (1, volumes[0].matrix[1]):
            raise InputError(
                f"a mask of {tuple(measured.mask.shape)}, others have {volumes[0].matrix[1]} lines",
                where=str(measured.volume.path),
                remedy="Frequencies need line masks of one length: set source.crop_kspace, or state the law",
            )
    return EmpiricalLines.of(torch.stack([measured.mask for measured in volumes]))


def _root_sum_of_squares(spec: DataSpec, record: SliceRecord) -> Tensor:
    """EVALUATION ONLY: `(1, 1, y, x)` complex64 of all samples of a fully sampled slice, in the units of the file."""
    source = spec.source
    assert isinstance(source, FastMRI)
    assert record.path is not None
    volume = _volume(record.path)
    _, (_, lines) = matrix(volume, source.remove_oversampling, source.crop_kspace)
    everything = MeasuredVolume(
        volume,
        torch.ones(1, lines, dtype=torch.bool),
        remove_oversampling=source.remove_oversampling,
        crop_kspace=source.crop_kspace,
    )
    coils = ifft2c(everything.samples(record.index))
    return coils.abs().square().sum(1, keepdim=True).sqrt().to(torch.complex64)
