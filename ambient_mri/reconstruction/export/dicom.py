"""Derived DICOM: MR Image series that validators pass and archives file with their study.

Marked as research, not for diagnostic use. UIDs follow from what went in, so that a second run makes the same series.
Identity is the source's: to share images, anonymize them with a tool that implements PS3.15 (Orthanc, dicognito).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ambient_mri
from ambient_mri.data.readers.dicom_frames import unquoted
from ambient_mri.errors import InputError
from ambient_mri.files import replacing_folder
from ambient_mri.reconstruction.export.dicom_source import Source

MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
PRIVATE_GROUP, PRIVATE_CREATOR = 0x0099, "AMBIENT-MRI"
IMPLEMENTATION = "2.25.231706208853142968106529446284319424381"
LARGEST = 32767  # many programs take 16 bits as signed
WARNING = "RESEARCH - not for diagnostic use"
EMPTY = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator", "PatientPosition", "AcquisitionDate", "AcquisitionTime",
    "Manufacturer", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength",
)  # fmt: skip
"""Type 2 attributes: present, empty where the source does not state them."""


@dataclass(frozen=True)
class Derivation:
    """What made an image; goes into the description, into UIDs and into a private block.

    Parameters
    ----------
    what
        One sentence for people, e.g. "Missing pixels restored".
    input_sha256, model_sha256, mask_sha256
        Hashes of what went in; "" where there is none.
    acceleration
        Samples of the grid over samples measured.
    seed
        Of what was drawn; None where nothing was.
    settings_sha256
        Of all other settings that change pixels; "" where there are none.
    """

    what: str
    method: str
    input_sha256: str
    model_sha256: str = ""
    mask_sha256: str = ""
    acceleration: float = 1.0
    strength: float | None = None
    seed: int | None = None
    settings_sha256: str = ""

    def uid(self, *purpose: object) -> str:
        """A UID that anybody gets who puts in the same (PS3.5 B.2: 2.25 and a UUID, here of version 8)."""
        facts = (
            self.method, self.input_sha256, self.model_sha256, self.mask_sha256, self.strength, self.seed,
            self.settings_sha256,
        )  # fmt: skip
        text = "\0".join(map(str, (ambient_mri.__version__, *facts, *purpose)))
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        number = (number & ~(0xF << 76) | 8 << 76) & ~(3 << 62) | 2 << 62
        return f"2.25.{number}"


@dataclass(frozen=True)
class Quantity:
    """What the values of a series are.

    Parameters
    ----------
    name
        Goes into the series description.
    label
        Of the real-world values.
    code
        Of the derivation: (value, meaning) of the DICOM controlled terminology (PS3.16 annex D).
    image_type
        Values behind DERIVED, PRIMARY, OTHER.
    """

    name: str
    label: str
    code: tuple[str, str]
    image_type: tuple[str, ...] = ()


SIGNAL = Quantity("reconstruction", "SIGNAL", ("110001", "Image Processing"))
DEVIATION = Quantity("standard deviation", "STDDEV", ("113061", "Standard Deviation"), ("STDDEV",))


@unquoted()
def write_mr_series(
    folder: Path, image: npt.NDArray[np.float32], source: Source, derivation: Derivation, *,
    quantity: Quantity = SIGNAL, number: int = 1, when: datetime | None = None,
) -> list[Any]:  # fmt: skip
    """Write `(slices, y, x)`, values of 0 or more, as one MR Image series: `IM0001.dcm`, …; returns its data sets.

    Whole values up to 32767 are stored as they are; others share one scale, of the series, stated by the real-world
    value map. The folder appears when all of it is written.

    Parameters
    ----------
    number
        Tells the series of one derivation apart.
    when
        Time of the reconstruction, for SeriesDate and ContentDate; None: now.

    Raises
    ------
    InputError
        If slices and planes differ in number, or values are negative or not finite.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ImplicitVRLittleEndian

    if len(image) != len(source.planes):
        raise InputError(f"{len(image)} images for {len(source.planes)} planes")
    if not np.isfinite(image).all() or image.min() < 0:
        raise InputError("DICOM needs finite values of 0 or more")
    slope = value_of_one_step(image)
    stored = np.round(image / slope).astype(np.uint16)
    window = max(float(np.percentile(stored, 99.5)), 1.0)
    datasets, moment = [], when or datetime.now()
    for index in range(len(image)):
        meta: Any = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = MR_IMAGE, ImplicitVRLittleEndian  # all must accept it
        meta.MediaStorageSOPInstanceUID = derivation.uid(quantity.label, number, index)
        meta.ImplementationClassUID, meta.ImplementationVersionName = IMPLEMENTATION, "AMBIENT_MRI"
        dataset: Any = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SpecificCharacterSet = "ISO_IR 192"
        _identify(dataset, source, derivation, quantity, number, index, moment)
        _describe(dataset, derivation, quantity, source, index)
        _place(dataset, source, index)
        _fill(dataset, stored[index], slope, window, quantity)
        if quantity is SIGNAL and "PhotometricInterpretation" in source.attributes:
            dataset.PhotometricInterpretation = source.attributes["PhotometricInterpretation"]
        datasets.append(dataset)
    with replacing_folder(folder) as temporary:
        for index, dataset in enumerate(datasets, 1):
            dataset.save_as(temporary / f"IM{index:04d}.dcm", enforce_file_format=True)
    return datasets


def value_of_one_step(image: npt.NDArray[np.float32]) -> float:
    """The value of a stored step: 1 for whole values that fit, else so that the largest is 32767. One for a series."""
    largest = float(image.max(initial=0))
    if largest <= LARGEST and bool((image == np.round(image)).all()):
        return 1.0
    return largest / LARGEST


def holds_series_only(folder: Path) -> bool:
    """Whether a folder has nothing but what `write_mr_series` calls its images, so that no more is lost with it."""
    return all(re.fullmatch(r"IM\d{4,}\.dcm", one.name) for one in folder.iterdir())


def _identify(
    dataset: Any, source: Source, derivation: Derivation, quantity: Quantity, number: int, index: int, when: datetime
) -> None:
    from pydicom import config
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement

    for keyword in EMPTY:
        setattr(dataset, keyword, None)
    unknown = derivation.input_sha256[:12]
    for keyword, value in {"PatientID": f"unknown-{unknown}", **source.attributes}.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None
        # not validated: what identifies is kept as the source states it, and complaints would quote it
        dataset[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)
    own_study = hashlib.sha256(derivation.input_sha256.encode()).digest()
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if keyword not in source.attributes:
            digits = int.from_bytes(hashlib.sha256(keyword.encode() + own_study).digest()[:15], "big")
            setattr(dataset, keyword, f"2.25.{digits}")
    if "BodyPartExamined" not in dataset and "Laterality" not in dataset:
        dataset.Laterality = None
    dataset.ScanningSequence = source.attributes.get("ScanningSequence", "RM")  # research mode: not stated
    dataset.SequenceVariant = source.attributes.get("SequenceVariant", "NONE")
    dataset.SOPClassUID, dataset.SOPInstanceUID = MR_IMAGE, dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.Modality = derivation.uid(quantity.label, number), "MR"
    dataset.SeriesNumber = 10 * (10000 + int(source.attributes.get("SeriesNumber", 0)) % 10**6) + number
    dataset.SeriesDescription = f"{WARNING}: {quantity.name}"[:64]
    dataset.AcquisitionNumber, dataset.InstanceNumber = 1, index + 1
    for part in ("Series", "Content"):
        setattr(dataset, f"{part}Date", when.strftime("%Y%m%d"))
        setattr(dataset, f"{part}Time", when.strftime("%H%M%S"))
    dataset.ImageType = ["DERIVED", "PRIMARY", "OTHER", *quantity.image_type]


def _describe(dataset: Any, derivation: Derivation, quantity: Quantity, source: Source, index: int) -> None:
    from pydicom.dataset import Dataset

    version = ambient_mri.__version__
    text = f"{derivation.what} by ambient-mri {version}, {derivation.method}. {WARNING}."
    dataset.DerivationDescription, dataset.ImageComments = text[:1024], WARNING
    dataset.ContentQualification = "RESEARCH"
    dataset.DerivationCodeSequence = [code(quantity.code[0], "DCM", quantity.code[1])]
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code("109102", "DCM", "Processing Equipment")]
    equipment.Manufacturer, equipment.ManufacturerModelName = "ambient-mri", "ambient-mri"
    equipment.SoftwareVersions, equipment.ContributionDescription = version, derivation.what
    dataset.ContributingEquipmentSequence = [equipment]
    if source.references:
        kind, instance, frame = source.references[index]
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
        if frame:
            item.ReferencedFrameNumber = frame
        item.PurposeOfReferenceCodeSequence = [code("121322", "DCM", "Source Image for Image Processing Operation")]
        dataset.SourceImageSequence = [item]
    block = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True)
    facts = (version, derivation.method, derivation.model_sha256, derivation.mask_sha256, derivation.input_sha256)
    drawn = "no seed" if derivation.seed is None else f"seed {derivation.seed}"
    more = (f"R {derivation.acceleration:.4g}", drawn, derivation.settings_sha256)
    for element, value in enumerate((*facts, *more), 1):
        block.add_new(element, "LO", value)  # text: the transfer syntax does not tell a reader what a number is


def _place(dataset: Any, source: Source, index: int) -> None:
    plane = source.planes[index]
    dataset.ImagePositionPatient = _decimals(plane.position)
    dataset.ImageOrientationPatient = _decimals([*plane.along_row, *plane.along_column])
    dataset.PixelSpacing = _decimals(plane.spacing)
    dataset.SliceLocation = _decimals([float(plane.normal @ plane.position)])[0]
    if "SliceThickness" not in source.attributes:
        dataset.SliceThickness = None


def _fill(dataset: Any, stored: npt.NDArray[np.uint16], slope: float, window: float, quantity: Quantity) -> None:
    from pydicom.dataset import Dataset

    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.WindowCenter, dataset.WindowWidth = _decimals([window / 2, window])
    dataset.WindowCenterWidthExplanation = "0 to the 99.5th percentile of the series"
    mapping = Dataset()
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", 65535)
    mapping.RealWorldValueIntercept, mapping.RealWorldValueSlope = 0.0, slope
    mapping.LUTLabel, mapping.LUTExplanation = quantity.label, quantity.name
    mapping.MeasurementUnitsCodeSequence = [code("1", "UCUM", "no units")]
    dataset.RealWorldValueMappingSequence = [mapping]
    dataset.PixelData = np.ascontiguousarray(stored, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def code(value: str, scheme: str, meaning: str) -> Any:
    """One item of a code sequence."""
    from pydicom.dataset import Dataset

    item: Any = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _decimals(values: Sequence[float] | npt.NDArray[np.float64]) -> list[str]:
    """Decimal strings: 16 characters at most, so 10 significant digits."""
    return [f"{float(value) + 0.0:.10g}"[:16] for value in values]
