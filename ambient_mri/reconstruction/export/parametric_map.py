"""Uncertainty as a DICOM Parametric Map: 32-bit floats with their unit. Not every archive can show one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ambient_mri
from ambient_mri.data.readers.dicom_frames import unquoted
from ambient_mri.errors import InputError
from ambient_mri.files import replacing
from ambient_mri.reconstruction.export.dicom import DEVIATION, WARNING, Derivation


@unquoted()
def write_parametric_map(
    path: Path, values: npt.NDArray[np.float32], images: Sequence[Any], derivation: Derivation
) -> Path:
    """Write standard deviations `(slices, y, x)` as one multi-frame Parametric Map.

    Parameters
    ----------
    images
        The data sets of the MR series that the values belong to, one a slice: patient, study and geometry.

    Raises
    ------
    InputError
        If highdicom is not installed, or values and images differ in shape.
    """
    try:
        from highdicom.pm import DerivedPixelContrastValues, ParametricMap, RealWorldValueMapping
        from pydicom.sr.codedict import codes
    except ModuleNotFoundError:
        raise InputError("parametric maps need highdicom", remedy="Install ambient-mri[dicom]") from None
    if values.shape != (len(images), images[0].Rows, images[0].Columns):
        raise InputError(f"values of shape {values.shape} for {len(images)} images")
    largest = max(float(values.max()), 1e-30)
    mapping = RealWorldValueMapping(
        lut_label=DEVIATION.label, lut_explanation=DEVIATION.name, unit=codes.UCUM.NoUnits, value_range=(0.0, largest),
        slope=1.0, intercept=0.0,
    )  # fmt: skip
    document = ParametricMap(
        source_images=list(images),
        pixel_array=np.ascontiguousarray(values, dtype=np.float32),
        series_instance_uid=derivation.uid(DEVIATION.label, "parametric map"),
        series_number=int(images[0].SeriesNumber) + 2,
        sop_instance_uid=derivation.uid(DEVIATION.label, "parametric map", 0),
        instance_number=1,
        manufacturer="ambient-mri",
        manufacturer_model_name="ambient-mri",
        software_versions=ambient_mri.__version__,
        device_serial_number=derivation.model_sha256[:16] or "none",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        window_center=largest / 2,
        window_width=largest,
        derived_pixel_contrast=DerivedPixelContrastValues.STD_DEVIATION,
        content_description=DEVIATION.name,
        content_label=DEVIATION.label,
        content_qualification="RESEARCH",
        series_description=f"{WARNING}: {DEVIATION.name}"[:64],
    )
    for keyword in ("BodyPartExamined", "Laterality"):
        if keyword in images[0]:
            setattr(document, keyword, images[0].get(keyword))
    document.ContentDate, document.ContentTime = images[0].ContentDate, images[0].ContentTime
    document.SeriesDate, document.SeriesTime = images[0].SeriesDate, images[0].SeriesTime
    with replacing(path) as temporary:
        document.save_as(temporary)
    return path
