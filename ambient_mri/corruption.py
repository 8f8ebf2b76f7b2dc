"""The law of A, the law of D, the weights that make the masked loss unbiased, and whether it can work at all.

Given what Ã = D A shows, a coefficient j was measured with probability q_j = P(A_j = 1 | Ã). With
W_j = 1 where shown and 1/q_j where A measured and D hid it, E[‖W^½ M_A E(h - x)‖² | Ã] = ‖h - x‖²
for every predictor h of Ã: the clean loss without clean images (Daras et al. 2023; K-weighting of
Millard and Chiew 2023), over all parts with q_j > 0 (where blocks of A and D overlap there is no other draw of A).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Generator, Tensor

from ambient_mri.operators import Encoding, Fourier, Identity, Masked, Sense
from ambient_mri.patterns import Pattern, units

MAX_WEIGHT = 200.0
"""Inverse-probability weights are clipped here; random lines at R = 8 reach about 60."""
REFUSE_BELOW, WARN_BELOW = 1e-5, 1e-2


@dataclass(frozen=True)
class Corruption:
    """The law of A: one mask of `pattern` a sample."""

    pattern: Pattern

    def draw(self, encoding: Encoding, shape: tuple[int, int], rngs: Sequence[Generator]) -> Masked:
        """A for a batch of `len(rngs)` images of `shape` (y, x); one generator a sample."""
        return Masked(encoding, torch.stack([self.pattern.draw(shape, rng)[None] for rng in rngs]))


@dataclass(frozen=True)
class Mixture:
    """Scans of several laws, the share `weights[k]` of law k. For drawing: which law drew a mask is known elsewhere."""

    laws: tuple[Pattern, ...]
    weights: tuple[float, ...]

    def draw(self, shape: tuple[int, int], rng: Generator) -> Tensor:
        which = int(torch.multinomial(torch.tensor(self.weights), 1, generator=rng))
        return self.laws[which].draw(shape, rng).expand(self._grid(shape))

    def probability(self, shape: tuple[int, int]) -> Tensor:
        total = sum(self.weights)
        parts = [w / total * law.probability(shape) for law, w in zip(self.laws, self.weights, strict=True)]
        return torch.stack([part.expand(self._grid(shape)) for part in parts]).sum(0)

    def calibration(self, shape: tuple[int, int]) -> Tensor:
        """What the scans of every law measure."""
        return torch.stack([law.calibration(shape).expand(self._grid(shape)) for law in self.laws]).all(0)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        raise TypeError("a mixture does not know which of its laws drew a mask: see MixedCorruption")

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        raise TypeError("a mixture does not know which of its laws drew a mask: see MixedCorruption")

    def _grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        return (max(int(law.calibration(shape).shape[0]) for law in self.laws), shape[1])


@dataclass(frozen=True)
class Further:
    """A draw of D for a batch.

    Parameters
    ----------
    operator
        Ã = D A.
    weight
        `(b, 1, y or 1, x)`: 1 where shown, 1/q where A measured and D hid it, 0 elsewhere (rivals weigh otherwise).
    """

    operator: Masked
    weight: Tensor


class FurtherLaw(Protocol):
    """The law of D for scans of one law of A, or of several."""

    @property
    def keep(self) -> tuple[float, float]:
        """The smallest and the largest fraction that may be kept."""

    def keeping(self, share: float) -> FurtherLaw:
        """The same, but always the fraction `share` is kept, e.g. nearly all, to check what is said of the rest."""

    def draw(
        self, A: Masked, rngs: Sequence[Generator], component: Sequence[int] | None, acquired: Tensor | None = None
    ) -> Further:
        """One D a sample, `rngs[i]` for sample i.

        `component[i]` says which law its mask follows (None: the first), `acquired` `(b, 1, 1, x)` what its scanner
        measures at all (None: everything).
        """


@dataclass(frozen=True)
class FurtherCorruption:
    """The law of D: `pattern` is thinned to a fraction drawn uniformly from `keep`, anew at each call."""

    pattern: Pattern
    keep: tuple[float, float]

    def keeping(self, share: float) -> FurtherCorruption:
        return replace(self, keep=(share, share))

    def draw(
        self, A: Masked, rngs: Sequence[Generator], component: Sequence[int] | None = None,
        acquired: Tensor | None = None,
    ) -> Further:  # fmt: skip
        rows = zip(A.mask[:, 0].cpu(), rngs, _each(acquired, len(rngs)), strict=True)
        return _further(A, [self.thinned(*row) for row in rows])

    def thinned(self, mask: Tensor, rng: Generator, acquired: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What D shows of one mask `(y or 1, x)`, and the weights, of the same shape; `acquired` is `(1, x)`.

        Raises
        ------
        InputError
            If the mask cannot be of this law.
        """
        measured, (low, high) = units(self.pattern, mask), self.keep
        fraction = low + (high - low) * float(torch.rand((), generator=rng))
        kept = self.pattern.thin(measured, fraction, rng)
        q = self.pattern.given(kept, measured, fraction, acquired)
        weight = torch.where(measured, (1 / q).clamp_max(MAX_WEIGHT), 0.0)
        return kept.expand(mask.shape), weight.expand(mask.shape)


@dataclass(frozen=True)
class MixedCorruption:
    """The law of D for scans of several laws of A.

    A scan is thinned by the law that drew it, and its weights 1/q are those of that law: for each law apart the loss is
    unbiased, and so it is for all.
    """

    laws: tuple[FurtherCorruption, ...]

    @property
    def keep(self) -> tuple[float, float]:
        return min(law.keep[0] for law in self.laws), max(law.keep[1] for law in self.laws)

    def keeping(self, share: float) -> MixedCorruption:
        return replace(self, laws=tuple(law.keeping(share) for law in self.laws))

    def draw(
        self, A: Masked, rngs: Sequence[Generator], component: Sequence[int] | None, acquired: Tensor | None = None
    ) -> Further:
        which = [0] * len(rngs) if component is None else component
        rows = zip(A.mask[:, 0].cpu(), rngs, _each(acquired, len(rngs)), which, strict=True)
        return _further(A, [self.laws[k].thinned(*row) for *row, k in rows])


def _each(acquired: Tensor | None, count: int) -> Sequence[Tensor | None]:
    return [None] * count if acquired is None else list(acquired[:, 0].cpu())


def _further(A: Masked, rows: Sequence[tuple[Tensor, Tensor]]) -> Further:
    shown, weight = (torch.stack([row[i][None] for row in rows]).to(A.mask.device) for i in (0, 1))
    return Further(A.show(shown), weight)


@dataclass(frozen=True)
class Identifiability:
    """Whether E[AᴴA | Ã] has full rank: whatever Ã shows, every missing part could have been measured.

    `lambda_min` is the median smallest eigenvalue over draws of Ã, `worst` and `best` the extremes. No draw with
    full rank: refused. Some without (two blocks that overlap): a warning, since other draws teach those places.
    """

    lambda_min: float
    worst: float
    best: float
    draws: int

    @property
    def refused(self) -> bool:
        return self.best < REFUSE_BELOW

    @property
    def warned(self) -> bool:
        return self.worst < WARN_BELOW

    def explain(self) -> str:
        """One line for people."""
        figure = (
            f"λ_min of E[AᴴA|Ã] = {self.lambda_min:.2g} ({self.worst:.2g} to {self.best:.2g} over {self.draws} draws)"
        )
        if self.refused:
            return (
                f"{figure}: what Ã shows tells which samples were never measured, so no amount of scans can teach "
                "them (e.g. equispaced lines with one coil). Use random lines, more coils or a lower acceleration"
            )
        if self.warned:
            return (
                f"{figure}: nearly or sometimes unidentifiable; expect the parts rarely measured to be learned slowly"
            )
        return f"{figure}: identifiable"


def identifiability(
    further: FurtherLaw, encoding: Encoding, shape: tuple[int, int], rng: Generator, draws: int = 12,
    acquired: Tensor | None = None,
) -> Identifiability:  # fmt: skip
    """Smallest eigenvalue of E[AᴴA | Ã] = Eᴴ diag(q) E for several draws of A and D.

    Parameters
    ----------
    further
        Of a mixture, every law is drawn `draws` times: what one of them cannot teach, others may.
    encoding
        E of one scan (batch size 1). With coils the eigenvalue is taken on the support of the maps.
    rng
        Draws the masks and the start vectors.
    acquired
        `(1, x)`, what the scanner measures at all (None: everything). What lies outside is no part of the image
        that is asked for: padding.
    """
    smallest = []
    for law in further.laws if isinstance(further, MixedCorruption) else [further]:
        assert isinstance(law, FurtherCorruption)  # the two there are
        for _ in range(draws):
            measured = law.pattern.draw(shape, rng)
            measured = measured if acquired is None else measured & acquired
            fraction = sum(law.keep) / 2
            shown = law.pattern.thin(measured, fraction, rng)
            q = law.pattern.given(shown, measured, fraction, acquired)
            q = torch.where(law.pattern.probability(shape) > 0, q, 0.0)
            q = q if acquired is None else q.masked_fill(~acquired, 1.0)
            smallest.append(_smallest_eigenvalue(encoding, q[None, None], shape, rng))
    return Identifiability(float(torch.tensor(smallest).median()), min(smallest), max(smallest), len(smallest))


def _smallest_eigenvalue_of_lines(
    encoding: Identity | Fourier | Sense, q: Tensor, shape: tuple[int, int], most_rows: int = 64
) -> float:
    """Line masks leave the rows of an image apart: one dense x × x matrix a row, at most `most_rows` of the rows."""
    rows = torch.linspace(0, shape[0] - 1, min(shape[0], most_rows)).round().long()
    if isinstance(encoding, Sense):
        encoding = Sense(encoding.maps[:, :, rows])
    columns = torch.eye(shape[1], dtype=torch.complex64)[:, None, None, :].expand(-1, 1, len(rows), -1)
    images = torch.cat([encoding.masked_normal(part, q) for part in columns.split(16)])
    matrices = images[:, 0].permute(1, 2, 0).to(torch.complex128)
    unseen = (encoding.normal(torch.ones_like(columns[:1])).abs() < 1e-6)[0, 0]  # outside the support of the maps
    matrices = matrices + torch.diag_embed(unseen.to(torch.complex128))
    return max(float(torch.linalg.eigvalsh((matrices + matrices.mH) / 2).min()), 0.0)


def _smallest_eigenvalue(
    encoding: Encoding, q: Tensor, shape: tuple[int, int], rng: Generator, steps: int = 60
) -> float:
    """λ_min of Eᴴdiag(q)E on the support of E: exact for lines, otherwise by Lanczos with full reorthogonalisation.

    Lanczos approaches λ_min from above, and slowly where the spectrum reaches 0 densely: 60 steps turn an exact 0
    (4 coils, every fifth line) into 2e-5. So two-dimensional masks with coils are judged too kindly.
    """
    if q.shape[-2] == 1 and isinstance(encoding, Identity | Fourier | Sense):
        return _smallest_eigenvalue_of_lines(encoding, q, shape)
    start = torch.complex(torch.randn(1, 1, *shape, generator=rng), torch.randn(1, 1, *shape, generator=rng))
    vector = encoding.normal(start)
    basis: list[Tensor] = [vector / vector.norm()]
    diagonal: list[float] = []
    beyond: list[float] = []
    for _ in range(steps):
        image = encoding.masked_normal(basis[-1], q)
        diagonal.append(float(torch.vdot(basis[-1].flatten(), image.flatten()).real))
        stack = torch.stack([b.flatten() for b in basis])
        rest = image.flatten()
        for _ in range(2):
            rest = rest - stack.T @ (stack.conj() @ rest)
        norm = float(rest.norm())
        if norm < 1e-6:
            break
        beyond.append(norm)
        basis.append((rest / norm).reshape(image.shape))
    size = len(diagonal)
    off = torch.tensor(beyond[: size - 1], dtype=torch.float64)
    tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    return max(float(torch.linalg.eigvalsh(tridiagonal)[0]), 0.0)
