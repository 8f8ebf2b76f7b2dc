"""Acquired k-space as measurements: one mask, one noise level and one scale a volume, maps a slice.

Used for training and for reconstructing files: nothing here knows of a spec, or of what was not measured.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ambient_mri.coils import absorb_phase, calibration_region, edge_samples, espirit_maps, noise_std
from ambient_mri.data.readers.kspace import KspaceVolume
from ambient_mri.errors import InputError
from ambient_mri.fourier import central, fft1c, ifft1c
from ambient_mri.measurement import Measurement, energy_scale


class MeasuredVolume:
    """A volume of k-space seen through its mask; `[i]` is the measurement of slice i.

    Parameters
    ----------
    volume
        What a reader opened.
    mask
        Bool `(1, x)` or `(y, x)` over `matrix`; None: the file's own.
    probability
        Inclusion probabilities of the mask's law, of its shape; None: 1 in the calibration region
        and the measured share elsewhere.
    stated_noise_std
        Per real component, in the units of the file; None: what the file states, or an estimate
        from the ends of the readout of the middle slice.
    remove_oversampling
        Crop the readout to the reconstructed field of view of the header (line masks only).
    crop_kspace
        Keep only the central square of this size: a lower resolution.

    Raises
    ------
    InputError
        If the mask is missing or does not fit, or k-space is smaller than `crop_kspace`.
    """

    def __init__(
        self,
        volume: KspaceVolume,
        mask: Tensor | None = None,
        *,
        probability: Tensor | None = None,
        stated_noise_std: float | None = None,
        remove_oversampling: bool = True,
        crop_kspace: int | None = None,
    ) -> None:
        self.volume, self._probability, self._stated_noise_std = volume, probability, stated_noise_std
        self._readout, self.matrix = matrix(volume, remove_oversampling, crop_kspace)
        if mask is None and volume.mask is None:
            raise InputError(
                "the file has no mask: it is fully sampled",
                where=self._where,
                remedy="State the law that undersamples it",
            )
        own = _central(volume.mask, self.matrix) if mask is None and volume.mask is not None else mask
        assert own is not None
        if tuple(own.shape) not in ((1, self.matrix[1]), self.matrix):
            raise InputError(f"a mask of {tuple(own.shape)} for a matrix of {self.matrix}", where=self._where)
        if own.shape[0] > 1 and self._readout != volume.shape[-2]:
            raise InputError(
                "points were measured, not lines: the oversampled readout cannot be cropped",
                where=self._where,
                remedy="State remove_oversampling: false",
            )
        self.acquired = _central(volume.acquired, (1, self.matrix[1]))
        self.mask = own & self.acquired

    def __len__(self) -> int:
        return len(self.volume)

    @property
    def coils(self) -> int:
        return self.volume.shape[1]

    def __getitem__(self, index: int) -> Measurement:
        """Slice `index`, normalised, batch size 1."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        y, mask = self.samples(index), self.mask[None, None]
        where = f"{self._where} slice {index}"
        try:
            maps = torch.ones_like(y) if y.shape[1] == 1 else espirit_maps(y, mask)
        except InputError as problem:
            raise InputError(problem.what, where=where, remedy=problem.remedy) from None
        return Measurement(
            y=y / self.scale,
            mask=mask,
            sensitivity_maps=absorb_phase(maps, y, mask),
            noise_std=torch.tensor([self.noise_std / self.scale]),
            scale=torch.tensor([self.scale]),
            domain="kspace",
            acquired=None if bool(self.acquired.all()) else self.acquired[None, None],
            scan_ids=(f"{self.volume.name}/{index}",),
        )

    def samples(self, index: int) -> Tensor:
        """`(1, c, y, x)` complex64 over `matrix`, in the units of the file; exact zeros where nothing was measured."""
        y = self.volume.read(index, self._file_mask)
        if self._readout < y.shape[-2]:  # all samples of a line are there, so their transform is exact
            along_readout = ifft1c(y.transpose(-1, -2))
            y = fft1c(_central(along_readout, (y.shape[-1], self._readout))).transpose(-1, -2)
        return _central(y, self.matrix)[None].contiguous()

    @cached_property
    def noise_std(self) -> float:
        """Per real component, in the units of the file."""
        return self.edge_noise_std if self.known_noise_std is None else self.known_noise_std

    @property
    def known_noise_std(self) -> float | None:
        """As the user or the file states it; None: it has to be estimated."""
        return self.volume.noise_std if self._stated_noise_std is None else self._stated_noise_std

    @cached_property
    def edge_noise_std(self) -> float:
        """An estimate from the ends of the readout of the middle slice, whatever is stated.

        Raises
        ------
        InputError
            If nothing was measured there.
        """
        y = self.volume.read(len(self) // 2, self._file_mask)[None]
        return noise_std(edge_samples(y, self._file_mask[None, None]))

    @cached_property
    def scale(self) -> float:
        """One for the volume, from the measured samples of its middle slice."""
        middle = len(self) // 2
        try:
            return energy_scale(self.samples(middle), self.mask[None, None], self.probability, self.noise_std)
        except InputError as problem:
            raise InputError(problem.what, where=f"{self._where} slice {middle}", remedy=problem.remedy) from None

    @cached_property
    def probability(self) -> Tensor:
        """Inclusion probabilities, of the mask's shape."""
        if self._probability is not None:
            return self._probability
        centre = torch.zeros_like(self.mask)
        centre[calibration_region(self.mask)] = True
        share = self.mask[~centre].float().mean() if bool((~centre).any()) else torch.ones(())
        return torch.where(centre, 1.0, share)

    @property
    def _where(self) -> str:
        return str(self.volume.path)

    @cached_property
    def _file_mask(self) -> Tensor:
        """The mask over k-space as it lies in the file."""
        y, x = self.volume.shape[-2:]
        over_file = torch.zeros(1 if self.mask.shape[0] == 1 else y, x, dtype=torch.bool)
        _central(over_file, (self.mask.shape[0], self.mask.shape[1]))[:] = self.mask
        return over_file


def matrix(volume: KspaceVolume, remove_oversampling: bool, crop_kspace: int | None) -> tuple[int, tuple[int, int]]:
    """Readout samples once oversampling is removed, and the (y, x) matrix once k-space is cropped.

    Raises
    ------
    InputError
        If k-space is smaller than `crop_kspace`.
    """
    readout, lines = volume.shape[-2:]
    if remove_oversampling and volume.header is not None:
        readout = min(readout, volume.header.kept[0])
    if crop_kspace is None:
        return readout, (readout, lines)
    if crop_kspace > min(readout, lines):
        raise InputError(
            f"k-space of {readout} x {lines} is smaller than crop_kspace {crop_kspace}", where=str(volume.path),
            remedy="Lower crop_kspace",
        )  # fmt: skip
    return readout, (crop_kspace, crop_kspace)


def equispaced(mask: Tensor) -> bool:
    """Whether lines `(1, x)` beside the run of them around the centre lie on one comb (3 or more of them)."""
    if mask.shape[0] != 1:
        return False
    lines, run = mask[0].nonzero().flatten(), centre_run(mask)
    left, right = lines[lines < run.start], lines[lines >= run.stop]
    gaps = torch.cat([left.diff(), right.diff()])
    if len(gaps) < 2 or int(gaps[0]) < 2 or not bool((gaps == gaps[0]).all()):
        return False
    offsets = torch.cat([left, right]) % gaps[0]
    return bool((offsets == offsets[0]).all())


def centre_run(mask: Tensor) -> slice:
    """The lines of `(1, x)` around the centre that are measured without a gap."""
    centre = mask.shape[1] // 2
    missed = (~mask[0]).nonzero().flatten()
    before, after = missed[missed <= centre], missed[missed >= centre]
    return slice(int(before[-1]) + 1 if len(before) else 0, int(after[0]) if len(after) else mask.shape[1])


def _central(values: Tensor, size: tuple[int, int]) -> Tensor:
    """The view of the last two axes that keeps the centre n//2 on the new centre; an axis of 1 stays."""
    rows, columns = (central(n, min(n, wanted)) for n, wanted in zip(values.shape[-2:], size, strict=True))
    return values[..., rows, columns]
