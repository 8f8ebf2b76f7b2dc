"""Classical reconstruction: the rivals of every table, run to convergence, whole batches at a time.

Each takes a `Measurement` and a strength λ in normalised units (images of standard deviation .5) and
returns the complex image `(b, 1, y, x)`, all on the CPU. Rows of a batch never influence each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import sigpy as sp
import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.fourier import fft1c, ifft1c
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Coils, Masked, keep
from ambient_mri.reconstruction.wavelet import fista, shrink
from ambient_mri.solvers import conjugate_gradients

Array = npt.NDArray[np.complex64]
Shape = tuple[int, ...]
Map = Callable[[Tensor], Tensor]

WAVELET = "haar"
"""The best of haar, db2, db4, sym4 and bior4.4 on brain slices once its grid is shifted, by .6 to 1 dB."""


def wavelet_iterations(strength: float) -> int:
    """FISTA's error falls with the square of its iterations: 100 at λ = .003, more below, at most 2000."""
    return round(min(max(100 * float((0.003 / max(strength, 1e-12)) ** 0.5), 100), 2000))


def tv_iterations(strength: float) -> int:
    """200 at λ = .002 and above, 423 at λ = 1e-4, at most 800."""
    return round(min(max(200 * float((0.002 / max(strength, 1e-12)) ** 0.25), 200), 800))


def _tv_steps(strength: float) -> tuple[float, float]:
    """Dual step sizes of data term and penalty: smaller for a weak penalty, whose dual is bounded by λ.

    Found on 64 × 64 slices of standard deviation .5 at λ = 3e-5 to .02; with `tv_iterations` the image is
    within .1 dB of the optimum (checked against 6000 iterations), except below λ = 1e-4.
    """
    penalty = 0.01 * min((strength / 0.002) ** 0.8, 1.0) if strength > 0 else 1e-6
    return 5 * penalty, penalty


def zero_filled(measurement: Measurement) -> Tensor:
    """Aᴴy: zeros (or no pixels) where nothing was measured."""
    return measurement.adjoint()


def cg_sense(measurement: Measurement, strength: float, *, max_iterations: int = 500) -> Tensor:
    """argmin ‖Ax − y‖² + λ‖x‖² (Pruessmann et al., MRM 2001) by conjugate gradients.

    Parameters
    ----------
    strength
        λ > 0, or 0 for the plain least-squares fit that the iteration limit regularises.
    max_iterations
        Each image stops at a relative residual of 5e-6 or here.
    """
    b = measurement.adjoint()
    return conjugate_gradients(
        measurement.operator(), b, torch.as_tensor(strength).to(b.device), tolerance=5e-6, max_iterations=max_iterations
    )


def l1_wavelet(
    measurement: Measurement,
    strength: float,
    *,
    wavelet: str = WAVELET,
    iterations: int | None = None,
    shifts: bool = True,
) -> Tensor:
    """argmin ½‖Ax − y‖² + λ‖Wx‖₁ (Lustig et al., MRM 2007) by FISTA.

    Parameters
    ----------
    strength
        λ in normalised units.
    shifts
        Shift the wavelet's grid from iteration to iteration (cycle spinning, Coifman and Donoho 1995;
        the default of BART): fewer block artefacts, about 1 dB better. Without it the result equals
        `sigpy.mri.app.L1WaveletRecon`.
    """
    A, count = measurement.operator(), wavelet_iterations(strength) if iterations is None else iterations
    return wavelet_fit(A, measurement.adjoint(), strength, count, wavelet, shifts=shifts)


def wavelet_fit(A: Masked, b: Tensor, strength: float, iterations: int, wavelet: str, *, shifts: bool) -> Tensor:
    """`l1_wavelet` for any operator; b = Aᴴy."""
    size = A.encoding.norm**2
    moves = np.random.default_rng(0).integers(0, 16 if shifts else 1, (iterations, 2)).tolist()  # the same in every run

    def prox(x: Tensor, iteration: int) -> Tensor:
        y, across = moves[iteration]
        moved = torch.roll(x, (y, across), (-2, -1)) if shifts else x
        shrunk = shrink(moved, strength / size, wavelet)
        return torch.roll(shrunk, (-y, -across), (-2, -1)) if shifts else shrunk

    return fista(lambda x: (A.normal(x) - b) / size, prox, torch.zeros_like(b), iterations)


def total_variation(
    measurement: Measurement,
    strength: float,
    *,
    expected: Tensor | None = None,
    consistency: float = 0.0,
    iterations: int | None = None,
) -> Tensor:
    """argmin ½‖Ax − y‖² + ½κ‖x − m‖² + λ Σ_j ‖(∇x)_j‖₂ (Rudin, Osher, Fatemi 1992; isotropic) by sigpy's PDHG.

    Differences are periodic, as in `sigpy.mri.app.TotalVariationRecon`, whose penalty is the anisotropic one.

    Parameters
    ----------
    strength
        λ in normalised units.
    expected, consistency
        An image m `(b, 1, y, x)` that the solution stays near, a network's for example, and κ, the squared noise over
        the squared error of m. Without m, plain total variation.
    """
    count = tv_iterations(strength) if iterations is None else iterations
    A, y, norm = batch_linop(measurement), batch_samples(measurement), measurement.encoding().norm
    if expected is None:
        return _image(tv_fit(A, y, norm, strength, count), measurement)
    near = expected[:, 0].numpy().copy()  # sigpy has no room for a second quadratic beside a gradient: m joins the data
    A = sp.linop.Vstack([A, consistency**0.5 * sp.linop.Identity(A.ishape)])
    y = np.concatenate([y.ravel(), consistency**0.5 * near.ravel()])
    return _image(tv_fit(A, y, (norm**2 + consistency) ** 0.5, strength, count, start=near), measurement)


def tv_fit(
    A: Any, y: Array, norm: float, strength: float, iterations: int, *, start: Array | None = None,
    axes: tuple[int, ...] = (-2, -1), isotropic: bool = True,
) -> Array:  # fmt: skip
    """`total_variation` for any sigpy Linop of largest singular value `norm`, with differences along `axes`."""
    gradient = sp.linop.FiniteDifference(tuple(A.ishape), axes=axes)
    # A step size for each dual block (Pock and Chambolle 2011), τ(σ_A‖A‖² + σ_G‖∇‖²) = 1 with ‖∇‖² ≤ 4 an axis. With
    # sigpy's single size, images are still 2 dB from the optimum after 200 iterations; with these .02 dB. A gradient
    # scaled by √(σ_G/σ_A) under a penalty scaled back is the same, and spares an array of step sizes.
    step_data, step_penalty = _tv_steps(strength)
    scale = (step_penalty / step_data) ** 0.5
    shape, weight = tuple(gradient.oshape), strength / scale
    app = sp.app.LinearLeastSquares(
        A,
        y,
        x=start,
        proxg=_group_soft(shape, weight) if isotropic else sp.prox.L1Reg(shape, weight),
        G=scale * gradient,
        tau=1.0 / (step_data * norm**2 + 4.0 * len(axes) * step_penalty),
        sigma=step_data,
        max_iter=iterations,
        show_pbar=False,
    )
    solution: Array = app.run()
    return solution


def biharmonic(measurement: Measurement) -> Tensor:
    """Inpainting by the biharmonic equation (Damelin and Hoang 2018; scikit-image): measured pixels stay as they are.

    Pixels are real, so that the real part is inpainted. There is no strength, and no denoising.

    Raises
    ------
    InputError
        If k-space was measured, not pixels.
    """
    from skimage.restoration import inpaint_biharmonic

    if measurement.domain != "image":
        raise InputError("biharmonic inpainting needs pixels, not k-space", remedy="Choose tv or l1-wavelet")
    shape = measurement.image_shape
    rows = [
        inpaint_biharmonic(pixels.numpy(), ~mask.expand(shape).numpy())
        for pixels, mask in zip(
            measurement.without_unmeasured().y[:, 0].real.cpu(), measurement.mask[:, 0].cpu(), strict=True
        )
    ]
    return torch.from_numpy(np.stack(rows)).to(measurement.y)[:, None]


class _Linop(sp.linop.Linop):  # type: ignore[misc]
    """A map between batches `(b, y, x)` and measurements as a sigpy Linop; step sizes then suit every row alike."""

    def __init__(self, forward: Map, adjoint: Map, normal: Map, oshape: Shape, ishape: Shape) -> None:
        self.maps = (forward, adjoint, normal, oshape, ishape)
        super().__init__(oshape, ishape)

    def _apply(self, value: Array) -> Array:
        result: Array = self.maps[0](torch.from_numpy(np.ascontiguousarray(value, np.complex64))).numpy()
        return result

    def _adjoint_linop(self) -> _Linop:
        forward, adjoint, normal, oshape, ishape = self.maps
        return _Linop(adjoint, forward, normal, ishape, oshape)

    def _normal_linop(self) -> _Linop:
        _, _, normal, _, ishape = self.maps
        return _Linop(normal, normal, normal, ishape, ishape)


def batch_linop(measurement: Measurement) -> _Linop:
    """A of a whole batch. Where lines were measured, without its unitary readout transform, which changes no fit."""
    operator, mask = measurement.operator(), measurement.mask
    shapes = tuple(measurement.y.shape), (len(measurement), *measurement.image_shape)

    def normal(x: Tensor) -> Tensor:
        return operator.normal(x[:, None])[:, 0]

    if not _by_lines(measurement):
        return _Linop(lambda x: operator.forward(x[:, None]), lambda y: operator.adjoint(y)[:, 0], normal, *shapes)
    coils = Coils(torch.ones_like(mask[:1]) if (maps := measurement.sensitivity_maps) is None else maps)
    return _Linop(
        lambda x: keep(mask, fft1c(coils.forward(x[:, None]))),
        lambda y: coils.adjoint(ifft1c(keep(mask, y)))[:, 0],
        normal,
        *shapes,
    )


def _by_lines(measurement: Measurement) -> bool:
    return measurement.domain == "kspace" and measurement.mask.shape[-2] == 1


def batch_samples(measurement: Measurement) -> Array:
    """What `batch_linop` measured."""
    y = measurement.without_unmeasured().y
    if _by_lines(measurement):
        y = ifft1c(y.transpose(-1, -2)).transpose(-1, -2).contiguous()
    samples: Array = y.numpy()
    return samples


def _image(solution: Array, measurement: Measurement) -> Tensor:
    return torch.from_numpy(solution).to(measurement.y)[:, None]


def _group_soft(shape: tuple[int, ...], strength: float) -> Any:
    """Prox of λ Σ_j ‖g_j‖₂ over arrays of gradients, their axis first."""

    class _GroupSoft(sp.prox.Prox):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(shape)

        def _prox(self, alpha: Any, value: Array) -> Array:
            step = np.max(alpha) * strength
            length = np.sqrt((np.abs(value) ** 2).sum(0, keepdims=True))
            shrunk: Array = value * (1 - step / np.maximum(length, max(step, 1e-30))).astype(np.float32)
            return shrunk

    return _GroupSoft()
