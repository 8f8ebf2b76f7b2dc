"""Many fastMRI files to NIfTI, HDF5 and previews: one model load, no bad file spoils the others, a re-run resumes."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

import ambient_mri
from ambient_mri.data.acquired import MeasuredVolume
from ambient_mri.data.readers.fastmri import Volume, open_volume
from ambient_mri.errors import InputError
from ambient_mri.measurement import collate
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.evaluate import weights_sha256
from ambient_mri.reconstruction.export.hdf5 import write_hdf5
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.export.png import write_png
from ambient_mri.reconstruction.manifest import Manifest, content_sha256, settings_key
from ambient_mri.reconstruction.match import acceleration, differences

if TYPE_CHECKING:
    from ambient_mri.prior.bundle import Bundle

LOG = logging.getLogger(__name__)

SAMPLES_AT_ONCE = 2**22  # complex k-space samples a batch: 32 MiB
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Result:
    """What became of one file.

    Parameters
    ----------
    outputs
        NIfTI, HDF5 and PNG.
    skipped
        Whether all of it was already there.
    warnings
        What a reader of the images should know.
    """

    source: Path
    outputs: tuple[Path, ...]
    slices: int
    seconds: float
    skipped: bool
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        what = "already done" if self.skipped else f"{self.slices} slices, {self.seconds:.1f} s"
        return f"{self.outputs[0]} ({what})"


def reconstruct(
    bundle_path: Path | str | None,
    files: Sequence[Path | str],
    out: Path | str,
    *,
    method: str = "one-step",
    device: str = "cpu",
    strength: float | None = None,
    progress: Callable[[str], None] = LOG.info,
) -> list[Result]:
    """Reconstruct undersampled fastMRI files into `out`: `<stem>.nii.gz`, `<stem>.h5`, `<stem>.png`, `manifest.json`.

    Parameters
    ----------
    bundle_path
        The trained model; read by "one-step" only.
    method
        "one-step", "zero-filled", "cg-sense", "l1-wavelet" or "tv".
    strength
        Of the method; None: the bundle's for one-step, for classical ones `methods.default_strength` of the noise.
    progress
        Called with one line a file: what became of it, and the time left.

    Raises
    ------
    InputError
        Before anything is done: if the bundle cannot be used or two files share a name. At the end: if any
        file failed, with what was wrong with each; what the others gave is kept.
    """
    paths, out = [Path(file) for file in files], Path(out)
    _refuse_namesakes(paths)
    if not methods.applies(method, "kspace"):
        raise InputError(f"{method} does not reconstruct k-space", where="method", remedy="Choose one-step or tv")
    bundle = methods.load(bundle_path, device, "kspace") if method == "one-step" else None
    run = methods.reconstruction(method, bundle)
    settings = {
        "method": method,
        "strength": strength,
        "bundle_sha256": "" if bundle is None or bundle_path is None else weights_sha256(Path(bundle_path)),
        "version": ambient_mri.__version__,
    }
    manifest, started = Manifest(out), time.perf_counter()
    results: list[Result] = []
    failures: list[str] = []
    for position, path in enumerate(paths, 1):
        try:
            result = _one_file(path, out, run, strength, settings, bundle, manifest, device)
        except Exception as problem:
            if _is_full(problem):  # no other file would fare better
                raise
            LOG.debug("%s failed", path, exc_info=True)
            expected = isinstance(problem, InputError | OSError)
            failures.append(str(problem) if expected else f"{path}: {type(problem).__name__}: {problem}")
            progress(f"{position}/{len(paths)} FAILED {failures[-1]}")
            continue
        results.append(result)
        for warning in result.warnings:
            progress(f"warning: {path}: {warning}")
        left = (time.perf_counter() - started) / position * (len(paths) - position)
        progress(f"{position}/{len(paths)} {result}, {left:.0f} s left")
    if failures:
        raise InputError(
            f"{len(failures)} of {len(paths)} files failed: {'; '.join(failures)}",
            remedy=f"The others are in {out}; the same command tries again those that failed",
        )
    return results


def _one_file(
    path: Path, out: Path, run: methods.Reconstruct, strength: float | None, settings: Mapping[str, Any],
    bundle: Bundle | None, manifest: Manifest, device: str,
) -> Result:  # fmt: skip
    started = time.perf_counter()
    volume = open_volume(path)
    source_sha256 = content_sha256(path)
    key = settings_key({**settings, "source_sha256": source_sha256})
    outputs = tuple(out / f"{path.stem}{suffix}" for suffix in (".nii.gz", ".h5", ".png"))
    entry = manifest.done(path.stem, key)
    if entry is not None:
        return Result(path, outputs, len(volume), float(entry["seconds"]), True, tuple(entry["warnings"]))
    if volume.mask is None:
        raise InputError(
            "the file has no mask: it is fully sampled, and there is nothing to reconstruct",
            where=str(path),
            remedy="Give undersampled files; to compare methods on fully sampled ones use `ambient-mri evaluate`",
        )
    measured = MeasuredVolume(volume, remove_oversampling=volume.mask.shape[0] == 1)
    warnings = () if bundle is None else differences(measured, bundle.card)
    image = _cropped(_images(measured, run, strength, device), volume)
    if not np.isfinite(image).all():
        raise InputError("the reconstruction holds NaN or infinity", where=str(path), remedy="Try --method tv")
    voxel = _voxel_mm(volume, image.shape)
    magnitude = np.abs(image)
    facts = {
        **{name: value for name, value in settings.items() if value is not None},
        "source": path.name,
        "source_sha256": source_sha256,
        "noise_std": measured.noise_std,
        "acceleration": acceleration(measured.mask),
        "warnings": "\n".join(warnings),
        "model_trained_on": "" if bundle is None else bundle.card.data,
        "model_trained_on_simulated_scans": bundle is not None and bundle.card.simulated,
        "content_qualification": "RESEARCH: not for diagnostic use",
    }
    write_nifti(outputs[0], magnitude, affine=None, voxel_mm=voxel, description=f"ambient-mri {settings['method']}")
    write_hdf5(outputs[1], image, facts)
    pixel = (1.0, 1.0) if voxel is None else (voxel[1], voxel[0])
    write_png(outputs[2], magnitude[len(magnitude) // 2], pixel_mm=pixel)
    seconds = time.perf_counter() - started
    manifest.record(
        path.stem,
        {
            "key": key,
            **facts,
            "warnings": list(warnings),
            "outputs": [output.name for output in outputs],
            "slices": len(image),
            "seconds": round(seconds, 3),
        },
    )
    return Result(path, outputs, len(image), seconds, False, warnings)


def _images(
    measured: MeasuredVolume, run: methods.Reconstruct, strength: float | None, device: str
) -> npt.NDArray[np.complex64]:
    """`(slices, y, x)` in the units of the file; as many slices at a time as memory should hold."""
    at_once = max(1, min(16, SAMPLES_AT_ONCE // (measured.volume.shape[1] * measured.matrix[0] * measured.matrix[1])))
    parts = []
    for first in range(0, len(measured), at_once):
        batch = collate([measured[i] for i in range(first, min(first + at_once, len(measured)))]).to(device)
        parts.append((run(batch, strength) * batch.scale[:, None, None, None])[:, 0].cpu())
    images: npt.NDArray[np.complex64] = torch.cat(parts).numpy()
    return images


def _cropped(image: npt.NDArray[np.complex64], volume: Volume) -> npt.NDArray[np.complex64]:
    """The central field of view that the header asks for: phase encoding is often oversampled, too."""
    if volume.header is None:
        return image
    for axis, wanted in ((1, volume.header.recon_matrix[0]), (2, volume.header.recon_matrix[1])):
        size = image.shape[axis]
        if 0 < wanted < size:
            image = image.take(range(size // 2 - wanted // 2, size // 2 - wanted // 2 + wanted), axis)
    return image


def _voxel_mm(volume: Volume, shape: tuple[int, ...]) -> tuple[float, float, float] | None:
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


def _is_full(problem: Exception) -> bool:
    """Whether the disk is full; HDF5 says so in words only."""
    said = isinstance(problem, OSError | RuntimeError) and "No space left on device" in str(problem)
    return said or (isinstance(problem, OSError) and problem.errno in NO_SPACE)


def _refuse_namesakes(files: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            raise InputError(
                f"{seen[path.stem]} and {path} would both be written as {path.stem}",
                remedy="Reconstruct them into different folders",
            )
        seen[path.stem] = path
