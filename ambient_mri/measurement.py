"""A measurement: what a scanner delivered, and nothing else. There is no field for a clean image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.fourier import filtered, natural_order
from ambient_mri.operators import Encoding, Fourier, Identity, Masked, Sense, keep

DATA_STD = 0.5
"""σ_d: standard deviation of a normalised image (Karras et al. 2022)."""


def energy_scale(y: Tensor, mask: Tensor, probability: Tensor, noise_std: float) -> float:
    """Scale that brings a volume to the standard deviation `DATA_STD`, from measured samples only.

    The Horvitz-Thompson sum Σ |y_j|²/P_j over measured samples, less its noise, is an unbiased estimate of
    ‖E x‖² = ‖x‖² (Horvitz and Thompson 1952).

    Parameters
    ----------
    y, mask
        `(s, c, y, x)` samples and bool `(s, 1, y or 1, x)`.
    probability
        Inclusion probabilities `(y or 1, x)` of the law of A.
    noise_std
        Per real component, in the units of `y`.

    Raises
    ------
    InputError
        If nothing but noise was measured.
    """
    weight = mask / probability.clamp_min(1e-6)
    energy = (keep(mask, y).abs().square() * weight).sum()
    noise = 2 * noise_std**2 * (weight.expand(-1, -1, *y.shape[-2:]).sum() * y.shape[1])
    rms = float(((energy - noise) / (len(y) * y.shape[-2] * y.shape[-1])).clamp_min(0).sqrt())
    if not 0 < rms < float("inf"):
        raise InputError(
            f"no signal above the noise among the measured samples (rms {rms})",
            where="measurement",
            remedy="Check that k-space is not empty, and that noise_std is in the units of the data",
        )
    return rms / DATA_STD


@dataclass(frozen=True)
class Measurement:
    """A batch of b slices, normalised.

    Parameters
    ----------
    y
        `(b, c, y, x)` complex64: measured samples divided by `scale`. Values where `mask` is False
        are never read.
    mask
        Bool `(b, 1, y, x)`, or `(b, 1, 1, x)` where whole lines are measured. True = measured.
    sensitivity_maps
        `(b, c, y, x)` complex64 with Σ_c |S_c|² = 1 on their support, or None. The maps carry the
        low-resolution phase of the scan (see `coils.absorb_phase`), so images are nearly real.
    noise_std
        `(b,)` standard deviation per real component, in normalised units (0: noiseless).
    scale
        `(b,)`: physical image = normalised image · scale. One value per volume.
    domain
        "kspace" or "image" (pixels measured directly).
    scan_ids
        b pseudonymous identities ("<scan>/<slice>"): file stems of research data or hashes.
    affine
        `(b, 4, 4)` voxel (column, row, slice) → DICOM LPS mm, or None if unknown.
    acquired
        Bool `(b, 1, 1, x)`: lines that the scanner measures at all where k-space was padded with empty ones up to the
        matrix (their image is band-limited). None: every line could have been measured.
    component
        Of data sets that mix several laws of A: which of them drew each mask, b numbers. None: there is but one.
    """

    y: Tensor
    mask: Tensor
    sensitivity_maps: Tensor | None
    noise_std: Tensor
    scale: Tensor
    domain: str
    scan_ids: tuple[str, ...]
    affine: Tensor | None = None
    acquired: Tensor | None = None
    component: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.mask.dtype != torch.bool:
            raise TypeError("Measurement.mask must be bool, True = measured")
        if self.mask.shape[-1] != self.y.shape[-1] or self.mask.shape[-2] not in (1, self.y.shape[-2]):
            raise InputError(
                f"mask of shape {tuple(self.mask.shape[-2:])} does not fit data of shape {tuple(self.y.shape[-2:])}",
                where=self.scan_ids[0] if self.scan_ids else "measurement",
                remedy="The mask needs one entry per phase-encode line (or per sample) of the data",
            )

    def __len__(self) -> int:
        return len(self.y)

    @property
    def image_shape(self) -> tuple[int, int]:
        return int(self.y.shape[-2]), int(self.y.shape[-1])

    @property
    def samples(self) -> Tensor:
        """Measured complex samples of every slice, coils counted, `(b,)`."""
        return self.mask.expand(-1, 1, *self.image_shape).sum((1, 2, 3)) * self.y.shape[1]

    def encoding(self) -> Encoding:
        """E of this batch."""
        if self.domain == "image":
            return Identity()
        return Fourier() if self.sensitivity_maps is None else Sense(self.sensitivity_maps)

    def operator(self) -> Masked:
        """A = M E of this batch."""
        return Masked(self.encoding(), self.mask)

    def adjoint(self) -> Tensor:
        """Zero-filled image Aᴴy, `(b, 1, y, x)`."""
        return self.operator().adjoint(self.y)

    def band_limited(self, images: Tensor) -> Tensor:
        """Images `(b, k, y, x)` in the resolution of the scanner: without lines farther out than all of its own.

        What a model puts there is a guess that no measurement and, of scans padded alike, no training ever touched.
        Of a partial Fourier acquisition both sides stay: the lines of one say much of the other.
        """
        if self.acquired is None:
            return images
        distance = (torch.arange(self.acquired.shape[-1], device=images.device) - self.acquired.shape[-1] // 2).abs()
        reach = (distance * self.acquired).amax(-1, keepdim=True)
        return filtered(images, natural_order(distance <= reach))

    def without_unmeasured(self) -> Measurement:
        """The same with exact zeros wherever nothing was measured."""
        return replace(self, y=keep(self.mask, self.y))

    def to(self, device: torch.device | str) -> Measurement:
        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device)

        return replace(
            self,
            y=self.y.to(device),
            mask=self.mask.to(device),
            sensitivity_maps=move(self.sensitivity_maps),
            noise_std=self.noise_std.to(device),
            scale=self.scale.to(device),
            affine=move(self.affine),
            acquired=move(self.acquired),
        )

    def __getitem__(self, rows: slice | Sequence[int]) -> Measurement:
        """A batch of the chosen rows."""
        picked = range(len(self))[rows] if isinstance(rows, slice) else rows
        index = torch.as_tensor(list(picked), dtype=torch.long, device=self.y.device)
        maps = self.sensitivity_maps
        return replace(
            self,
            y=self.y[index],
            mask=self.mask[index],
            sensitivity_maps=None if maps is None else maps[index],
            noise_std=self.noise_std[index],
            scale=self.scale[index],
            scan_ids=tuple(self.scan_ids[i] for i in picked),
            affine=None if self.affine is None else self.affine[index],
            acquired=None if self.acquired is None else self.acquired[index],
            component=None if self.component is None else tuple(self.component[i] for i in picked),
        )


def collate(parts: Sequence[Measurement]) -> Measurement:
    """Join measurements of one image size and number of coils into a batch.

    Raises
    ------
    InputError
        If sizes, coils or domains differ, or only some have maps: group them first.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.y.shape[1:] != first.y.shape[1:] or part.domain != first.domain:
            raise InputError(
                f"slices of shape {tuple(part.y.shape[1:])} ({part.domain}) and {tuple(first.y.shape[1:])} "
                f"({first.domain}) cannot share a batch",
                where=part.scan_ids[0],
                remedy="Group slices by size first",
            )
        if (part.sensitivity_maps is None) != (first.sensitivity_maps is None):
            raise InputError(
                "slices with and without sensitivity maps cannot share a batch",
                where=part.scan_ids[0],
                remedy="Give maps for all of them or for none",
            )
    rows = max(part.mask.shape[-2] for part in parts)
    maps = [part.sensitivity_maps for part in parts if part.sensitivity_maps is not None]
    affines = [part.affine for part in parts if part.affine is not None]
    return Measurement(
        y=torch.cat([part.y for part in parts]),
        mask=torch.cat([part.mask.expand(-1, -1, rows, -1) for part in parts]),
        sensitivity_maps=torch.cat(maps) if len(maps) == len(parts) else None,
        noise_std=torch.cat([part.noise_std for part in parts]),
        scale=torch.cat([part.scale for part in parts]),
        domain=first.domain,
        scan_ids=tuple(scan for part in parts for scan in part.scan_ids),
        affine=torch.cat(affines) if len(affines) == len(parts) else None,
        acquired=_acquired(parts),
        component=None if first.component is None else tuple(k for part in parts for k in part.component or ()),
    )


def _acquired(parts: Sequence[Measurement]) -> Tensor | None:
    if all(part.acquired is None for part in parts):
        return None
    return torch.cat([
        torch.ones(len(part), 1, 1, part.y.shape[-1], dtype=torch.bool) if part.acquired is None else part.acquired
        for part in parts
    ])  # fmt: skip
