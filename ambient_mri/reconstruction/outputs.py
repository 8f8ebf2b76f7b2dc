"""What a batch writes of a case: the formats that were asked for, and a preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ambient_mri.data.readers.kspace import Affine
from ambient_mri.errors import InputError
from ambient_mri.reconstruction.export.dicom import DEVIATION, Derivation, write_mr_series
from ambient_mri.reconstruction.export.dicom_source import Source
from ambient_mri.reconstruction.export.hdf5 import write_hdf5
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.export.parametric_map import write_parametric_map
from ambient_mri.reconstruction.export.png import write_png

FORMATS = ("dicom", "nifti", "hdf5")
SUFFIXES = {"nifti": ".nii.gz", "hdf5": ".h5", "dicom": "_dicom"}


@dataclass(frozen=True)
class Product:
    """Images of one case, ready to be written.

    Parameters
    ----------
    image
        `(slices, y, x)`, complex of k-space, real of images, in the units of the input.
    affine, voxel_mm
        (column, row, slice) → LPS mm, and sizes where only those are known.
    source
        What DICOM takes over; None where the place is not known.
    measured
        Bool `(slices, y, x)` of restored images: which pixels are the input's own.
    deviation
        Standard deviation `(slices, y, x)`, if samples were drawn.
    """

    image: npt.NDArray[np.complex64] | npt.NDArray[np.float32]
    affine: Affine | None
    voxel_mm: tuple[float, float, float] | None
    source: Source | None
    measured: npt.NDArray[np.bool_] | None = None
    deviation: npt.NDArray[np.float32] | None = None


def checked(formats: Sequence[str]) -> tuple[str, ...]:
    """The formats, each once, in the order of `FORMATS`.

    Raises
    ------
    InputError
        If one is not known, or none is given.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(f"{unknown[0] if unknown else ''!r} is no format", where="--format",
                         remedy=f"Choose among {', '.join(FORMATS)}")  # fmt: skip
    return tuple(name for name in FORMATS if name in formats)


def names(name: str, formats: Sequence[str], *, restored: bool, sampled: bool = False) -> tuple[str, ...]:
    """What a case writes, relative to the output folder; the preview comes last."""
    found = [f"{name}{SUFFIXES[one]}" for one in ("nifti", "hdf5", "dicom") if one in formats]
    if restored and "nifti" in formats:
        found.append(f"{name}_measured.nii.gz")
    if sampled and "nifti" in formats:
        found.append(f"{name}_deviation.nii.gz")
    if sampled and "dicom" in formats:
        found += [f"{name}_dicom_deviation", f"{name}_dicom_deviation_map.dcm"]
    return (*found, f"{name}.png")


def write(
    out: Path, name: str, product: Product, formats: Sequence[str], facts: Mapping[str, str | float | bool],
    derivation: Derivation,
) -> None:  # fmt: skip
    """Write the files of `names`.

    Raises
    ------
    InputError
        If DICOM is asked for and the place of the images is not known.
    """
    magnitude = np.abs(product.image).astype(np.float32)
    if "dicom" in formats:
        if product.source is None:
            raise no_place(name)
        _write_dicom(out / f"{name}_dicom", magnitude, product, product.source, derivation)
    if "nifti" in formats:
        label = f"ambient-mri {derivation.method}, research only"
        place, voxel = product.affine, product.voxel_mm
        write_nifti(out / f"{name}.nii.gz", magnitude, affine=place, voxel_mm=voxel, description=label)
        if product.measured is not None:
            path, kept = out / f"{name}_measured.nii.gz", product.measured.astype(np.float32)
            write_nifti(path, kept, affine=place, voxel_mm=voxel, description="1 = measured, 0 = estimated")
        if product.deviation is not None:
            path = out / f"{name}_deviation.nii.gz"
            write_nifti(path, product.deviation, affine=place, voxel_mm=voxel, description="standard deviation")
    if "hdf5" in formats:
        write_hdf5(out / f"{name}.h5", product.image, facts, measured=product.measured, deviation=product.deviation)
    pixel = (1.0, 1.0) if product.voxel_mm is None else (product.voxel_mm[1], product.voxel_mm[0])
    write_png(out / f"{name}.png", magnitude[len(magnitude) // 2], pixel_mm=pixel)


def no_place(name: str) -> InputError:
    """DICOM images have a place in the patient; none is made up."""
    return InputError("the input does not say where its slices lie, and DICOM has to", where=name,
                      remedy="Ask for --format nifti,hdf5")  # fmt: skip


def _write_dicom(
    folder: Path, magnitude: npt.NDArray[np.float32], product: Product, source: Source, derivation: Derivation
) -> None:
    if product.measured is not None and _whole(magnitude[product.measured]):
        magnitude = np.round(magnitude)  # estimates as fine as the input, so that measured pixels are stored unchanged
    write_mr_series(folder, magnitude, source, derivation)
    if product.deviation is None:
        return
    beside = folder.with_name(f"{folder.name}_deviation")
    images = write_mr_series(beside, product.deviation, source, derivation, quantity=DEVIATION, number=2)
    write_parametric_map(folder.with_name(f"{folder.name}_deviation_map.dcm"), product.deviation, images, derivation)


def _whole(values: npt.NDArray[np.float32]) -> bool:
    return bool((values == np.round(values)).all())
