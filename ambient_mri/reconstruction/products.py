"""From a volume to the images that a batch writes, with what is known of them and warnings for their readers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ambient_mri.data.acquired import MeasuredVolume
from ambient_mri.data.readers.dicom import DicomVolume
from ambient_mri.data.readers.kspace import Affine, KspaceVolume
from ambient_mri.data.readers.magnitude import ImageVolume, Missing
from ambient_mri.errors import InputError
from ambient_mri.fourier import central
from ambient_mri.measurement import Measurement, collate
from ambient_mri.prior.network import Architecture, architecture
from ambient_mri.reconstruction import methods, outputs, restoration
from ambient_mri.reconstruction.calibration import Calibration
from ambient_mri.reconstruction.export.dicom_source import Source, from_dicom, from_kspace, planes_of
from ambient_mri.reconstruction.export.display import shown_slices
from ambient_mri.reconstruction.match import acceleration, differences
from ambient_mri.reconstruction.memory import Plan, plan
from ambient_mri.reconstruction.outputs import Product
from ambient_mri.reconstruction.posterior import Posterior
from ambient_mri.reconstruction.quality import Quality
from ambient_mri.reconstruction.residual import SliceResidual, residuals
from ambient_mri.reconstruction.withheld import Withheld, joined, withheld

if TYPE_CHECKING:
    from ambient_mri.prior.card import Card

Values = TypeVar("Values", np.complex64, np.float32)
Made = tuple[Product, dict[str, Any], tuple[str, ...], Quality]
"""Images, facts about them, warnings, and how well they explain what was measured."""


@dataclass(frozen=True)
class Choices:
    """What the cases of a batch share.

    Parameters
    ----------
    strength
        Of the method; None: its own default.
    card
        Of the model; None for classical methods.
    calibration
        Of the model's samples, if there is one.
    max_memory
        Bytes that the process may hold; None: usual sizes of batches.
    """

    method: str
    device: str
    strength: float | None
    formats: tuple[str, ...]
    max_memory: int | None = None
    card: Card | None = None
    calibration: Calibration | None = None

    @property
    def network(self) -> Architecture | None:
        return None if self.card is None else architecture(self.card.preset)


def reconstructed_kspace(
    volume: KspaceVolume, run: methods.Reconstruct, choices: Choices, advanced: Callable[[int], None]
) -> Made:
    """Images of undersampled k-space.

    Parameters
    ----------
    advanced
        Called with how many slices are done.

    Raises
    ------
    InputError
        If the file does not say what was measured, not where it lies and DICOM is asked for, or one slice does not
        fit into memory.
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
    shape = (len(measured), volume.shape[1], *measured.matrix)
    work = _plan(shape, run, choices, str(volume.path))
    seen = _images(measured, run, choices, work, advanced)
    image = _cropped(seen.image, volume)
    factor, deviation = None, None
    if seen.spread is not None:
        factor, doubts = _deviation_factor(run, choices)
        deviation = (_cropped(seen.spread, volume) * (factor or 1.0)).astype(np.float32)
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
    held = _kept_back(measured, run, choices, factor or 1.0)
    quality = Quality.of(seen.residuals, held, _noise_ratio(measured))
    given = _cropped(seen.given, volume)
    return Product(image, affine, voxel, source, deviation=deviation, given=given), facts, warnings, quality


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
    work = _plan((len(volume), 1, *volume.shape[1:]), run, choices, str(volume.paths[0]))
    image, held = restoration.restore(
        volume, measured, run, choices.strength, choices.device, noise_std,
        at_once=min(work.slices, work.rows), check=methods.fills_in(choices.method),
    )  # fmt: skip
    warnings = volume.notes
    if choices.card is not None:
        warnings += restoration.differences(volume.shape[1:], measured, choices.card)
    facts = {
        "acceleration": measured.size / int(measured.sum()),
        "missing_pixels": int((~measured).sum()),
        "mask_sha256": hashlib.sha256(measured.tobytes()).hexdigest(),
    }
    shown = shown_slices(len(image))
    given = np.where(measured[shown], image[shown], 0).astype(np.float32)
    product = Product(image, volume.affine, volume.voxel_mm, source, measured, given=given)
    return product, facts, warnings, Quality.of(held=held)


@dataclass(frozen=True)
class _Seen:
    """`(slices, y, x)` in the units of the file; the zero-filled input of the slices to show; their residuals."""

    image: npt.NDArray[np.complex64]
    spread: npt.NDArray[np.float32] | None
    given: npt.NDArray[np.float32]
    residuals: list[SliceResidual]


def _images(
    measured: MeasuredVolume, run: methods.Reconstruct, choices: Choices, work: Plan, advanced: Callable[[int], None]
) -> _Seen:
    """As many slices at a time as memory should hold: each is read, and forgotten."""
    count, shown = len(measured), shown_slices(len(measured))
    image = np.empty((count, *measured.matrix), np.complex64)
    spread = np.empty(image.shape, np.float32) if _drawn(run) > 1 else None
    given = np.empty((len(shown), *measured.matrix), np.float32)
    found: list[SliceResidual] = []
    for first in range(0, count, work.slices):
        rows = range(first, min(first + work.slices, count))
        batch = _batch(measured, rows, choices)
        scale = batch.scale[:, None, None, None]
        estimate = _estimate(batch, run, choices, work)
        if isinstance(estimate, tuple):
            estimate, deviation = estimate
            assert spread is not None
            spread[rows.start : rows.stop] = (deviation * scale)[:, 0].cpu().numpy()
        image[rows.start : rows.stop] = (estimate * scale)[:, 0].cpu().numpy()
        found += residuals(batch, estimate)
        for place, index in enumerate(shown):
            if index in rows:
                given[place] = (batch[[index - first]].adjoint()[0, 0].abs() * batch.scale[0]).cpu().numpy()
        advanced(rows.stop)
    return _Seen(image, spread, given, found)


def _deviation_factor(run: methods.Reconstruct, choices: Choices) -> tuple[float | None, tuple[str, ...]]:
    """What standard deviations of samples are multiplied by, and what is to be said of them where it is not known."""
    assert isinstance(run, Posterior)
    plain = "the standard deviations are those of the samples as they are, not calibrated"
    if choices.calibration is None:
        return None, (f"{plain}: run `ambient-mri calibrate` on data like these first",)
    differs = choices.calibration.differs(run.method, run.sampling.samples, run.nfe, choices.strength)
    if differs:
        return None, (f"{plain}: the calibration is for other samples ({differs})",)
    return choices.calibration.factor, ()


def _estimate(
    batch: Measurement, run: methods.Reconstruct, choices: Choices, work: Plan
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The image, with its standard deviation where several samples were drawn."""
    if isinstance(run, Posterior) and run.sampling.samples > 1:
        drawn = run.draw(batch, choices.strength)
        return drawn.mean, drawn.std
    if choices.card is None:
        return run(batch, choices.strength)
    parts = [run(batch[i : i + work.rows], choices.strength) for i in range(0, len(batch), work.rows)]
    return torch.cat(parts)


def _batch(measured: MeasuredVolume, rows: Sequence[int], choices: Choices) -> Measurement:
    return collate([measured[i] for i in rows]).to(choices.device)


def _drawn(run: methods.Reconstruct) -> int:
    return run.sampling.samples if isinstance(run, Posterior) else 0


def _plan(shape: tuple[int, int, int, int], run: methods.Reconstruct, choices: Choices, where: str) -> Plan:
    """What fits at once; a sampler is told how many rows."""
    derivative = isinstance(run, Posterior) and run.kind.derivative
    work = plan(shape, choices.network, choices.max_memory, samples=_drawn(run), derivative=derivative, where=where)
    if isinstance(run, Posterior):
        run.at_once = work.rows
    return work


def _kept_back(measured: MeasuredVolume, run: methods.Reconstruct, choices: Choices, factor: float) -> Withheld | None:
    """Of up to three slices, at a quarter, the middle and three quarters of the volume."""
    if not methods.fills_in(choices.method):
        return None
    rows = sorted({len(measured) * quarter // 4 for quarter in (1, 2, 3)})
    return joined([withheld(_batch(measured, [row], choices), run, choices.strength, factor=factor) for row in rows])


def _noise_ratio(measured: MeasuredVolume) -> float | None:
    """Stated noise over that at the ends of the readout; None where one of the two is not known."""
    stated = measured.known_noise_std
    if stated is None:
        return None
    try:
        found = measured.edge_noise_std
    except InputError:
        return None
    return stated / found if found > 0 else None


def _cropped(image: npt.NDArray[Values], volume: KspaceVolume) -> npt.NDArray[Values]:
    """The central field of view that the header asks for: phase encoding is often oversampled, too."""
    if volume.header is None:
        return image
    wanted = zip(image.shape[1:], volume.header.kept[:2], strict=True)
    rows, columns = (central(size, kept if 0 < kept < size else size) for size, kept in wanted)
    return image[:, rows, columns]


def _voxel_mm(volume: KspaceVolume, shape: tuple[int, ...]) -> tuple[float, float, float] | None:
    """(column, row, slice) sizes from the header. A field of view that was cropped keeps its voxels."""
    header = volume.header
    if header is None:
        return None
    row, column = (
        header.recon_fov_mm[axis] / header.kept[axis]
        if shape[1 + axis] == header.kept[axis]
        else header.encoded_fov_mm[axis] / volume.shape[2 + axis]
        for axis in (0, 1)
    )
    slice_mm = header.recon_fov_mm[2] / max(header.kept[2], 1)
    return (column, row, slice_mm) if min(column, row, slice_mm) > 0 else None


def _affine(volume: KspaceVolume, shape: tuple[int, ...]) -> Affine | None:
    """(column, row, slice) → LPS mm of images cropped about the centre n//2 of the encoded matrix."""
    if volume.affine is None:
        return None
    affine = volume.affine.copy()
    top, left = (central(size, kept).start for size, kept in zip(volume.shape[-2:], shape[-2:], strict=True))
    affine[:3, 3] += affine[:3, :3] @ np.array([left, top, 0.0])
    return affine


def _source_of_images(volume: ImageVolume) -> Source | None:
    if isinstance(volume, DicomVolume):
        return from_dicom(volume)
    return None if volume.affine is None else Source({}, planes_of(volume.affine, len(volume)))
