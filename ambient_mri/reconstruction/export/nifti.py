"""NIfTI-1: a magnitude volume with its geometry, or without where the geometry is not known."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri import files
from ambient_mri.data.readers.nifti import RAS_TO_LPS


def write_nifti(
    path: Path,
    volume: npt.NDArray[np.float32],
    *,
    affine: npt.NDArray[np.float64] | None,
    voxel_mm: tuple[float, float, float] | None = None,
    description: str = "",
) -> Path:
    """Write `(slices, y, x)` so that NIfTI's axes are (column, row, slice).

    Parameters
    ----------
    affine
        4×4, voxel (column, row, slice) → DICOM LPS mm; None: unknown. Then both NIfTI form codes are
        0 (unknown) and only voxel sizes are stated: no orientation is made up.
    voxel_mm
        (column, row, slice) sizes, read only without an affine.
    description
        At most 79 characters.
    """
    import nibabel as nib

    nifti1: Any = nib.Nifti1Image  # untyped
    data = np.ascontiguousarray(volume.transpose(2, 1, 0), dtype=np.float32)
    image = nifti1(data, None if affine is None else RAS_TO_LPS @ affine)  # its own inverse
    if affine is None:
        image.header.set_zooms(voxel_mm or (1.0, 1.0, 1.0))
        image.header.set_sform(None, code=0)
        image.header.set_qform(None, code=0)
    else:
        image.header.set_sform(RAS_TO_LPS @ affine, code=1)  # scanner coordinates
        image.header.set_qform(RAS_TO_LPS @ affine, code=1)
    image.header.set_xyzt_units(xyz="mm")
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    content = image.to_bytes()
    return files.write(path, gzip.compress(content, 1, mtime=0) if path.suffix == ".gz" else content)
