"""What a batch writes of a case: the formats that were asked for, and a preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri.data.readers.kspace import Affine
from ambient_mri.errors import InputError
from ambient_mri.reconstruction.export.dicom import DEVIATION, Derivation, write_mr_series
from ambient_mri.reconstruction.export.dicom_source import Source
from ambient_mri.reconstruction.export.display import shown_slices, write_stacks
from ambient_mri.reconstruction.export.hdf5 import write_hdf5
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.export.parametric_map import write_parametric_map
from ambient_mri.reconstruction.export.png import write_png
from ambient_mri.reconstruction.layout import Place, flat

FORMATS = ("dicom", "nifti", "hdf5")
PICTURES = Path("gallery")
"""Pictures for the page, beside the manifest."""


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
    given
        What went in, for a look: magnitude of the slices that `display.shown_slices` names, in the same units.
    """

    image: npt.NDArray[np.complex64] | npt.NDArray[np.float32]
    affine: Affine | None
    voxel_mm: tuple[float, float, float] | None
    source: Source | None
    measured: npt.NDArray[np.bool_] | None = None
    deviation: npt.NDArray[np.float32] | None = None
    given: npt.NDArray[np.float32] | None = None


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


def names(
    name: str, formats: Sequence[str], *, restored: bool, sampled: bool = False, place: Place | None = None
) -> tuple[str, ...]:
    """What a case writes, relative to the output folder; the preview comes last.

    Parameters
    ----------
    place
        Of a layout; None: `layout.flat`.
    """
    place = flat(name) if place is None else place
    kinds = [one for one in ("nifti", "hdf5", "dicom") if one in formats]
    if restored and "nifti" in formats:
        kinds.append("measured")
    if sampled and "nifti" in formats:
        kinds.append("deviation")
    if sampled and "dicom" in formats:
        kinds += ["dicom_deviation", "dicom_deviation_map"]
    return tuple(place(kind) for kind in (*kinds, "preview"))


def write(
    out: Path, name: str, product: Product, formats: Sequence[str], facts: Mapping[str, str | float | bool],
    derivation: Derivation, place: Place | None = None,
) -> None:  # fmt: skip
    """Write the files of `names`.

    Raises
    ------
    InputError
        If DICOM is asked for and the place of the images is not known.
    """
    place = flat(name) if place is None else place
    magnitude = np.abs(product.image).astype(np.float32)
    if "dicom" in formats:
        if product.source is None:
            raise no_place(name)
        _write_dicom(out, place, magnitude, product, product.source, derivation)
    if "nifti" in formats:
        label = f"ambient-mri {derivation.method}, research only"
        affine, voxel = product.affine, product.voxel_mm
        write_nifti(out / place("nifti"), magnitude, affine=affine, voxel_mm=voxel, description=label)
        if product.measured is not None:
            path, kept = out / place("measured"), product.measured.astype(np.float32)
            write_nifti(path, kept, affine=affine, voxel_mm=voxel, description="1 = measured, 0 = estimated")
        if product.deviation is not None:
            path = out / place("deviation")
            write_nifti(path, product.deviation, affine=affine, voxel_mm=voxel, description="standard deviation")
    if "hdf5" in formats:
        path = out / place("hdf5")
        write_hdf5(path, product.image, facts, measured=product.measured, deviation=product.deviation)
    pixel = (1.0, 1.0) if product.voxel_mm is None else (product.voxel_mm[1], product.voxel_mm[0])
    write_png(out / place("preview"), magnitude[len(magnitude) // 2], pixel_mm=pixel)


def write_pictures(out: Path, name: str, product: Product) -> dict[str, Any]:
    """Pictures of the input, the images and their standard deviation for the page, and how to show them."""
    shown = shown_slices(len(product.image))
    stacks = {
        "input": product.given,
        "image": np.abs(product.image[shown]).astype(np.float32),
        "deviation": None if product.deviation is None else product.deviation[shown],
    }
    known = {kind: (PICTURES / f"{name}_{kind}.png", stack) for kind, stack in stacks.items() if stack is not None}
    return write_stacks(out, known, affine=product.affine, voxel_mm=product.voxel_mm, count=len(product.image))


def no_place(name: str) -> InputError:
    """DICOM images have a place in the patient; none is made up."""
    return InputError("the input does not say where its slices lie, and DICOM has to", where=name,
                      remedy="Ask for --format nifti,hdf5")  # fmt: skip


def _write_dicom(
    out: Path, place: Place, magnitude: npt.NDArray[np.float32], product: Product, source: Source,
    derivation: Derivation,
) -> None:  # fmt: skip
    if product.measured is not None and _whole(magnitude[product.measured]):
        magnitude = np.round(magnitude)  # estimates as fine as the input, so that measured pixels are stored unchanged
    write_mr_series(out / place("dicom"), magnitude, source, derivation)
    if product.deviation is None:
        return
    beside, path = out / place("dicom_deviation"), out / place("dicom_deviation_map")
    images = write_mr_series(beside, product.deviation, source, derivation, quantity=DEVIATION, number=2)
    write_parametric_map(path, product.deviation, images, derivation)


def _whole(values: npt.NDArray[np.float32]) -> bool:
    return bool((values == np.round(values)).all())
