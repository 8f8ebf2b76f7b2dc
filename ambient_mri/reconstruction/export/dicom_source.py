"""What derived DICOM takes over from the scan it was made of: patient, study, frame of reference, equipment, sequence.

Only attributes of the MR Image IOD are taken, and only values that are valid for their VR. What archives file by is the
exception: identity, study and frame of reference are those that the source states, whether they keep the rules or not,
so that the result is filed with it. So are dates, unless they are none ("***").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ambient_mri.data.readers.dicom import DicomVolume
from ambient_mri.data.readers.dicom_frames import Plane, unquoted
from ambient_mri.data.readers.kspace import Affine
from ambient_mri.errors import InputError

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod",
)  # fmt: skip
STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
         "StudyDescription")  # fmt: skip
SERIES = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BodyPartExamined", "Laterality",
          "AcquisitionDate", "AcquisitionTime", "SeriesNumber")  # fmt: skip
EQUIPMENT = ("Manufacturer", "ManufacturerModelName", "InstitutionName", "StationName", "MagneticFieldStrength")
SEQUENCE = (
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime",
    "InversionTime", "EchoTrainLength", "FlipAngle", "NumberOfAverages", "ImagingFrequency", "ImagedNucleus",
    "PixelBandwidth", "SliceThickness", "SpacingBetweenSlices",
)  # fmt: skip
TAKEN = (*PATIENT, *STUDY, *SERIES, *EQUIPMENT, *SEQUENCE)
KEPT = {
    "PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "StudyDescription", "FrameOfReferenceUID",
}  # fmt: skip
"""As the source states them: a UID or number put right would be that of another study."""

# Enhanced MR keeps parts of these in functional groups, under other names (PS3.3 C.8.13.5)
GROUPED = {
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "NumberOfAverages": ("MRAveragesSequence", "NumberOfAverages"),
    "ImagedNucleus": ("MRImagingModifierSequence", "ResonantNucleus"),
    "PixelBandwidth": ("MRImagingModifierSequence", "PixelBandwidth"),
    "SliceThickness": ("PixelMeasuresSequence", "SliceThickness"),
    "BodyPartExamined": ("FrameAnatomySequence", "BodyPartExamined"),
}
ALLOWED = {
    "ScanningSequence": {"SE", "IR", "GR", "EP", "RM"},
    "SequenceVariant": {"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP", "NONE"},
    "ScanOptions": {"PER", "RG", "CG", "PPG", "FC", "PFF", "PFP", "SP", "FS"},
    "MRAcquisitionType": {"2D", "3D"},
    "PatientSex": {"M", "F", "O"},
    "PatientIdentityRemoved": {"YES", "NO"},
    "Laterality": {"R", "L"},
}


@dataclass(frozen=True)
class Source:
    """A scan as derived DICOM refers to it.

    Parameters
    ----------
    attributes
        DICOM keyword → value. Identifies the patient: never shown.
    planes
        One a slice: where the images lie.
    references
        For each slice the (SOP class, SOP instance, frame number or 0) it was made of; empty for k-space.
    """

    attributes: Mapping[str, Any] = field(repr=False)
    planes: tuple[Plane, ...] = field(repr=False)
    references: tuple[tuple[str, str, int], ...] = field(default=(), repr=False)


def from_dicom(volume: DicomVolume) -> Source | None:
    """The source of what is made of DICOM images; None where they do not say where they lie."""
    with unquoted():
        return _from_dicom(volume)


def _from_dicom(volume: DicomVolume) -> Source | None:
    planes = [frame.plane for frame in volume.frames]
    header = volume.header(0)
    header.decode()
    found = {}
    for keyword in TAKEN:
        value = _stated(header, keyword)
        if value in (None, "") and keyword in GROUPED:
            value = _grouped(header, *GROUPED[keyword], number=volume.frames[0].number)
        checked = _checked(keyword, value)
        if checked is not None:
            found[keyword] = checked
    moment = str(_stated(header, "AcquisitionDateTime") or "")
    if found.get("AcquisitionDate") is None and moment:
        found |= {"AcquisitionDate": moment[:8], "AcquisitionTime": moment[8:].split("+")[0].split("-")[0]}
        found = {key: value for key, value in found.items() if _checked(key, value) is not None}
    if "IR" not in found.get("ScanningSequence", ()):
        found.pop("InversionTime", None)  # type 2C: only where there is an inversion
    if volume.affine is None:
        found.pop("SpacingBetweenSlices", None)  # it would be true of some slices only
    elif len(volume) > 1:
        found["SpacingBetweenSlices"] = _plain("DS", np.linalg.norm(volume.affine[:3, 2]))
    references, headers = [], []
    for index, frame in enumerate(volume.frames):
        own = header if frame.path == volume.frames[0].path else volume.header(index)
        headers.append(own)
        number = frame.number + 1 if own.get("NumberOfFrames") else 0
        references.append((str(own.SOPClassUID), str(own.SOPInstanceUID), number))
    first = planes[0]
    if first is None or any(plane is None for plane in planes):
        return None
    # scanners round the directions of each slice differently; one stack has one
    own = [replace(first, position=plane.position) for plane in planes if plane is not None]
    return Source(found | _of_pixels(headers, str(volume.paths[0])), tuple(own), tuple(references))


def from_kspace(identity: Mapping[str, str], affine: Affine | None, slices: int, thickness_mm: float) -> Source | None:
    """The source of what is made of k-space; None where the file does not say where its slices lie.

    Parameters
    ----------
    identity
        DICOM keyword → value, of the ISMRMRD header.
    affine
        Of the images as they are written: (column, row, slice) → LPS mm.
    """
    if affine is None:
        return None
    found = {key: _checked(key, _digits(key, value)) for key, value in identity.items() if key in TAKEN}
    attributes = {key: value for key, value in found.items() if value is not None}
    spacing = float(np.linalg.norm(affine[:3, 2]))
    attributes.pop("InversionTime", None)  # the sequence is not stated, and type 2C needs it to be
    attributes |= {"SliceThickness": _plain("DS", thickness_mm), "SpacingBetweenSlices": _plain("DS", spacing)}
    attributes |= {"BurnedInAnnotation": "NO", "LossyImageCompression": "00"}  # known: nobody had images before
    return Source(attributes, planes_of(affine, slices))


def planes_of(affine: Affine, slices: int) -> tuple[Plane, ...]:
    """The planes of a stack."""
    between_columns, between_rows = (float(np.linalg.norm(affine[:3, axis])) for axis in (0, 1))
    along_row, along_column = affine[:3, 0] / between_columns, affine[:3, 1] / between_rows
    return tuple(
        Plane(along_row, along_column, affine[:3, 3] + index * affine[:3, 2], (between_rows, between_columns))
        for index in range(slices)
    )


def _of_pixels(headers: Sequence[Any], where: str) -> dict[str, Any]:
    """What images pass on with their pixels: text burned in, losses of compression, and whether 0 is white.

    One slice that has it speaks for the series. What no slice states is not known, and not denied.

    Raises
    ------
    InputError
        If 0 is black in some slices and white in others.
    """
    found: dict[str, Any] = {}
    for keyword, bad, good in (("BurnedInAnnotation", "YES", "NO"), ("LossyImageCompression", "01", "00")):
        said = {str(_stated(header, keyword) or "").strip() for header in headers}
        if bad in said or said == {good}:
            found[keyword] = bad if bad in said else good
    lossy = [one for one in headers if str(_stated(one, "LossyImageCompression") or "").strip() == "01"]
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        stated = [value for value in (_stated(one, keyword) for one in lossy) if value not in (None, "")]
        if stated:
            several = isinstance(stated[0], Sequence) and not isinstance(stated[0], str)
            vr = "DS" if keyword.endswith("Ratio") else "CS"
            found[keyword] = [_plain(vr, one) for one in (stated[0] if several else [stated[0]])]
    inverted = {str(_stated(header, "PhotometricInterpretation") or "").strip() == "MONOCHROME1" for header in headers}
    if len(inverted) > 1:
        raise InputError("0 is black in some slices and white in others (PhotometricInterpretation)", where=where,
                         remedy="Export the series in one of the two")  # fmt: skip
    if True in inverted:
        found["PhotometricInterpretation"] = "MONOCHROME1"
    return found


def _stated(header: Any, keyword: str) -> Any:
    """The value, or None where it is absent or cannot be parsed: that must not cost the patient the image."""
    try:
        return header.get(keyword)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        return None


def _grouped(header: Any, sequence: str, keyword: str, *, number: int) -> Any:
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for group in (own[number] if number < len(own) else None, shared[0] if shared else None):
        items = None if group is None else group.get(sequence)
        if items and _stated(items[0], keyword) not in (None, ""):
            return _stated(items[0], keyword)
    return None


def _checked(keyword: str, value: Any) -> Any:
    """A value of a type that can be written, or None where it is absent or, unless it is `KEPT`, breaks its VR."""
    from pydicom import config
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.valuerep import validate_value

    tag = tag_for_keyword(keyword)
    if value is None or tag is None:
        return None
    vr = dictionary_VR(tag)
    several = isinstance(value, Sequence) and not isinstance(value, str)
    values = [_plain(vr, one) for one in (value if several else [value])]
    known = ALLOWED.get(keyword)
    values = [one for one in values if one not in (None, "") and (known is None or one in known)]
    if not values:
        return None
    if keyword in KEPT:
        return "\\".join(values)  # a backslash parts values, and was read so
    try:
        for one in values:
            text = str(one) if vr in ("DS", "IS") else one
            validate_value(vr, text.replace(".", "") if vr == "DA" else text, config.RAISE)  # 2024.01.31 is old
    except (ValueError, TypeError):
        return None
    return values if keyword in ("ScanningSequence", "SequenceVariant", "ScanOptions") else values[0]


def _plain(vr: str, value: Any) -> Any:
    """Text and numbers of Python instead of pydicom's, which remember how they were encoded."""
    if vr not in ("DS", "FD", "FL", "IS", "US", "UL"):
        return str(value).strip().strip("\0")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return round(number) if vr in ("IS", "US", "UL") else float(f"{number:.9g}")  # DS has 16 characters


def _digits(keyword: str, value: str) -> str:
    """XML writes dates as 2024-01-31 and times as 08:15:00, DICOM without marks."""
    if keyword.endswith("Date"):
        return value.replace("-", "")[:8]
    return value.replace(":", "").split("Z")[0].split("+")[0] if keyword.endswith("Time") and ":" in value else value
