"""Image planes of DICOM MR files: classic, Enhanced multi-frame, and tiled (Siemens mosaic, UIH grid).

Each plane has its place in the patient (PS3.3 C.7.6.2.1.1). Messages name files and attributes, never their values:
those may identify patients.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri.errors import InputError

CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_CONVERTED = "1.2.840.10008.5.1.4.1.1.4.4"
UIH_PRIVATE, UIH_TILES = (0x0065, "Image Private Header"), 0x51
SIEMENS_PRIVATE, SIEMENS_TILES = (0x0019, "SIEMENS MR HEADER"), 0x0A

BESIDE_IMAGES = ("1.2.840.10008.1.3.10", *(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in (7, 11, 30, 66, 88, 104)))
"""DICOMDIR; secondary captures, presentation states, parametric maps, raw data, reports, documents: and their kinds."""

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Plane:
    """Where the pixels of an image lie: `(3,)` LPS mm.

    Parameters
    ----------
    along_row, along_column
        Unit vectors of growing column and row number.
    position
        Centre of the first pixel.
    spacing
        Between rows, and between columns.
    """

    along_row: Vector
    along_column: Vector
    position: Vector
    spacing: tuple[float, float]

    @property
    def normal(self) -> Vector:
        """Of a right-handed frame (row, column, normal)."""
        return np.cross(self.along_row, self.along_column)


@dataclass(frozen=True)
class Frame:
    """One image of a file.

    Parameters
    ----------
    number
        Of the frame in the file, from 0.
    tile
        (top, left) of a tiled file, otherwise (0, 0).
    shape
        (rows, columns) of this image.
    plane
        None where the file does not say where it lies.
    rescale
        (slope, intercept).
    component
        "MAGNITUDE", "PHASE", "REAL", "IMAGINARY", "FIELD_MAP", …
    sort
        Order of acquisition within a series.
    echo_ms
        Echo time, 0 if not stated.
    padding
        Lowest and highest stored value that mean "no pixel", or None.
    """

    path: Path
    number: int
    tile: tuple[int, int]
    shape: tuple[int, int]
    plane: Plane | None = field(repr=False)
    rescale: tuple[float, float]
    component: str
    sort: tuple[int, ...]
    echo_ms: float
    padding: tuple[int, int] | None


class BesideImages(InputError):
    """A DICOM file of those that lie beside images and are none: no damage, and no loss."""


@contextmanager
def unquoted() -> Iterator[None]:
    """Inside, warnings of pydicom and highdicom are not shown or logged: they quote values, which may be names."""

    def none(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("pydicom")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pydicom|highdicom)(\.|$)")
        logger.addFilter(none)
        try:
            yield
        finally:
            logger.removeFilter(none)


def frames(header: Any, path: Path) -> list[Frame]:
    """The images that a file holds, by its header.

    Raises
    ------
    BesideImages
        If it is a directory, secondary capture, presentation state, report, …
    InputError
        If it is no MR image, or a required attribute is absent or unusable.
    """
    kind = str(header.get("SOPClassUID", ""))
    if any(kind == known or kind.startswith(f"{known}.") for known in BESIDE_IMAGES):
        raise BesideImages("a DICOM file, but no MR image", where=str(path))
    if kind not in (CLASSIC, ENHANCED, LEGACY_CONVERTED):
        raise InputError("a DICOM file, but no MR image", where=str(path))
    try:
        if kind != CLASSIC:
            return list(_enhanced(header, path))
        if "MOSAIC" in header.get("ImageType", []):
            return list(_mosaic(header, path))
        if "VFRAME" in header.get("ImageType", []):
            return list(_grid(header, path))
        return [_classic(header, path)]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError) as problem:
        if isinstance(problem, InputError):
            raise
        raise InputError(
            f"the header is damaged: {_attribute(problem)} cannot be used", where=str(path), remedy="Export it again"
        ) from None


def _classic(header: Any, path: Path) -> Frame:
    return Frame(
        path, 0, (0, 0), (int(header.Rows), int(header.Columns)), _plane(header, header, header), _rescale(header),
        _component(header.get("ComplexImageComponent"), header.get("ImageType")), _sort(header, 0),
        float(header.get("EchoTime") or 0), _padding(header),
    )  # fmt: skip


def _enhanced(header: Any, path: Path) -> Iterator[Frame]:
    """Attributes of a frame are in its functional groups, or in those that all share (PS3.3 C.7.6.16)."""
    count, shape = int(header.get("NumberOfFrames") or 1), (int(header.Rows), int(header.Columns))
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    own = header.get("PerFrameFunctionalGroupsSequence") or [{}] * count
    if len(own) != count:
        raise InputError(f"{count} frames, but {len(own)} functional groups", where=str(path))
    for number in range(count):

        def group(name: str, number: int = number) -> Any:
            items = own[number].get(name) or shared.get(name) or [{}]
            return items[0]

        plane = _plane(
            group("PlanePositionSequence"), group("PlaneOrientationSequence"), group("PixelMeasuresSequence")
        )
        kind = group("MRImageFrameTypeSequence")
        temporal = int(group("FrameContentSequence").get("TemporalPositionIndex") or 0)
        yield Frame(
            path, number, (0, 0), shape, plane, _rescale(group("PixelValueTransformationSequence")),
            _component(kind.get("ComplexImageComponent"), kind.get("FrameType") or header.get("ImageType")),
            (*_sort(header, 0), temporal, number), float(group("MREchoSequence").get("EffectiveEchoTime") or 0),
            _padding(header),
        )  # fmt: skip


def _mosaic(header: Any, path: Path) -> Iterator[Frame]:
    """Siemens: a square of tiles; the position is that of a single image of the mosaic's size about the same centre.

    Slices follow the normal of the private header (CSA), which may point against that of the plane.
    """
    count = _private(header, SIEMENS_PRIVATE, SIEMENS_TILES)
    normal = _csa_normal(header)
    plane = _plane(header, header, header)
    if count is None or normal is None or plane is None:
        raise InputError("a mosaic without the private attributes that say how to cut it", where=str(path),
                         remedy="Export it with private attributes, or as single images")  # fmt: skip
    count, across = int(count), math.ceil(math.sqrt(int(count)))
    rows, columns = int(header.Rows) // across, int(header.Columns) // across
    gap = float(header.get("SpacingBetweenSlices") or header.SliceThickness)
    corner = (
        plane.position
        + plane.along_row * plane.spacing[1] * (int(header.Columns) - columns) / 2
        + plane.along_column * plane.spacing[0] * (int(header.Rows) - rows) / 2
    )
    normal = plane.normal if float(normal @ plane.normal) >= 0 else -plane.normal
    for number in range(count):
        own = Plane(plane.along_row, plane.along_column, corner + number * gap * normal, plane.spacing)
        yield _tile(header, path, number, across, (rows, columns), own)


def _grid(header: Any, path: Path) -> Iterator[Frame]:
    """UIH: tiles row by row; a private sequence states the position of each."""
    items = _private(header, UIH_PRIVATE, UIH_TILES)
    if not items:
        raise InputError("a grid of images without the private sequence of their positions", where=str(path),
                         remedy="Export it with private attributes, or as single images")  # fmt: skip
    across = math.ceil(math.sqrt(len(items)))
    shape = int(header.Rows) // math.ceil(len(items) / across), int(header.Columns) // across
    for number, item in enumerate(items):
        yield _tile(header, path, number, across, shape, _plane(item, header, header))


def _tile(header: Any, path: Path, number: int, across: int, shape: tuple[int, int], plane: Plane | None) -> Frame:
    corner = (number // across) * shape[0], (number % across) * shape[1]
    if corner[0] + shape[0] > int(header.Rows):
        raise InputError("more tiles than fit the image", where=str(path))
    whole = _classic(header, path)
    return Frame(
        path, 0, corner, shape, plane, whole.rescale, whole.component, (*whole.sort, number), whole.echo_ms,
        whole.padding,
    )  # fmt: skip


def _plane(positioned: Any, oriented: Any, measured: Any) -> Plane | None:
    position, cosines = positioned.get("ImagePositionPatient"), oriented.get("ImageOrientationPatient")
    spacing = measured.get("PixelSpacing")
    if not position or not cosines or not spacing:
        return None
    place = np.array([float(v) for v in position])
    row, column = np.array([float(v) for v in cosines]).reshape(2, 3)
    between_rows, between_columns = (float(v) for v in spacing)
    if not np.isfinite([*place, *row, *column]).all() or min(between_rows, between_columns) <= 0:
        raise ValueError("ImageOrientationPatient")
    if abs(np.linalg.norm(row) - 1) > 1e-2 or abs(np.linalg.norm(column) - 1) > 1e-2 or abs(row @ column) > 1e-2:
        raise ValueError("ImageOrientationPatient")
    return Plane(row, column, place, (between_rows, between_columns))


def _rescale(group: Any) -> tuple[float, float]:
    slope = group.get("RescaleSlope")
    return (1.0 if slope is None else float(slope)), float(group.get("RescaleIntercept") or 0)


def _component(stated: Any, kind: Any) -> str:
    """From the attribute, or from the third and fourth value of the image type, where vendors put it."""
    words = {str(word).upper() for word in kind or ()}
    for name, signs in (
        ("PHASE", {"P", "PHASE", "PHASE MAP", "PHASE_MAP"}), ("FIELD_MAP", {"FIELD_MAP", "B0 MAP", "B0_MAP"}),
        ("REAL", {"R", "REAL"}), ("IMAGINARY", {"I", "IMAGINARY"}),
    ):  # fmt: skip
        if words & signs:
            return name
    known = str(stated or "").upper()
    return "MAGNITUDE" if known in ("", "MIXED") else known


def _sort(header: Any, number: int) -> tuple[int, ...]:
    return int(header.get("AcquisitionNumber") or 0), int(header.get("InstanceNumber") or 0), number


def _padding(header: Any) -> tuple[int, int] | None:
    """Pixel Padding Range Limit, if stated, is the other end (PS3.3 C.7.5.1.1.2)."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    lowest, highest = sorted((int(value), int(value if limit is None else limit)))
    return lowest, highest


def _private(header: Any, creator: tuple[int, str], element: int) -> Any:
    try:
        return header.private_block(creator[0], creator[1])[element].value
    except KeyError:
        return None


def _csa_normal(header: Any) -> Vector | None:
    from nibabel.nicom import csareader

    reader: Any = csareader  # untyped
    try:
        csa = reader.get_csa_header(header, "image")
        normal = None if csa is None else reader.get_slice_normal(csa)
    except (csareader.CSAReadError, KeyError, ValueError, UnicodeDecodeError):
        return None
    return None if normal is None else np.array([float(v) for v in normal])


def _attribute(problem: Exception) -> str:
    """The attribute that an exception is about, if it names one: never a value."""
    from pydicom.datadict import dictionary_has_tag, tag_for_keyword

    for word in "".join(c if c.isalnum() else " " for c in str(problem)).split():
        tag = tag_for_keyword(word)
        if tag is not None and dictionary_has_tag(tag):
            return word
    return "an attribute"
