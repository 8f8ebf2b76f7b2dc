"""Where randomness comes from: a generator for each thing that is drawn, named by what it is for.

A draw is a function of the seed, the purpose and the place alone. No batch size, number of workers or order of work
enters, and no two purposes share a stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ambient_mri.files import text_sha256


def stream(seed: int, purpose: str, *place: int | str) -> Generator:
    """The generator of one place, such as a step and a position or the identity of a scan, of one purpose."""
    digest = text_sha256("\0".join((str(seed), purpose, *map(str, place))))
    return Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def white(shape: Sequence[int], rng: Generator) -> Tensor:
    """White complex noise, unit standard deviation per real component."""
    return torch.complex(torch.randn(*shape, generator=rng), torch.randn(*shape, generator=rng))
