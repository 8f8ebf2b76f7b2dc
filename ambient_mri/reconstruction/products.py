"""From a volume to the images that a batch writes, with what is known of them and warnings for their readers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ambient_mri.data.acquired import MeasuredVolume
from ambient_mri.data.readers.dicom import DicomVolume
from ambient_mri.data.readers.kspace import Affine, KspaceVolume
from ambient_mri.data.readers.magnitude import ImageVolume, Missing
from ambient_mri.errors import InputError
from ambient_mri.measurement import collate
from ambient_mri.reconstruction import methods, outputs, restoration
from ambient_mri.reconstruction.calibration import Calibration
from ambient_mri.reconstruction.export.dicom_source import Source, from_dicom, from_kspace, planes_of
from ambient_mri.reconstruction.match import acceleration, differences
from ambient_mri.reconstruction.outputs import Product

if TYPE_CHECKING:
    from ambient_mri.prior.card import Card

SAMPLES_AT_ONCE = 2**22  # complex k-space samples a batch: 32 MiB

Made = tuple[Product, dict[str, Any], tuple[str, ...]]
"""Images, facts about them, warnings."""


@dataclass(frozen=True)
class Choices:
    """What the cases of a batch share.

    Parameters
    ----------
    card
        Of the model; None for classical methods.
    calibration
        Of the model's samples, if there is one.
    """

    device: str
    strength: float | None
    formats: tuple[str, ...]
    card: Card | None
    calibration: Calibration | None = None


def reconstructed_kspace(volume: KspaceVolume, run: methods.Reconstruct, choices: Choices) -> Made:
    """Images of undersampled k-space.

    Raises
    ------
    InputError
        If the file does not say what was measured, or not where it lies and DICOM is asked for.
    """
    if volume.mask is None:
        raise InputError(
            "the file has no mask: it is fully sampled, and there is nothing to reconstruct",
            where=str(volume.path),
            remedy="Give undersampled files, for BART with a pattern as --mask; to compare methods on fully sampled "
            "ones use `ambient-mri evaluate`",
        )
    if "dicom" in choices.formats and volume.affine is None:
        raise outputs.no_place(str(volume.path))
    measured = MeasuredVolume(volume, remove_oversampling=volume.mask.shape[0] == 1)
    warnings = () if choices.card is None else differences(measured, choices.card)
    image, spread = _images(measured, run, choices)
    image = _cropped(image, volume)
    factor, deviation = None, None
    if spread is not None:
        factor, doubts = _deviation_factor(run, choices)
        deviation = (_cropped(spread, volume).real * (factor or 1.0)).astype(np.float32)
        warnings += doubts
    voxel, affine = _voxel_mm(volume, image.shape), _affine(volume, image.shape)
    identity = {} if volume.header is None else volume.header.identity
    source = from_kspace(identity, affine, len(image), 1.0 if voxel is None else voxel[2])
    facts: dict[str, Any] = {
        "noise_std": measured.noise_std,
        "acceleration": acceleration(measured.mask),
        "mask_sha256": hashlib.sha256(measured.mask.numpy().tobytes()).hexdigest(),
    }
    if deviation is not None:
        facts |= {"deviation_calibrated": factor is not None, "deviation_factor": factor or 1.0}
    return Product(image, affine, voxel, source, deviation=deviation), facts, warnings


def restored_images(volume: ImageVolume, run: methods.Reconstruct, choices: Choices, missing: Missing) -> Made:
    """Magnitude images whose missing pixels are estimated.

    Raises
    ------
    InputError
        If it is not said what is missing, or the images do not say where they lie and DICOM is asked for.
    """
    measured = missing.measured(volume)
    source = _source_of_images(volume) if "dicom" in choices.formats else None
    if "dicom" in choices.formats and source is None:
        raise outputs.no_place(str(volume.paths[0]))
    noise_std = 0.0 if choices.card is None else choices.card.noise_std
    image = restoration.restore(volume, measured, run, choices.strength, choices.device, noise_std)
    warnings = () if choices.card is None else restoration.differences(volume.shape[1:], measured, choices.card)
    affine = volume.affine
    sizes = None if affine is None else np.linalg.norm(affine[:3, :3], axis=0)
    voxel = None if sizes is None else (float(sizes[0]), float(sizes[1]), float(sizes[2]))
    facts = {
        "acceleration": measured.size / int(measured.sum()),
        "missing_pixels": int((~measured).sum()),
        "mask_sha256": hashlib.sha256(measured.tobytes()).hexdigest(),
    }
    return Product(image, affine, voxel, source, measured), facts, warnings


def _images(
    measured: MeasuredVolume, run: methods.Reconstruct, choices: Choices
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.complex64] | None]:
    """`(slices, y, x)` in the units of the file, and their standard deviation where several samples were drawn.

    As many slices at a time as memory should hold.
    """
    from ambient_mri.reconstruction.posterior import Posterior

    at_once = max(1, min(16, SAMPLES_AT_ONCE // (measured.volume.shape[1] * measured.matrix[0] * measured.matrix[1])))
    parts, spreads = [], []
    for first in range(0, len(measured), at_once):
        batch = collate([measured[i] for i in range(first, min(first + at_once, len(measured)))]).to(choices.device)
        scale = batch.scale[:, None, None, None]
        if isinstance(run, Posterior) and run.sampling.samples > 1:
            drawn = run.draw(batch, choices.strength)
            parts.append((drawn.mean * scale)[:, 0].cpu())
            spreads.append((drawn.std * scale)[:, 0].cpu())
        else:
            parts.append((run(batch, choices.strength) * scale)[:, 0].cpu())
    images: npt.NDArray[np.complex64] = torch.cat(parts).numpy()
    return images, torch.cat(spreads).to(torch.complex64).numpy() if spreads else None


def _deviation_factor(run: methods.Reconstruct, choices: Choices) -> tuple[float | None, tuple[str, ...]]:
    """What standard deviations of samples are multiplied by, and what is to be said of them where it is not known."""
    from ambient_mri.reconstruction.posterior import Posterior

    assert isinstance(run, Posterior)
    plain = "the standard deviations are those of the samples as they are, not calibrated"
    if choices.calibration is None:
        return None, (f"{plain}: run `ambient-mri calibrate` on data like these first",)
    differs = choices.calibration.differs(run.method, run.sampling.samples, run.nfe, choices.strength)
    if differs:
        return None, (f"{plain}: the calibration is for other samples ({differs})",)
    return choices.calibration.factor, ()


def _cropped(image: npt.NDArray[np.complex64], volume: KspaceVolume) -> npt.NDArray[np.complex64]:
    """The central field of view that the header asks for: phase encoding is often oversampled, too."""
    if volume.header is None:
        return image
    for axis, wanted in ((1, volume.header.recon_matrix[0]), (2, volume.header.recon_matrix[1])):
        size = image.shape[axis]
        if 0 < wanted < size:
            image = image.take(range(size // 2 - wanted // 2, size // 2 - wanted // 2 + wanted), axis)
    return image


def _voxel_mm(volume: KspaceVolume, shape: tuple[int, ...]) -> tuple[float, float, float] | None:
    """(column, row, slice) sizes from the header. A field of view cropped to the matrix keeps its voxels."""
    header = volume.header
    if header is None:
        return None
    readout, phase = header.recon_matrix[0], header.recon_matrix[1]
    row = header.recon_fov_mm[0] / readout
    cropped = shape[2] == phase
    column = header.recon_fov_mm[1] / phase if cropped else header.encoded_fov_mm[1] / volume.shape[-1]
    slice_mm = header.recon_fov_mm[2] / max(header.recon_matrix[2], 1)
    return (column, row, slice_mm) if min(column, row, slice_mm) > 0 else None


def _affine(volume: KspaceVolume, shape: tuple[int, ...]) -> Affine | None:
    """(column, row, slice) → LPS mm of images cropped about the centre n//2 of the encoded matrix."""
    if volume.affine is None:
        return None
    affine = volume.affine.copy()
    top, left = (size // 2 - kept // 2 for size, kept in zip(volume.shape[-2:], shape[-2:], strict=True))
    affine[:3, 3] += affine[:3, :3] @ np.array([left, top, 0.0])
    return affine


def _source_of_images(volume: ImageVolume) -> Source | None:
    if isinstance(volume, DicomVolume):
        return from_dicom(volume)
    return None if volume.affine is None else Source({}, planes_of(volume.affine, len(volume)))
