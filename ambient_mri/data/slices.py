"""One slice of a data set: what was measured of it, and for evaluation the image behind it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from operator import itemgetter
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.data.acquired import MeasuredVolume, centre_run, equispaced, matrix
from ambient_mri.data.facts import Bids, BrainDemo, FastMRI, Images
from ambient_mri.data.readers import SliceRecord, fastmri, images, nifti
from ambient_mri.data.simulation import SimulatedScan, simulate_scan
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import parts
from ambient_mri.errors import InputError
from ambient_mri.fourier import ifft2c
from ambient_mri.measurement import Measurement
from ambient_mri.patterns import EmpiricalLines, Pattern
from ambient_mri.randomness import stream

OPEN_VOLUMES = 16


def measure(spec: DataSpec, record: SliceRecord, pattern: Pattern | None) -> Measurement:
    """What was measured of a slice, by the law `pattern` or else that of the spec. A simulated image ends here."""
    one = spec.components()[record.component]
    if isinstance(one.source, FastMRI):
        assert record.path is not None
        volume = _measured_volume(one, record.path, pattern)  # type: ignore[arg-type] # laws are frozen dataclasses
        measured = volume[record.index]
    else:
        measured = simulated(one, record, pattern).measurement
    return measured if spec.mixture is None else replace(measured, component=(record.component,))


def simulated(spec: DataSpec, record: SliceRecord, pattern: Pattern | None) -> SimulatedScan:
    """EVALUATION AND SIMULATION ONLY: a slice of images, measured by that law, and its truth."""
    image, affine = magnitude_image(spec, record)
    acquisition = spec.simulation(pattern)
    return simulate_scan(image, acquisition, record.scan_id, volume_id=record.volume_id, affine=affine)


def magnitude_image(spec: DataSpec, record: SliceRecord) -> tuple[Tensor, Tensor | None]:
    """EVALUATION AND SIMULATION ONLY: the magnitude image `(y, x)` that a scan is simulated from, and its affine."""
    where = f"{record.path} slice {record.index}"
    match spec.source:
        case BrainDemo(slices=slices, image_size=size, contrast=contrast, seed=seed):
            from ambient_mri.data.cohort import subject

            made = subject(
                int(record.volume_id.removeprefix("demo-")), seed=seed, size=size, slices=slices,
                contrast=None if contrast == "mixed" else contrast,
            )  # fmt: skip
            affine = made.affine.clone()
            affine[:3, 3] += record.index * affine[:3, 2]
            return made.images[record.index], affine
        case Bids(image_size=size):
            assert record.path is not None
            image, placed = nifti.read_slice(record.path, record.index)
            affine = nifti.resized_affine(placed, (image.shape[0], image.shape[1]), size).float()
            return images.resized(image, size, where), affine
        case Images(image_size=size):
            assert record.path is not None
            return images.resized(images.read_slice(record.path, record.index), size, where), None
    raise TypeError(f"{spec.source.kind} holds no images")


@lru_cache(maxsize=OPEN_VOLUMES)
def volume_of(path: Path) -> fastmri.Volume:
    """A fastMRI file, opened once."""
    return fastmri.open_volume(path)


@lru_cache(maxsize=OPEN_VOLUMES)
def _measured_volume(spec: DataSpec, path: Path, pattern: Pattern | None) -> MeasuredVolume:
    """A file through its own mask, or through one of the law's that its name alone determines."""
    source, volume = spec.source, volume_of(path)
    assert isinstance(source, FastMRI)
    if spec.acquisition.coils is not None and volume.shape[1] != spec.acquisition.coils:
        raise InputError(f"{volume.shape[1]} coils, but the spec states {spec.acquisition.coils}", where=str(path))
    if volume.mask is not None and spec.acquisition.pattern.kind == "fully_sampled":
        raise InputError(
            "the scan was undersampled when it was acquired, but the spec says fully_sampled", where=str(path),
            remedy="State its law, or from_files",
        )  # fmt: skip
    chosen = law(spec) if pattern is None else pattern
    shape = matrix(volume, source.remove_oversampling, source.crop_kspace)[1]
    if volume.mask is not None:
        mask = None
    elif spec.acquisition.pattern.kind == "from_files" and pattern is None:
        raise InputError(
            "the file has no mask, but the spec says from_files", where=str(path), remedy="State the law in the spec"
        )
    else:
        mask = chosen.draw(shape, stream(0, "mask", path.stem))
    return MeasuredVolume(
        volume,
        mask,
        probability=chosen.probability(shape),
        stated_noise_std=spec.acquisition.noise_std,
        remove_oversampling=source.remove_oversampling,
        crop_kspace=source.crop_kspace,
    )


@lru_cache(maxsize=8)
def law(spec: DataSpec) -> Pattern:
    """The law of A: what the spec states, or the line frequencies over its training files (`from_files`)."""
    if spec.acquisition.pattern.kind != "from_files":
        return spec.pattern()
    source = spec.source
    assert isinstance(source, FastMRI)
    paths = [path for path in dict.fromkeys(record.path for record in parts(spec)["train"]) if path is not None]
    volumes = [MeasuredVolume(volume_of(path), remove_oversampling=source.remove_oversampling,
                              crop_kspace=source.crop_kspace) for path in paths]  # fmt: skip
    for measured in volumes:
        if measured.mask.shape != (1, volumes[0].matrix[1]):
            raise InputError(
                f"a mask of {tuple(measured.mask.shape)}, others have {volumes[0].matrix[1]} lines",
                where=str(measured.volume.path),
                remedy="Frequencies need line masks of one length: set source.crop_kspace, or state the law",
            )
    masks = [measured.mask for measured in volumes]
    if all(equispaced(mask) for mask in masks):
        # where the comb touches the calibration, its run is longer by a line
        runs = [(mask, centre_run(mask)) for mask in masks]
        centre, mask = min(((run.stop - run.start, mask) for mask, run in runs), key=itemgetter(0))
        raise InputError(
            "the lines of every file are equally spaced: any of them tells where the others are, so from_files, which "
            "counts how often each is measured, is not their law", where=str(volumes[0].volume.path),
            remedy="State it, as pattern: {kind: equispaced_lines, "
            f"acceleration: {mask.numel() / int(mask.sum()):.4g}, calibration_fraction: {centre / mask.numel():.4g}}}",
        )  # fmt: skip
    return EmpiricalLines.of(torch.stack(masks))


def root_sum_of_squares(spec: DataSpec, record: SliceRecord) -> Tensor:
    """EVALUATION ONLY: `(1, 1, y, x)` complex64 of all samples of a fully sampled slice, in the units of the file."""
    source = spec.source
    assert isinstance(source, FastMRI)
    assert record.path is not None
    volume = volume_of(record.path)
    _, (_, lines) = matrix(volume, source.remove_oversampling, source.crop_kspace)
    everything = MeasuredVolume(
        volume,
        torch.ones(1, lines, dtype=torch.bool),
        remove_oversampling=source.remove_oversampling,
        crop_kspace=source.crop_kspace,
    )
    coils = ifft2c(everything.samples(record.index))
    return coils.abs().square().sum(1, keepdim=True).sqrt().to(torch.complex64)
