"""The demo cohort: synthetic brains bent from an average one, so that everything runs without a download.

Each subject is the ICBM 152 tissue template (`assets/NOTICE.md`) under a smooth deformation with folds,
ventricles, atrophy, contrast, lesions, texture and bias field of its own. The images look like
skull-stripped axial slices; they are no substitute for real ones, and results on them say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ambient_mri.data.anatomy import CENTRE_MM, FIELD_OF_VIEW_MM, INTENSITY, Anatomy
from ambient_mri.errors import InputError
from ambient_mri.randomness import stream

CONTRASTS = tuple(INTENSITY)
SLICE_SPACING_MM = 7.0
MAX_SLICES = 9


@dataclass(frozen=True)
class Subject:
    """Axial slices of one synthetic subject.

    Parameters
    ----------
    subject_id
        E.g. "demo-0007".
    contrast
        One of `CONTRASTS`.
    images
        `(s, y, x)` float32 magnitude, seen from the feet (patient's right on the left).
    affine
        `(4, 4)` voxel (column, row, slice) → DICOM LPS mm.
    """

    subject_id: str
    contrast: str
    images: Tensor
    affine: Tensor


def subject(index: int, *, seed: int = 0, size: int = 64, slices: int = 1, contrast: str | None = "FLAIR") -> Subject:
    """The subject of a number: always the same for the same seed, whatever the size and number of slices.

    Parameters
    ----------
    index
        0, 1, 2, …; there is no end.
    size
        Pixels along each side of the field of view of 208 mm.
    slices
        1 to 9, every 7 mm, around the lateral ventricles.
    contrast
        One of `CONTRASTS`, or None to let each subject have one at random.
    """
    if index < 0 or not 16 <= size <= 512 or not 1 <= slices <= MAX_SLICES:
        raise InputError(
            f"subject {index} with {slices} slices of {size} pixels",
            where="brain_demo",
            remedy=f"Subjects count from 0, slices from 1 to {MAX_SLICES}, sizes from 16 to 512",
        )
    if contrast is not None and contrast not in CONTRASTS:
        raise InputError(f"contrast {contrast!r}", where="brain_demo", remedy=f"Choose one of {', '.join(CONTRASTS)}")
    return _drawn(index, seed, size, slices, contrast)


@lru_cache(maxsize=4)  # the slices of a subject are asked for one after another
def _drawn(index: int, seed: int, size: int, slices: int, contrast: str | None) -> Subject:
    subject_id = f"demo-{index:04d}"
    anatomy = Anatomy.draw(stream(seed, "anatomy", subject_id))
    if contrast is None:
        contrast = CONTRASTS[int(torch.randint(3, (), generator=stream(seed, "contrast", subject_id)))]
    heights = [anatomy.height_mm + SLICE_SPACING_MM * (k - (slices - 1) / 2) for k in range(slices)]
    images = torch.stack([anatomy.image(z, size, contrast) for z in heights])
    pixel, half = FIELD_OF_VIEW_MM / size, FIELD_OF_VIEW_MM / 2
    affine = torch.diag(torch.tensor([pixel, pixel, SLICE_SPACING_MM, 1.0]))
    corner = pixel / 2 - half
    affine[:3, 3] = torch.tensor([corner - CENTRE_MM[0], corner - CENTRE_MM[1], heights[0]])
    return Subject(subject_id, contrast, images, affine)
