"""Scans as other positions of the head would have given them: moved together with their masks and maps.

A corrupted scan may not be augmented as an image is: where a scan is moved, what was measured of it moves too. In
k-space both moves here are exact, sample by sample, so that the loss stays as unbiased as it was; noise stays white.
What was trained so can be asked about a scan in several positions, whose answers differ by errors of the network only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ambient_mri.corruption import Further
from ambient_mri.data.facts import SymmetryFacts
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Encoding, Identity, Masked, Sense, SigpyEncoding
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.prior.steps import Draw


class Move(NamedTuple):
    """Columns x → -x or as they are, and then a shift by whole pixels."""

    mirrored: bool
    down: int
    right: int

    def image(self, x: Tensor) -> Tensor:
        """An image moved; what leaves on one side enters on the other. A mask of pixels is an image."""
        return self._turned(x).roll((self.down, self.right), (-2, -1))

    def back(self, x: Tensor) -> Tensor:
        """The image that `image` moved."""
        return self._turned(x.roll((-self.down, -self.right), (-2, -1)))

    def samples(self, y: Tensor) -> Tensor:
        """The k-space of the moved image."""
        return self._turned(y) * ramp(y.shape, self.down, self.right).to(y.device)

    def lines(self, mask: Tensor) -> Tensor:
        """Where k-space was measured, which does not depend on a shift."""
        return self._turned(mask)

    def operator(self, A: Masked) -> Masked:
        """The operator of the moved scan.

        Raises
        ------
        InputError
            If the measurement has no place on the grid of the image.
        """
        if self == STILL:
            return A
        encoding: Encoding = A.encoding
        if isinstance(encoding, SigpyEncoding):
            raise InputError("a scan off the grid cannot be moved sample by sample", remedy="Use one-step")
        if isinstance(encoding, Identity):
            return Masked(encoding, self.image(A.mask))
        if isinstance(encoding, Sense):
            encoding = Sense(self.image(encoding.maps))
        return Masked(encoding, self.lines(A.mask))

    def asked(self, prior: Prior, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        """h_θ's answer to the moved scan, moved back."""
        return self.back(prior.denoise(self.image(x_in), sigma, self.operator(given)))

    def _turned(self, x: Tensor) -> Tensor:
        return mirror(x) if self.mirrored else x


STILL = Move(False, 0, 0)


def positions(law: SymmetryFacts | None) -> tuple[Move, ...]:
    """A scan as it is, mirrored, a pixel down and to the right, and both, as far as the law has them.

    A network that folds 2 × 2 pixels sees another image where a head lies on odd pixels. Further shifts add next to
    nothing to these.
    """
    if law is None:
        return (STILL,)
    shifts, mirrored = (0, 1) if law.shift else (0,), (False, True) if law.mirror else (False,)
    return tuple(Move(turned, by, by) for by, turned in product(shifts, mirrored))


@dataclass(frozen=True)
class Averaged:
    """h_θ as symmetric as the law of what it learned: the mean of its answers in several positions.

    By convexity its squared error is at most the mean of theirs.
    """

    prior: Prior
    moves: tuple[Move, ...]

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return torch.stack([move.asked(self.prior, x_in, sigma, given) for move in self.moves]).mean(0)


def move(
    measurement: Measurement, drawn: Draw, law: SymmetryFacts, rngs: Sequence[Generator]
) -> tuple[Measurement, Draw]:
    """The batch and its draw of D, each sample mirrored with probability ½ and shifted by whole pixels.

    D is drawn before: its probabilities are those of the scan as it was acquired.

    Parameters
    ----------
    law
        `mirror`: columns x → -x; `shift`: at most so many pixels along both axes.
    rngs
        Sample i uses `rngs[i]` only.
    """
    moves = [_drawn(law, rng) for rng in rngs]

    def each(x: Tensor, moved: Callable[[Move, Tensor], Tensor]) -> Tensor:
        return torch.stack([moved(one, row) for one, row in zip(moves, x, strict=True)])

    samples, masks = (Move.image, Move.image) if measurement.domain == "image" else (Move.samples, Move.lines)
    maps = measurement.sensitivity_maps
    moved = replace(
        measurement, y=each(measurement.y, samples), mask=each(measurement.mask, masks),
        sensitivity_maps=None if maps is None else each(maps, Move.image),
        acquired=None if measurement.acquired is None else each(measurement.acquired, Move.lines),
    )  # fmt: skip
    shown, weight = each(drawn.further.operator.mask, masks), each(drawn.further.weight, masks)
    return moved, replace(drawn, further=Further(Masked(moved.encoding(), shown), weight))


def _drawn(law: SymmetryFacts, rng: Generator) -> Move:
    mirrored = law.mirror and bool(torch.rand((), generator=rng) < 0.5)
    down, right = torch.randint(-law.shift, law.shift + 1, (2,), generator=rng).tolist()
    return Move(mirrored, down, right)


def mirror(x: Tensor) -> Tensor:
    """Columns reversed about the centre n//2, as the mirrored image's samples are in k-space and in the image alike."""
    n = x.shape[-1]
    return x[..., (2 * (n // 2) - torch.arange(n, device=x.device)) % n]


def ramp(shape: Sequence[int], down: int, right: int) -> Tensor:
    """What a shift of the image multiplies its k-space by, `(y, x)` complex64."""
    phases = []
    for n, steps in zip(shape[-2:], (down, right), strict=True):
        phases.append(-2 * math.pi / n * steps * (torch.arange(n) - n // 2))
    return torch.polar(torch.ones(()), phases[0][:, None] + phases[1][None, :])
