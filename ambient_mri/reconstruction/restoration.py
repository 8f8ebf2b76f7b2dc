"""Missing pixels of magnitude images, estimated; measured pixels come out exactly as they went in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ambient_mri.data.readers.magnitude import ImageVolume
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, energy_scale
from ambient_mri.prior.card import Card
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.match import other_matrix
from ambient_mri.reconstruction.withheld import Withheld, joined, withheld
from ambient_mri.sampling.proper import is_proper

SHARE_TOLERANCE = 0.15
DARKEST = 0.5
"""Of the brightest slice, root mean square: slices of mostly air say nothing of the scale of images."""
PIXELS_AT_ONCE = 2**20


def restore(
    volume: ImageVolume, measured: npt.NDArray[np.bool_], run: methods.Reconstruct, strength: float | None, device: str,
    noise_std: float = 0.0, *, at_once: int | None = None, check: bool = True,
) -> tuple[npt.NDArray[np.float32], Withheld | None]:  # fmt: skip
    """`(slices, y, x)` in the units of the images; and how well measured pixels are predicted that are kept back once.

    Slices of which nothing is missing are passed on without being looked at.

    Parameters
    ----------
    noise_std
        Per real component, normalised, as the model was trained; 0 trusts measured pixels.
    at_once
        Slices of a batch; None: as many as make a million pixels.
    check
        Whether to keep some back in the middle one of the damaged slices.

    Raises
    ------
    InputError
        If the images are no magnitude, or a measured pixel is NaN, infinite or negative.
    """
    where = str(volume.paths[0])
    if volume.component != "MAGNITUDE":
        raise InputError(f"{volume.component.lower().replace('_', ' ')} images, and only magnitude can be restored",
                         where=where)  # fmt: skip
    image = np.stack([volume.read(index) for index in range(len(volume))])
    kept = image[measured]
    if not np.isfinite(kept).all() or kept.min() < 0:
        raise InputError("measured pixels are negative, NaN or infinite: not a magnitude image", where=where,
                         remedy="Mark them as missing")  # fmt: skip
    image[~measured] = 0  # no method reads them; should one do so, it shall not find a NaN or damage
    scale = _scale(image, measured, where)
    damaged = np.flatnonzero(~measured.all(axis=(1, 2)))
    at_once = at_once or max(1, PIXELS_AT_ONCE // image[0].size)
    held: list[Withheld | None] = []
    for first in range(0, len(damaged), at_once):
        rows = damaged[first : first + at_once]
        batch = Measurement(
            y=torch.from_numpy(image[rows] / scale).to(torch.complex64)[:, None],
            mask=torch.from_numpy(measured[rows])[:, None],
            sensitivity_maps=None,
            noise_std=torch.full((len(rows),), noise_std),
            scale=torch.full((len(rows),), scale),
            domain="image",
            scan_ids=tuple(f"{volume.name}/{row}" for row in rows),
        ).to(device)
        estimate = (run(batch, strength)[:, 0].abs() * scale).cpu().numpy()
        image[rows] = np.where(measured[rows], image[rows], estimate)
        if check and first <= len(damaged) // 2 < first + at_once:
            middle = len(damaged) // 2 - first
            held.append(withheld(batch[[middle]], run, strength))
    return image, joined(held)


def differences(shape: tuple[int, int], measured: npt.NDArray[np.bool_], card: Card) -> tuple[str, ...]:
    """Where images differ from what a model learned from; see `match.differences`."""
    found = other_matrix(shape, card)
    if is_proper(card):  # which met no mask
        return tuple(found)
    damaged = measured[~measured.all(axis=(1, 2))]
    trained = 1 - float(card.pattern().probability(card.image_shape).mean())
    share = 1 - float(damaged.mean())
    if abs(share - trained) > SHARE_TOLERANCE:
        found.append(f"{share:.0%} of the damaged slices is missing, in training it was {trained:.0%}")
    return tuple(found)


def _scale(image: npt.NDArray[np.float32], measured: npt.NDArray[np.bool_], where: str) -> float:
    """One for the volume, from the measured pixels of the slices that are not much darker than the brightest."""
    energy = np.square(image, where=measured, out=np.zeros_like(image)).sum((1, 2)) / measured.sum((1, 2)).clip(1)
    bright = energy >= DARKEST**2 * energy.max()
    y = torch.from_numpy(image[bright]).to(torch.complex64)[:, None]
    mask = torch.from_numpy(measured[bright])[:, None]
    try:
        return energy_scale(y, mask, mask.float().mean().reshape(1, 1), 0.0)
    except InputError:
        raise InputError("the measured pixels are all 0", where=where) from None
