"""Data sets as measurements. `open_scans` serves training and holds nothing clean; `open_evaluation` also has truth."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

from torch import Tensor

from ambient_mri.corruption import FurtherCorruption, FurtherLaw, MixedCorruption, Mixture
from ambient_mri.data.facts import FastMRI
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.slices import law, measure, root_sum_of_squares, simulated, volume_of
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import PARTS, Part, parts
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.patterns import Pattern

CACHE_BYTES = 2**30
"""Measurements kept in memory for each `Scans`; the least recently used are dropped beyond it."""


class _Listed:
    """The slices of one part of a data set, and who they are of."""

    def __init__(self, spec: DataSpec, part: Part, records: Sequence[SliceRecord]) -> None:
        self.spec, self.part, self.records = spec, part, tuple(records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def ids(self) -> list[str]:
        """`<scan>/<slice>` of every slice."""
        return [record.scan_id for record in self.records]

    def patient(self, index: int) -> str:
        """Who the slice is of."""
        return self.records[index].patient


class Scans(_Listed):
    """The measurements of one part of a data set, one slice each; made at the first use and then kept.

    `scans[i]` has batch size 1, is normalised, and is the same whenever and wherever it is made. It
    comes from measured samples only: there is no way from here to a clean image.
    """

    def __init__(self, spec: DataSpec, part: Part, records: Sequence[SliceRecord], cache_bytes: int) -> None:
        super().__init__(spec, part, records)
        self._recent = _Recent(cache_bytes)

    def __getitem__(self, index: int) -> Measurement:
        record = self.records[index]
        return self._recent.get(record, lambda: measure(self.spec, record, None))

    def __iter__(self) -> Iterator[Measurement]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def image_shape(self) -> tuple[int, int]:
        """(y, x) of the first slice; acquired volumes of other sizes may follow."""
        return self[0].image_shape

    def pattern(self) -> Pattern:
        """The law of A: the spec's, or the line frequencies over the training files (`from_files`)."""
        laws = tuple(law(one) for one in self.spec.components())
        if self.spec.mixture is None:
            return laws[0]
        counts = Counter(record.component for record in self.records)
        return Mixture(laws, tuple(counts[k] / max(len(self), 1) for k in range(len(laws))))

    def further(self) -> FurtherLaw:
        """The law of D."""
        specs = self.spec.components()
        laws = tuple(FurtherCorruption(law(one), one.acquisition.further.keep) for one in specs)
        return laws[0] if self.spec.mixture is None else MixedCorruption(laws)


class EvaluationScans(_Listed):
    """EVALUATION ONLY. `scans[i]` is a measurement and its truth `(1, 1, y, x)` in the same normalised units.

    The truth of a simulated scan is the complex image behind it. That of an acquired, fully sampled
    scan is the root of the sum of squares over coils (Roemer 1990), as fastMRI evaluates: a magnitude.
    """

    def __init__(self, spec: DataSpec, part: Part, records: Sequence[SliceRecord], pattern: Pattern | None) -> None:
        super().__init__(spec, part, records)
        self._pattern = pattern

    def __getitem__(self, index: int) -> tuple[Measurement, Tensor]:
        record = self.records[index]
        spec = self.spec.components()[record.component]
        if isinstance(spec.source, FastMRI):
            measurement = measure(self.spec, record, self._pattern)
            return measurement, root_sum_of_squares(spec, record) / measurement.scale.reshape(1, 1, 1, 1)
        scan = simulated(spec, record, self._pattern)
        return scan.measurement, scan.truth

    def __iter__(self) -> Iterator[tuple[Measurement, Tensor]]:
        return (self[i] for i in range(len(self)))


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
            if volume_of(path).mask is not None:
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
