"""The readers as MONAI `ImageReader`s, for `LoadImaged` and other MONAI pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.image_reader import ImageReader

from ambient_mri.data.readers.content import KSPACE, kind, open_kspace
from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files, is_dicom
from ambient_mri.data.readers.fastmri import Volume, is_fastmri, open_volume
from ambient_mri.data.readers.kspace import KspaceVolume
from ambient_mri.data.readers.nifti import RAS_TO_LPS
from ambient_mri.errors import InputError


class FastMRIReader(ImageReader):
    """One slice of a fastMRI file: only what its mask measured (everything of a fully sampled file).

    Unlike `monai.apps.reconstruction.fastmri_reader.FastMRIReader` it reads one slice, keeps the
    imaginary part and the header, and invents no mask. Use it with `dtype=np.complex64`.

    Parameters
    ----------
    index
        The slice; None: the middle one.
    """

    def __init__(self, index: int | None = None) -> None:
        super().__init__()
        self.index = index

    def verify_suffix(self, filename: Sequence[str | PathLike[Any]] | str | PathLike[Any]) -> bool:
        """By content: HDF5 that holds `kspace`."""
        return all(is_fastmri(path) for path in _paths(filename))

    def read(self, data: Sequence[str | PathLike[Any]] | str | PathLike[Any], **kwargs: Any) -> Volume:
        """Open one file; takes none of MONAI's keyword arguments."""
        paths = _paths(data)
        if kwargs or len(paths) != 1:
            raise TypeError("FastMRIReader.read takes one file and no keyword arguments")
        return open_volume(paths[0])

    def get_data(self, img: Volume) -> tuple[npt.NDArray[np.complex64], dict[str, Any]]:
        """Samples `(c, y, x)` complex64 and their facts; `mask` is bool `(1, x)` or `(y, x)`."""
        index = len(img) // 2 if self.index is None else self.index
        mask = img.acquired if img.mask is None else img.mask & img.acquired
        facts = {"mask": mask.numpy(), "slice": index, "filename_or_obj": str(img.path)}
        if img.header is not None:
            facts |= {"recon_matrix": img.header.recon_matrix, "recon_fov_mm": img.header.recon_fov_mm}
        return img.read(index, mask).numpy(), facts


class KspaceReader(ImageReader):
    """One slice of a fastMRI, MRD or BART file: only what its mask measured. Use it with `dtype=np.complex64`.

    Parameters
    ----------
    index
        The slice; None: the middle one.
    pattern
        For BART, which does not say what was measured: a cfl of 0 and 1.
    """

    def __init__(self, index: int | None = None, pattern: Path | None = None) -> None:
        super().__init__()
        self.index, self.pattern = index, pattern

    def verify_suffix(self, filename: Sequence[str | PathLike[Any]] | str | PathLike[Any]) -> bool:
        """By content."""
        return all(kind(path) in KSPACE for path in _paths(filename))

    def read(self, data: Sequence[str | PathLike[Any]] | str | PathLike[Any], **kwargs: Any) -> KspaceVolume:
        """Open one file of one volume; takes none of MONAI's keyword arguments."""
        paths = _paths(data)
        if kwargs or len(paths) != 1:
            raise TypeError("KspaceReader.read takes one file and no keyword arguments")
        volumes = open_kspace(paths[0], self.pattern)
        if len(volumes) != 1:
            raise InputError(f"{len(volumes)} volumes in one file", where=str(paths[0]), remedy="Use open_kspace")
        return volumes[0]

    def get_data(self, img: KspaceVolume) -> tuple[npt.NDArray[np.complex64], dict[str, Any]]:
        """Samples `(c, y, x)` complex64 and their facts; `mask` is bool `(1, x)` or `(y, x)`, or None if not known."""
        index = len(img) // 2 if self.index is None else self.index
        mask = img.acquired if img.mask is None else img.mask & img.acquired
        facts: dict[str, Any] = {"mask": None if img.mask is None else mask.numpy(), "slice": index}
        facts |= {"filename_or_obj": str(img.path), "affine_lps": img.affine, "noise_std": img.noise_std}
        return img.read(index, mask).numpy(), facts


class DicomVolumeReader(ImageReader):
    """A DICOM MR volume `(column, row, slice)`, sorted by position; a folder of one series, its files, or one file.

    Unlike MONAI's `PydicomReader` it cuts mosaics, reads classic, Enhanced and tiled files alike, and refuses a series
    of several volumes instead of stacking them.
    """

    def verify_suffix(self, filename: Sequence[str | PathLike[Any]] | str | PathLike[Any]) -> bool:
        """By content."""
        paths = _paths(filename)
        return all(any(map(is_dicom, find_files(path))) if path.is_dir() else is_dicom(path) for path in paths)

    def read(self, data: Sequence[str | PathLike[Any]] | str | PathLike[Any], **kwargs: Any) -> DicomVolume:
        """Open the files of one volume; takes none of MONAI's keyword arguments."""
        if kwargs:
            raise TypeError("DicomVolumeReader.read takes no keyword arguments")
        files = [file for path in _paths(data) for file in (find_files(path) if path.is_dir() else [path])]
        volumes, problems = open_volumes(files)
        if problems:
            raise problems[0]
        if len(volumes) != 1:
            raise InputError(f"{len(volumes)} volumes", where=str(_paths(data)[0]), remedy="Use dicom.open_volumes")
        return volumes[0]

    def get_data(self, img: DicomVolume) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Rescaled values, and MONAI's facts: the affine is RAS, of unit voxels at 0 where the place is not known."""
        values = np.stack([img.read(i) for i in range(len(img))]).transpose(2, 1, 0)
        affine = np.eye(4) if img.affine is None else RAS_TO_LPS @ img.affine
        facts = {"affine": affine, "original_affine": affine, "spatial_shape": np.array(values.shape), "space": "RAS"}
        return values, facts | {"original_channel_dim": float("nan"), "filename_or_obj": str(img.paths[0])}


def _paths(names: Sequence[str | PathLike[Any]] | str | PathLike[Any]) -> list[Path]:
    return [Path(names)] if isinstance(names, str | PathLike) else [Path(name) for name in names]
