"""The XML header of ISMRMRD, which fastMRI files carry too: matrices, fields of view, encoded steps, identity."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field, replace

from ambient_mri.errors import InputError

Triple = tuple[float, float, float]
SUBJECT = {"patientName": "PatientName", "patientID": "PatientID", "patientBirthdate": "PatientBirthDate",
           "patientGender": "PatientSex"}  # fmt: skip
STUDY = {"studyDate": "StudyDate", "studyTime": "StudyTime", "studyID": "StudyID", "accessionNumber": "AccessionNumber",
         "studyInstanceUID": "StudyInstanceUID"}  # fmt: skip
MEASUREMENT = {"frameOfReferenceUID": "FrameOfReferenceUID", "patientPosition": "PatientPosition"}
SYSTEM = {"systemVendor": "Manufacturer", "systemModel": "ManufacturerModelName",
          "systemFieldStrength_T": "MagneticFieldStrength", "institutionName": "InstitutionName"}  # fmt: skip
SEQUENCE = {"TR": "RepetitionTime", "TE": "EchoTime", "TI": "InversionTime", "flipAngle_deg": "FlipAngle"}
GROUPS = {"subjectInformation": SUBJECT, "studyInformation": STUDY, "measurementInformation": MEASUREMENT,
          "acquisitionSystemInformation": SYSTEM, "sequenceParameters": SEQUENCE}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What the ISMRMRD header says of the first encoding; x is the readout there, as in ISMRMRD.

    Parameters
    ----------
    encoded_matrix, recon_matrix
        (x, y, z): readout, phase encode, slice.
    encoded_fov_mm, recon_fov_mm
        Fields of view of the two.
    lines, partitions
        (minimum, centre, maximum) of the two phase-encode steps, or None.
    trajectory
        "cartesian", "epi", "radial", …
    calibration
        How calibration lines were acquired: "embedded", "interleaved", "separate", "external", "other", or "".
    noise_bandwidth
        Share of the noise scan's bandwidth that the receiver's filter lets through.
    identity
        DICOM keyword → value of patient, study, scanner and sequence. For derived DICOM only; never shown.
    """

    encoded_matrix: tuple[int, int, int]
    recon_matrix: tuple[int, int, int]
    encoded_fov_mm: Triple
    recon_fov_mm: Triple
    lines: tuple[int, int, int] | None = None
    partitions: tuple[int, int, int] | None = None
    trajectory: str = "cartesian"
    calibration: str = ""
    noise_bandwidth: float = 1.0
    identity: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kept(self) -> tuple[int, int, int]:
        """How many encoded samples lie across the reconstructed field of view, (x, y, z).

        That is the reconstructed matrix, unless scanners interpolate to it (zeros around k-space): nothing here does.
        """
        return self._kept(0), self._kept(1), self._kept(2)

    def _kept(self, axis: int) -> int:
        matrix, encoded, recon = self.recon_matrix[axis], self.encoded_fov_mm[axis], self.recon_fov_mm[axis]
        across = round(self.encoded_matrix[axis] * recon / encoded) if min(encoded, recon) > 0 else matrix
        return max(across, 1) if across < 0.95 * matrix else matrix  # fields of view are stated in rounded mm

    def permuted(self, order: tuple[int, int, int]) -> Header:
        """The header of slices along another axis: matrices and fields of view with their axes in `order`."""
        a, b, c = order
        return replace(
            self,
            encoded_matrix=(self.encoded_matrix[a], self.encoded_matrix[b], self.encoded_matrix[c]),
            recon_matrix=(self.recon_matrix[a], self.recon_matrix[b], self.recon_matrix[c]),
            encoded_fov_mm=(self.encoded_fov_mm[a], self.encoded_fov_mm[b], self.encoded_fov_mm[c]),
            recon_fov_mm=(self.recon_fov_mm[a], self.recon_fov_mm[b], self.recon_fov_mm[c]),
        )


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
        lines, partitions = (_limits(root, f"kspace_encoding_step_{number}") for number in (1, 2))
        bandwidth = root.findtext("./{*}acquisitionSystemInformation/{*}relativeReceiverNoiseBandwidth")
        noise_bandwidth = _number(bandwidth, "relativeReceiverNoiseBandwidth") if bandwidth else 1.0
        if not 0 < noise_bandwidth <= 1:
            raise ValueError("relativeReceiverNoiseBandwidth is not a share")
    except (ElementTree.ParseError, ValueError) as problem:
        raise InputError(f"the ISMRMRD header cannot be read: {problem}", where=where) from None
    encoded, recon = (tuple(int(n) for n in matrix) for matrix in matrices)
    return Header(
        encoded_matrix=(encoded[0], encoded[1], encoded[2]),
        recon_matrix=(recon[0], recon[1], recon[2]),
        encoded_fov_mm=fields[0],
        recon_fov_mm=fields[1],
        lines=lines,
        partitions=partitions,
        trajectory=(root.findtext("./{*}encoding/{*}trajectory") or "cartesian").strip().lower(),
        calibration=(root.findtext("./{*}encoding/{*}parallelImaging/{*}calibrationMode") or "").strip().lower(),
        noise_bandwidth=noise_bandwidth,
        identity=_identity(root),
    )


def _identity(root: ElementTree.Element) -> dict[str, str]:
    found = {}
    for group, names in GROUPS.items():
        for name, keyword in names.items():
            text = (root.findtext(f"./{{*}}{group}/{{*}}{name}") or "").strip()
            if text:
                found[keyword] = text
    return found


def _limits(root: ElementTree.Element, name: str) -> tuple[int, int, int] | None:
    limits = root.find(f"./{{*}}encoding/{{*}}encodingLimits/{{*}}{name}")
    if limits is None:
        return None
    minimum, centre, maximum = (int(_number(_text(limits, end), name)) for end in ("minimum", "center", "maximum"))
    return minimum, centre, maximum


def _triple(space: ElementTree.Element | None, name: str) -> Triple:
    element = None if space is None else space.find(f"{{*}}{name}")
    if element is None:
        raise ValueError(f"{name} is missing")
    x, y, z = (_number(_text(element, axis), name) for axis in ("x", "y", "z"))
    return x, y, z


def _number(text: str, name: str) -> float:
    """A number; what stands there instead of one is not repeated, for it may be a name."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} is not finite")
    return value


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(f"{{*}}{name}")
    if text is None:
        raise ValueError(f"{name} is missing")
    return text
