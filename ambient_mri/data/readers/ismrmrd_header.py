"""The XML header of ISMRMRD, which fastMRI files carry: matrices, fields of view, encoded lines."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from ambient_mri.errors import InputError


@dataclass(frozen=True)
class Header:
    """What the ISMRMRD header says of the first encoding; x is the readout there, as in ISMRMRD.

    Parameters
    ----------
    encoded_matrix, recon_matrix
        (x, y, z): readout, phase encode, slice.
    encoded_fov_mm, recon_fov_mm
        Fields of view of the two.
    lines
        (minimum, centre, maximum) of the phase-encode steps, or None.
    """

    encoded_matrix: tuple[int, int, int]
    recon_matrix: tuple[int, int, int]
    encoded_fov_mm: tuple[float, float, float]
    recon_fov_mm: tuple[float, float, float]
    lines: tuple[int, int, int] | None = None


def parse_header(raw: bytes | str, where: str) -> Header:
    """Parse the header's XML.

    Raises
    ------
    InputError
        If it is no such header. XML with a document type is refused, so that nothing can be expanded.
    """
    if b"<!DOCTYPE" in (raw if isinstance(raw, bytes) else str(raw).encode()):
        raise InputError("the ISMRMRD header declares entities", where=where)  # no entity expansion
    try:
        root = ElementTree.fromstring(raw)  # noqa: S314 - no document type, so nothing to expand
        spaces = [root.find(f"./{{*}}encoding/{{*}}{space}") for space in ("encodedSpace", "reconSpace")]
        matrices = [_triple(space, "matrixSize") for space in spaces]
        fields = [_triple(space, "fieldOfView_mm") for space in spaces]
        limits = root.find("./{*}encoding/{*}encodingLimits/{*}kspace_encoding_step_1")
        lines = None if limits is None else [int(_text(limits, name)) for name in ("minimum", "center", "maximum")]
    except (ElementTree.ParseError, ValueError) as problem:
        raise InputError(f"the ISMRMRD header cannot be read: {problem}", where=where) from None
    encoded, recon = (tuple(int(n) for n in matrix) for matrix in matrices)
    return Header(
        encoded_matrix=(encoded[0], encoded[1], encoded[2]),
        recon_matrix=(recon[0], recon[1], recon[2]),
        encoded_fov_mm=fields[0],
        recon_fov_mm=fields[1],
        lines=None if lines is None else (lines[0], lines[1], lines[2]),
    )


def _triple(space: ElementTree.Element | None, name: str) -> tuple[float, float, float]:
    element = None if space is None else space.find(f"{{*}}{name}")
    if element is None:
        raise ValueError(f"{name} is missing")
    return float(_text(element, "x")), float(_text(element, "y")), float(_text(element, "z"))


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}")
    if text is None:
        raise ValueError(f"{name} is missing")
    return text
