"""Wavelet shrinkage equals sigpy's at every size and wavelet; FISTA finds a known minimum."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy as sp
import torch

from ambient_mri.reconstruction.wavelet import fista, shrink
from tests.laws.operators import complex_normal, relative


@pytest.mark.parametrize("shape", [(32, 32), (24, 40), (17, 22), (31, 45)])
@pytest.mark.parametrize("wavelet", ["haar", "db2", "db4", "sym4"])
def test_shrinkage_equals_sigpy(shape: tuple[int, int], wavelet: str) -> None:
    x = complex_normal(2, 1, *shape, rng=torch.Generator().manual_seed(0))
    ours = shrink(x, 0.7, wavelet)
    W = sp.linop.Wavelet(shape, wave_name=wavelet)
    theirs = np.stack([W.H(sp.thresh.soft_thresh(0.7, W(row))) for row in x[:, 0].numpy()])
    assert relative(ours[:, 0], torch.from_numpy(theirs)) < 1e-5
    assert relative(shrink(x, 0.0, wavelet), x) < 1e-5, "an orthogonal transform and its inverse"


def test_fista_finds_the_minimum_of_a_separable_problem() -> None:
    rng = torch.Generator().manual_seed(1)
    weight, y = torch.rand(50, generator=rng) * 0.9 + 0.1, torch.randn(50, generator=rng)

    def prox(x: torch.Tensor, iteration: int) -> torch.Tensor:
        return x.sign() * (x.abs() - 0.2).clamp_min(0)

    found = fista(lambda x: weight * x - y, prox, torch.zeros(50), 400)
    assert torch.allclose(found, prox(y, 0) / weight, atol=1e-4)
