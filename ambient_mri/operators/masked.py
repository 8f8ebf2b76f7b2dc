"""Masks, and the operator of a scan: a mask after an encoding."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ambient_mri.operators.encodings import Sense
from ambient_mri.operators.linear import Encoding, keep
from ambient_mri.operators.sigpy_bridge import SigpyEncoding


@dataclass(frozen=True)
class Mask:
    """Measurement space to itself: what `mask` `(b, 1, y or 1, x)` kept; D of the method."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return keep(self.mask, x)

    adjoint = forward
    normal = forward


@dataclass(frozen=True)
class Masked:
    """A = M E: the operator of a scan. `mask` `(b, 1, y, x)`; `(b, 1, 1, x)` where whole lines are measured.

    Examples
    --------
    >>> import torch
    >>> A = Masked(Fourier(), torch.tensor([True, False, True, True]).reshape(1, 1, 1, 4))
    >>> A.forward(torch.ones(1, 1, 4, 4, dtype=torch.complex64)).shape
    torch.Size([1, 1, 4, 4])
    """

    encoding: Encoding
    mask: Tensor = field(repr=False)

    @property
    def slices(self) -> int:
        """Images that one measurement is of: 1, or those of a volume, which it mixes."""
        return self.encoding.slices if isinstance(self.encoding, SigpyEncoding) else 1

    @property
    def coils_of_lines(self) -> Sense | None:
        """The coils, where these measured whole lines: then `normal` does not mix the rows of an image."""
        return self.encoding if isinstance(self.encoding, Sense) and self.mask.shape[-2] == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        return keep(self.mask, self.encoding.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.encoding.adjoint(keep(self.mask, y))

    def normal(self, x: Tensor) -> Tensor:
        return self.encoding.masked_normal(x, self.mask)

    def show(self, kept: Tensor) -> Masked:
        """Ã = D A for D = diag(`kept`): measures only what both measured."""
        return Masked(self.encoding, self.mask & kept)

    def by_kind(self) -> list[tuple[slice | Tensor, Masked]]:
        """Images of which coils measured whole lines, and the others: where they are in the batch, and their operator.

        What a batch of both is expanded to would hide that the rows of the former do not mix.
        """
        if not isinstance(self.encoding, Sense) or self.mask.shape[-2] == 1:
            return [(slice(None), self)]
        whole = (self.mask == self.mask[..., :1, :]).flatten(1).all(1)
        if not whole.any():
            return [(slice(None), self)]
        maps, lines = self.encoding.maps, self.mask[..., :1, :]
        if whole.all():
            return [(slice(None), Masked(self.encoding, lines))]
        return [
            (places, Masked(Sense(maps[places] if len(maps) > 1 else maps), mask[places]))
            for mask, places in ((lines, whole.nonzero()[:, 0]), (self.mask, (~whole).nonzero()[:, 0]))
        ]

    def rows(self, images: slice, rows: slice) -> Masked:
        """What `normal` is to some rows y of some images, which it does not mix where coils measure whole lines."""
        coils, mask = self.coils_of_lines, self.mask
        assert coils is not None
        maps = coils.maps[images if len(coils.maps) > 1 else slice(None), :, rows]
        return Masked(Sense(maps), mask[images] if len(mask) > 1 else mask)
