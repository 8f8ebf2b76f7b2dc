"""Exact nearest neighbours on unit features: all of them, no approximation.

Approximate search finds copies but misses the neighbours of ordinary samples, which are the null distribution here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float32]
BLOCK = 4096


@dataclass(frozen=True)
class Neighbours:
    """The `k` nearest rows of the base to every query, nearest first.

    Parameters
    ----------
    index
        `(n, k)` rows of the base.
    similarity
        `(n, k)` cosines in float64, computed anew from the features.
    """

    index: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]


def unit(features: npt.NDArray[np.floating]) -> Features:
    """Rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(features / np.maximum(lengths, 1e-30), np.float32)


def distance(cosine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Euclidean distance of unit features."""
    return np.sqrt(np.maximum(2 - 2 * cosine, 0))


def nearest(queries: Features, base: Features, k: int = 1, device: str = "cpu") -> Neighbours:
    """The k largest cosines of every query with the base, by exhaustive search.

    Candidates come from float32 products (faiss `IndexFlatIP`, or torch on a GPU) with a margin of four, and are
    ranked again by direct differences in float64: cos = 1 - ‖a - b‖²/2 keeps the digits that near-duplicates differ
    in.

    Parameters
    ----------
    queries, base
        `(n, d)` and `(m, d)`, rows of length 1 (`unit`).
    """
    k = min(k, len(base))
    wanted = min(k + 4, len(base))
    index = np.empty((len(queries), k), np.int64)
    similarity = np.empty((len(queries), k), np.float64)
    for start, found in _candidates(queries, base, wanted, device):
        for row, candidates in enumerate(found, start):
            difference = base[candidates].astype(np.float64) - queries[row].astype(np.float64)
            cosine = 1 - np.einsum("kd,kd->k", difference, difference) / 2
            order = np.lexsort((candidates, -cosine))[:k]
            index[row], similarity[row] = candidates[order], cosine[order]
    return Neighbours(index, similarity)


def _candidates(queries: Features, base: Features, k: int, device: str) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """(first query, their k candidates) block by block, so that memory stays bounded."""
    if device.startswith("cuda"):
        import torch

        held = torch.from_numpy(base).to(device)
        for start in range(0, len(queries), BLOCK):
            products = torch.from_numpy(queries[start : start + BLOCK]).to(device) @ held.T
            yield start, products.topk(k).indices.cpu().numpy()
        return
    import faiss

    flat = faiss.IndexFlatIP(base.shape[1])
    flat.add(base)
    for start in range(0, len(queries), BLOCK):
        yield start, flat.search(queries[start : start + BLOCK], k)[1]
