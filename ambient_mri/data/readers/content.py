"""What a file is, by its content: suffixes are not trusted."""

from __future__ import annotations

from pathlib import Path

import h5py

from ambient_mri.data.readers import bart, fastmri, mrd
from ambient_mri.data.readers.dicom_files import is_dicom
from ambient_mri.data.readers.kspace import KspaceVolume
from ambient_mri.data.readers.magnitude import is_nifti, nifti_files
from ambient_mri.errors import InputError

KSPACE = ("fastmri", "mrd", "bart")


def kind(path: Path) -> str | None:
    """ "fastmri", "mrd", "bart", "dicom", "nifti", or None for anything else."""
    if bart.is_bart(path):
        return "bart"
    if not path.is_file():
        return None
    if fastmri.is_fastmri(path):
        return "fastmri"
    if mrd.is_mrd(path):
        return "mrd"
    if is_dicom(path):
        return "dicom"
    return "nifti" if is_nifti(path) else None


def files_of(path: Path) -> list[Path]:
    """All files that hold what a path names: of BART's and NIfTI's pairs both.

    Raises
    ------
    InputError
        If one of them is not there.
    """
    found = kind(path)
    paths = list(bart.halves(path)) if found == "bart" else nifti_files(path) if found == "nifti" else [path]
    for one in paths:
        if not one.is_file():
            raise InputError("there is no such file", where=str(one))
    return paths


def raw_data(folder: Path) -> list[Path]:
    """Files of k-space in a folder and below; of BART's pairs the half with the samples."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".hdr")
    return [path for path in found if kind(path) in KSPACE]


def open_kspace(path: Path, pattern: Path | None = None) -> list[KspaceVolume]:
    """The volumes of k-space of a file.

    Parameters
    ----------
    pattern
        What was measured, for formats that do not say it themselves (BART); see `bart.open_volume`.

    Raises
    ------
    InputError
        If the file holds no k-space of a known format, or a pattern is given for a file that has its own.
    """
    found = kind(path)
    if found == "bart":
        return [bart.open_volume(path, pattern)]
    if pattern is not None and found in KSPACE:
        raise InputError("the file says itself what was measured", where=str(path), remedy="Leave the mask file out")
    if found == "mrd":
        return mrd.open_volumes(path)
    if found is None and path.is_file() and not h5py.is_hdf5(path):
        raise InputError("of no format that is known, or empty or cut short", where=str(path),
                         remedy="HDF5 (fastMRI, ISMRMRD), BART, DICOM and NIfTI are read")  # fmt: skip
    return [fastmri.open_volume(path)]  # whose complaints say what other HDF5 lacks
