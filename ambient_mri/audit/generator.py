"""Samples to audit: drawn from a bundle, or read from pictures that somebody else's generator made."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ambient_mri import files
from ambient_mri.data.readers import images as pictures
from ambient_mri.data.readers import nifti
from ambient_mri.errors import InputError
from ambient_mri.measurement import DATA_STD
from ambient_mri.prior.bundle import Bundle
from ambient_mri.randomness import stream
from ambient_mri.sampling.prior_samples import draw_samples

CHUNK = 64
NIFTI = (".nii", ".gz")


def draw(
    bundle: Bundle, count: int, folder: Path, *, steps: int, seed: int, batch_size: int = 16,
    progress: Callable[[str], None] = lambda line: None,
) -> Tensor:  # fmt: skip
    """`count` complex samples `(count, 1, y, x)`, in files of 64 in `folder`: those that are there are not drawn again.

    Sample i is that of `ambient-mri sample --seed` with the same number of steps.
    """
    parts, started, drawn = [], time.monotonic(), 0
    for first in range(0, count, CHUNK):
        last = min(first + CHUNK, count)
        path = folder / f"samples-{first:06d}-{last:06d}.npy"
        if not path.exists():
            made = []
            for start in range(first, last, batch_size):
                rngs = [stream(seed, "samples", i) for i in range(start, min(start + batch_size, last))]
                with torch.inference_mode():
                    made.append(draw_samples(bundle, rngs, steps).cpu())
            files.write_array(path, torch.cat(made).numpy())
            drawn += last - first
            left = (time.monotonic() - started) / drawn * (count - last)
            progress(f"{last} of {count} samples, about {left:.0f} s left (on {bundle.device})")
        parts.append(torch.from_numpy(np.load(path, allow_pickle=False)))
    return torch.cat(parts)


def read(paths: Sequence[Path], shape: tuple[int, int], limit: int) -> Tensor:
    """Pictures `(n, 1, y, x)` complex64 of PNG, JPEG, NPY and NIfTI files, and of folders of them, at most `limit`.

    Every slice of a volume or stack is a sample. Complex NPY is taken as it is when its size fits, otherwise its
    magnitude; pictures of other sizes are padded to a square and averaged.

    Raises
    ------
    InputError
        If there is none, or one cannot be read.
    """
    found: list[Tensor] = []
    for path in _files(paths):
        for image in _slices(path):
            if len(found) == limit:
                return torch.stack(found)
            found.append(_fitted(image, shape, str(path))[None])
    if not found:
        raise InputError(
            "no pictures there", where=", ".join(str(path) for path in paths),
            remedy="Give PNG, JPEG, NPY or NIfTI files, or folders of them",
        )  # fmt: skip
    return torch.stack(found)


def sha256(paths: Sequence[Path]) -> str:
    """Hash over the contents of all files, in the order of their names."""
    digest = hashlib.sha256()
    for path in _files(paths):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _files(paths: Sequence[Path]) -> list[Path]:
    known = (*pictures.SUFFIXES, *NIFTI)
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in known)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError("there is no such file or folder", where=str(path), remedy="Check the path of --samples")
    return found


def _slices(path: Path) -> list[Tensor]:
    if path.suffix.lower() in NIFTI:
        return [nifti.read_slice(path, i)[0] for i in range(nifti.slice_count(path))]
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as problem:
            raise InputError(f"cannot be read as NPY: {problem}", where=str(path)) from None
        if np.iscomplexobj(array):
            if not np.isfinite(array).all():
                raise InputError("values that are not finite", where=str(path), remedy="Leave those samples out")
            stack = array.reshape(-1, *array.shape[-2:])
            return [torch.from_numpy(np.array(image, np.complex64)) for image in stack]
    records = pictures.list_slices(path.parent, patient="file")
    return [pictures.read_slice(path, record.index) for record in records if record.path == path]


def _fitted(image: Tensor, shape: tuple[int, int], where: str) -> Tensor:
    if tuple(image.shape) != shape:
        size = max(shape)
        square = pictures.resized(image.abs() if image.is_complex() else image, size, where)
        top, left = (size - shape[0]) // 2, (size - shape[1]) // 2
        image = square[top : top + shape[0], left : left + shape[1]]
    return normalised(image.to(torch.complex64))


def normalised(images: Tensor) -> Tensor:
    """To the root mean square .5 of a normalised scan, each by itself."""
    rms = images.abs().square().mean((-2, -1), keepdim=True).sqrt()
    return images * (DATA_STD / rms.clamp_min(1e-12))
