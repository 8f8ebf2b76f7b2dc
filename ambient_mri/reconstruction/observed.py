"""Classical methods through any sigpy operator: for an `Observation` of `noncartesian`, of `volumes`, or your own.

`one_step` and `plug_and_play` of `sampling` take the same, and `dds` and `mmps` with a proper prior.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.operators import SigpyEncoding
from ambient_mri.reconstruction.classical import WAVELET, tv_fit, tv_iterations, wavelet_fit, wavelet_iterations
from ambient_mri.sampling.observation import Observation
from ambient_mri.solvers import conjugate_gradients


def cg_sense(observed: Observation, strength: float) -> Tensor:
    """argmin ‖Ax − y‖² + λ‖x‖² (Pruessmann et al. 2001), `(b, 1, y, x)`."""
    return conjugate_gradients(observed.A, observed.A.adjoint(observed.y), torch.tensor(strength), max_iterations=200)


def l1_wavelet(
    observed: Observation,
    strength: float,
    *,
    wavelet: str = WAVELET,
    iterations: int | None = None,
    shifts: bool = True,
) -> Tensor:
    """argmin ½‖Ax − y‖² + λ‖Wx‖₁ by FISTA, W in two dimensions; see `classical.l1_wavelet`.

    Where samples crowd together the largest eigenvalue of AᴴA is ‖A‖² > 1, and FISTA's error falls as ‖A‖²/k²: by
    default it gets ‖A‖ times the iterations that lines get, at most 1000.
    """
    usual = min(round(observed.A.encoding.norm * wavelet_iterations(strength)), 1000)
    count = usual if iterations is None else iterations
    return wavelet_fit(observed.A, observed.A.adjoint(observed.y), strength, count, wavelet, shifts=shifts)


def total_variation(observed: Observation, strength: float, *, iterations: int | None = None) -> Tensor:
    """argmin ½‖Ax − y‖² + λ Σ_j ‖(∇x)_j‖₂ by sigpy's PDHG, ∇ in three dimensions for a volume.

    See `classical.total_variation`.
    """
    encoding = observed.A.encoding
    assert isinstance(encoding, SigpyEncoding)
    linop = encoding.linop
    axes = (-3, -2, -1) if observed.A.slices > 1 else (-2, -1)
    count = tv_iterations(strength) if iterations is None else iterations
    solved = tv_fit(linop, observed.y.numpy().reshape(linop.oshape), encoding.norm, strength, count, axes=axes)
    return torch.from_numpy(solved).reshape(-1, 1, *observed.shape)
