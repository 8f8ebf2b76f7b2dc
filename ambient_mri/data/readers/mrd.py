"""ISMRM raw data (MRD, formerly ISMRMRD; Inati et al., MRM 2017) in HDF5: Cartesian, one slice at a time.

What was measured is what was recorded, never inferred from zeros. Noise scans whiten the coils and give σ; lines that
were acquired several times are averaged; asymmetric echoes, partial Fourier and calibration lines keep their places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.data.readers.hdf5 import opened
from ambient_mri.data.readers.ismrmrd_header import Header, parse_header
from ambient_mri.data.readers.kspace import Affine, KspaceVolume
from ambient_mri.data.readers.mrd_volume import MRDVolume, Places
from ambient_mri.errors import InputError

# Bits of AcquisitionHeader.flags, counted from 1 (ismrmrd.h, ISMRMRD_AcquisitionFlags)
NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSED, NAVIGATION, PHASE_CORRECTION = 19, 20, 21, 22, 23, 24
OTHER_PURPOSE = (NAVIGATION, PHASE_CORRECTION, 26, 27, 28, 29)  # HP feedback, dummy, RT feedback, coil correction
VOLUME = ("contrast", "phase", "repetition", "set")
STEPS = ("kspace_encode_step_1", "kspace_encode_step_2")


def is_mrd(path: Path) -> bool:
    """Whether the file is HDF5 with a group that holds `data` and `xml`, by content."""
    try:
        with opened(path) as file:
            return _group(file) is not None
    except InputError:
        return False


def open_volumes(path: Path) -> list[KspaceVolume]:
    """Every volume of a file: one for each contrast, cardiac phase, repetition and set.

    Raises
    ------
    InputError
        If the file is damaged, not Cartesian, or acquired in a way that needs more than a Fourier transform.
    """
    with opened(path) as file:
        group = _group(file)
        if group is None:
            raise InputError("no group with 'data' and 'xml': not MRD", where=str(path))
        return _Recorded.of(path, group, file[group]).volumes()


@dataclass(frozen=True)
class _Recorded:
    """The headers of all acquisitions of a file."""

    path: Path
    group: str
    header: Header
    heads: npt.NDArray[Any] = field(repr=False)
    noise: Tensor | None = field(repr=False)
    one_sample_std: float | None

    @classmethod
    def of(cls, path: Path, group: str, data: Any) -> _Recorded:
        header = parse_header(bytes(data["xml"][0]), str(path))
        if header.trajectory not in ("cartesian", "epi"):
            raise InputError(f"{header.trajectory} trajectories are not Cartesian", where=str(path))
        heads = data["data"].fields("head")[:]
        if not len(heads):
            raise InputError("the file holds no acquisition", where=str(path))
        whitening, noise = _whitening(path, data["data"], heads, header)
        return cls(path, group, header, heads, whitening, noise)

    def volumes(self) -> list[KspaceVolume]:
        kept = np.flatnonzero(self._imaging())
        if not len(kept):
            raise InputError("the file holds no imaging acquisition", where=str(self.path))
        if _flag(self.heads[kept], REVERSED).any():
            raise InputError("readouts of both directions (EPI) need a phase correction first", where=str(self.path),
                             remedy="Correct and reorder them, then write them as Cartesian lines")  # fmt: skip
        index = self.heads["idx"][kept]
        keys, which = np.unique(np.stack([index[name] for name in VOLUME], 1), axis=0, return_inverse=True)
        found: list[KspaceVolume] = []
        for number, key in enumerate(keys):
            parts = [f"{name}{value}" for name, value, all_values in zip(VOLUME, key, keys.T, strict=True)
                     if len(set(all_values)) > 1]  # fmt: skip
            name = "_".join([self.path.stem, *parts])
            found.append(self._volume(name, kept[which.reshape(-1) == number]))
        return found

    def _imaging(self) -> npt.NDArray[np.bool_]:
        """Acquisitions of the image: calibration lines only where they belong to it (embedded or interleaved)."""
        other = _flag(self.heads, NOISE)
        for bit in OTHER_PURPOSE:
            other |= _flag(self.heads, bit)
        if self.header.calibration in ("separate", "external"):
            other |= _flag(self.heads, CALIBRATION) & ~_flag(self.heads, CALIBRATION_AND_IMAGING)
        first = self.heads["encoding_space_ref"] == 0
        imaging: npt.NDArray[np.bool_] = ~other & first
        return imaging

    def _volume(self, name: str, rows: npt.NDArray[np.intp]) -> KspaceVolume:
        heads = self.heads[rows]
        coils = set(heads["active_channels"].tolist())
        if len(coils) != 1:
            raise InputError(f"lines with {sorted(coils)} coils in one volume", where=str(self.path))
        readout, lines, partitions = self.header.encoded_matrix
        places = Places(
            rows, heads["idx"]["slice"].astype(int),
            self._steps(heads, 0, lines), self._steps(heads, 1, partitions), self._first_sample(heads, readout),
        )  # fmt: skip
        slices, affine = _stack(heads, self.header)
        volume = MRDVolume(
            path=self.path, name=name, group=self.group, header=self.header, places=places, slices=slices,
            shape=(len(slices), coils.pop(), readout, lines), heads=heads, noise=self.noise,
            one_sample_std=self.one_sample_std, affine=affine,
        )  # fmt: skip
        return volume if partitions == 1 else volume.sliced(partitions)

    def _steps(self, heads: npt.NDArray[Any], axis: int, size: int) -> npt.NDArray[np.intp]:
        """Where the lines lie: the header's centre goes to n//2."""
        limits = (self.header.lines, self.header.partitions)[axis]
        centre = size // 2 if limits is None else limits[1]
        steps: npt.NDArray[np.intp] = heads["idx"][STEPS[axis]].astype(np.intp) + size // 2 - centre
        if steps.min() < 0 or steps.max() >= size:
            raise InputError(f"{STEPS[axis]} leaves the encoded matrix of {size} steps", where=str(self.path))
        return steps

    def _first_sample(self, heads: npt.NDArray[Any], readout: int) -> int:
        """Row of the first sample: `center_sample` goes to n//2."""
        facts = {(int(h["number_of_samples"]), int(h["center_sample"]), int(h["discard_pre"]), int(h["discard_post"]))
                 for h in heads}  # fmt: skip
        if len(facts) != 1:
            raise InputError(f"readouts of {len(facts)} kinds in one volume", where=str(self.path))
        samples, centre, before, after = facts.pop()
        if before or after:
            raise InputError("samples to discard at the ends of readouts are not supported", where=str(self.path))
        first = readout // 2 - centre
        if first < 0 or first + samples > readout:
            raise InputError(
                f"{samples} samples with the centre at {centre} do not fit a readout of {readout}", where=str(self.path)
            )
        return first


def _whitening(path: Path, data: Any, heads: npt.NDArray[Any], header: Header) -> tuple[Tensor | None, float | None]:
    """All samples of the noise scans `(c, n)`, and σ of one imaging sample once they have whitened it.

    A receiver's noise grows with the bandwidth, the inverse of the dwell time; its filter lets only
    `relativeReceiverNoiseBandwidth` of the noise scan's through (Hansen and Kellman, JMRI 2015).
    """
    rows = np.flatnonzero(_flag(heads, NOISE))
    imaging = heads[~_flag(heads, NOISE)]
    if not len(rows) or not len(imaging):
        return None, None
    coils = int(heads["active_channels"][rows[0]])
    lines = [np.asarray(line, np.float32).view(np.complex64).reshape(coils, -1) for line in data.fields("data")[rows]]
    noise = np.concatenate(lines, 1)
    if coils != int(imaging["active_channels"][0]) or not np.isfinite(noise).all():
        raise InputError(f"the noise scan ({coils} coils) does not belong to the images", where=str(path),
                         remedy="Remove it from the file; the noise is then estimated from the images")  # fmt: skip
    dwell, own = float(heads["sample_time_us"][rows[0]]), float(imaging["sample_time_us"][0])
    ratio = dwell / own if dwell > 0 and own > 0 else 1.0
    return torch.from_numpy(noise), (ratio / header.noise_bandwidth) ** 0.5


def _stack(heads: npt.NDArray[Any], header: Header) -> tuple[tuple[int, ...], Affine | None]:
    """Slice numbers in the order of their positions, and the affine of the encoded matrix.

    MRD states positions as offsets from the isocentre in patient coordinates, and directions as cosines. They are taken
    as the place of index n//2, and as those of growing index after the inverse transform. Without unit directions, or
    where slices of a stack share a position, the geometry is not known and slices keep their numbers.
    """
    numbers, rows = np.unique(heads["idx"]["slice"], return_index=True)
    order = tuple(int(n) for n in numbers)
    first = heads[rows]
    read, phase, normal = (first[name].astype(np.float64) for name in ("read_dir", "phase_dir", "slice_dir"))
    frame = np.stack([read[0], phase[0], normal[0]])
    same = all(np.allclose(directions, directions[0], atol=1e-4) for directions in (read, phase, normal))
    if not same or not np.allclose(frame @ frame.T, np.eye(3), atol=1e-3):
        return order, None
    place = first["position"].astype(np.float64)
    along = place @ normal[0]
    by_place = np.argsort(along, kind="stable")
    gaps = np.diff(along[by_place])
    (n_read, n_phase, n_slice), fov = header.encoded_matrix, header.encoded_fov_mm
    if len(gaps) and (gaps.min() < 1e-3 or np.ptp(gaps) > 0.01 * gaps.mean()):
        return order, None
    spacing = float(gaps.mean()) if len(gaps) else fov[2] / n_slice
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = phase[0] * fov[1] / n_phase, read[0] * fov[0] / n_read
    affine[:3, 2] = normal[0] * spacing
    centre = np.array([n_phase // 2, n_read // 2, n_slice // 2 if n_slice > 1 else 0])
    affine[:3, 3] = place[by_place[0]] - affine[:3, :3] @ centre
    return tuple(order[i] for i in by_place), affine


def _flag(heads: npt.NDArray[Any], bit: int) -> npt.NDArray[np.bool_]:
    raised: npt.NDArray[np.bool_] = (heads["flags"] & np.uint64(1 << (bit - 1))) != 0
    return raised


def _group(file: Any) -> str | None:
    """The first group with `data` and `xml`; converters call it "dataset"."""
    names = [name for name in ("dataset", *file) if name in file]
    for name in names:
        group = file[name]
        if isinstance(group, h5py.Group) and "data" in group and "xml" in group and group["data"].dtype.names:
            return str(name)
    return None
