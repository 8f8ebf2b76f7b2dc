"""What an E-step leaves on disk: posterior samples of every training scan, in parts that are each written at once.

They are reconstructions of patients, and as private as the scans; `discard` removes them.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ambient_mri import files
from ambient_mri.data.dataset import Scans
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Identity, Sense

logger = logging.getLogger("ambient_mri.refinement")

PART, PART_ON_GPU = 32, 256
"""Scans whose samples are drawn together and share a file: what a kill loses at most. More take a GPU hardly longer."""
OPEN_PARTS = 64

Draw = Callable[[Measurement], Tensor]
"""Posterior samples `(b, K, y, x)` complex64 of a batch, in normalised units."""


class Imputed:
    """K images of each of `scans`, as fully sampled noiseless measurements: what the M-step trains on.

    Parameters
    ----------
    folder
        Where the parts lie.
    coils
        Whether the scans have several. Then images are seen through one coil of constant sensitivity, which has the
        same EᴴE = I: a network that learned beside a polynomial solve meets the same one.
    device
        Where they are drawn.
    """

    def __init__(self, folder: Path, scans: Scans, samples: int, coils: bool, device: str = "cpu") -> None:
        self.folder, self.scans, self.samples, self.coils, self.device = folder, scans, samples, coils, device
        self.part = together(device)

    def __len__(self) -> int:
        return len(self.scans) * self.samples

    def fill(self, draw: Draw) -> None:
        """Draw what is not there yet."""
        starts = range(0, len(self.scans), self.part)
        missing = [start for start in starts if not self._path(start).exists()]
        started = time.monotonic()
        for done, start in enumerate(missing, 1):
            scans = collate([self.scans[i] for i in range(start, min(start + self.part, len(self.scans)))])
            images = draw(scans.to(self.device)).cpu()
            if not bool(torch.isfinite(torch.view_as_real(images)).all()):
                remedy = "Look for extreme values by `data check`, or try another --sampler"
                raise InputError("a posterior sample is not finite", where=scans.scan_ids[0], remedy=remedy)
            planes = torch.view_as_real(images).flatten(0, 1).contiguous()
            files.write(self._path(start), save({"images": planes}))
            left = (time.monotonic() - started) / done * (len(missing) - done)
            logger.info("E-step  %d of %d scans, about %.0f s left", start + len(scans), len(self.scans), left)

    def image(self, index: int) -> Tensor:
        """`(1, 1, y, x)` complex64; sample `index` % K of scan `index` // K.

        Raises
        ------
        InputError
            If its file is damaged.
        """
        start = index // self.samples // self.part * self.part
        path = self._path(start)
        try:
            planes = _part(path).get_slice("images")[index - start * self.samples]
        except (SafetensorError, FileNotFoundError) as problem:
            raise InputError(f"posterior samples cannot be read ({problem})", where=str(path),
                             remedy="Remove the file: the same command draws them again") from problem  # fmt: skip
        return torch.view_as_complex(planes.contiguous())[None, None]

    def __getitem__(self, index: int) -> Measurement:
        return everything(self.image(index), self.coils, self.scans.records[index // self.samples].scan_id)

    def images(self, limit: int) -> Tensor:
        """`(n, 1, y, x)`: the first sample of at most `limit` scans, evenly spread."""
        step = -(-len(self.scans) // limit)
        return torch.cat([self.image(i * self.samples) for i in range(0, len(self.scans), step)])

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:06d}_{self.part}.safetensors"


def together(device: str) -> int:
    """How many scans have their samples drawn together there."""
    return PART if device == "cpu" else PART_ON_GPU


def discard(folder: Path) -> None:
    """Remove the images of an E-step, if there are any."""
    _part.cache_clear()
    shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=OPEN_PARTS)
def _part(path: Path) -> Any:
    return safe_open(path, framework="pt")


def everything(image: Tensor, coils: bool, scan_id: str) -> Measurement:
    """An image `(1, 1, y, x)` as a fully sampled, noiseless measurement."""
    encoding = Sense(torch.ones_like(image)) if coils else Identity()
    return Measurement(
        y=encoding.forward(image), mask=torch.ones(image.shape, dtype=torch.bool),
        sensitivity_maps=encoding.maps if isinstance(encoding, Sense) else None, noise_std=torch.zeros(1),
        scale=torch.ones(1), domain="kspace" if coils else "image", scan_ids=(scan_id,),
    )  # fmt: skip
