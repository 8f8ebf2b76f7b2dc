"""Operators and classical methods: each program's side of the comparison.

Each function takes the inputs and returns what makes the answer, once everything that a user does once is done.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Answer = Callable[[], Any]
Works = dict[tuple[str, str], Callable[[dict[str, torch.Tensor]], Answer]]
"""(program, work) → from the inputs to what makes the answer."""


def _stack(parts: list[Any]) -> Any:
    return np.stack([np.asarray(part) for part in parts])


# ambient-mri


def our_normal(given: dict[str, torch.Tensor]) -> Answer:
    from ambient_mri.operators import Masked, Sense

    A = Masked(Sense(given["maps"]), given["mask"])
    return lambda: A.normal(given["x"])[:, 0]


def our_cg(given: dict[str, torch.Tensor]) -> Answer:
    from ambient_mri.operators import Masked, Sense
    from ambient_mri.solvers import conjugate_gradients

    A = Masked(Sense(given["maps"]), given["mask"])
    return lambda: conjugate_gradients(A, A.adjoint(given["y"]), given["lam"], tolerance=2e-6, max_iterations=30)[:, 0]


def our_espirit(given: dict[str, torch.Tensor]) -> Answer:
    from ambient_mri.coils import espirit_maps

    return lambda: espirit_maps(given["y"], given["mask"])[0]


def our_l1(given: dict[str, torch.Tensor]) -> Answer:
    from ambient_mri.measurement import Measurement
    from ambient_mri.reconstruction.classical import l1_wavelet

    b = len(given["y"])
    scan = Measurement(given["y"], given["mask"], given["maps"], torch.zeros(b), torch.ones(b), "kspace", ("",) * b)
    return lambda: l1_wavelet(scan, float(given["lam"]), wavelet="db2", iterations=30)[:, 0]


def bare_normal(given: dict[str, torch.Tensor]) -> Answer:
    """A yardstick, not a program: two transforms of all coil images. The first call answers as ours."""
    images, answers = given["maps"] * given["x"], iter([our_normal(given)()])

    def run() -> Any:
        for answer in answers:
            return answer
        return torch.fft.ifft2(torch.fft.fft2(images))

    return run


# sigpy: one image at a time


def sigpy_normal(given: dict[str, torch.Tensor]) -> Answer:
    from sigpy.mri.linop import Sense

    maps, x = given["maps"].numpy(), given["x"][:, 0].numpy()
    weights = given["mask"][:, 0].float().expand(-1, *x.shape[1:]).numpy()
    linops = [Sense(m, weights=w) for m, w in zip(maps, weights, strict=True)]
    return lambda: _stack([linop.N(one) for linop, one in zip(linops, x, strict=True)])


def sigpy_cg(given: dict[str, torch.Tensor]) -> Answer:
    from sigpy.mri.app import SenseRecon

    pairs = list(zip(given["y"].numpy(), given["maps"].numpy(), strict=True))
    lam = float(given["lam"])
    return lambda: _stack([SenseRecon(y, m, lamda=lam, max_iter=30, tol=0, show_pbar=False).run() for y, m in pairs])


def sigpy_espirit(given: dict[str, torch.Tensor]) -> Answer:
    from sigpy.mri.app import EspiritCalib

    return lambda: EspiritCalib(given["y"][0].numpy(), calib_width=24, show_pbar=False).run()


def sigpy_l1(given: dict[str, torch.Tensor]) -> Answer:
    from sigpy.mri.app import L1WaveletRecon

    pairs = list(zip(given["y"].numpy(), given["maps"].numpy(), strict=True))
    lam = float(given["lam"])
    return lambda: _stack([
        L1WaveletRecon(y, m, lam, wave_name="db4", max_iter=30, show_pbar=False).run() for y, m in pairs
    ])  # fmt: skip


# deepinv: complex numbers as two channels


def _deepinv(given: dict[str, torch.Tensor]) -> Any:
    import torchvision  # noqa: F401  (the stub)
    from deepinv.physics import MultiCoilMRI

    mask = given["mask"].float().expand(-1, -1, *given["maps"].shape[-2:])
    return MultiCoilMRI(mask=mask.expand(-1, 2, -1, -1), coil_maps=given["maps"], img_size=given["maps"].shape[-2:])


def deepinv_normal(given: dict[str, torch.Tensor]) -> Answer:
    physics, x = _deepinv(given), torch.view_as_real(given["x"][:, 0]).permute(0, 3, 1, 2).contiguous()
    return lambda: torch.view_as_complex(physics.A_adjoint_A(x).permute(0, 2, 3, 1).contiguous())


def deepinv_cg(given: dict[str, torch.Tensor]) -> Answer:
    physics, lam = _deepinv(given), float(given["lam"])
    y = torch.view_as_real(given["y"]).permute(0, 4, 1, 2, 3).contiguous()

    def run() -> Any:
        x = physics.prox_l2(None, y, 1 / lam, solver="CG", max_iter=30, tol=1e-8)
        return torch.view_as_complex(x.permute(0, 2, 3, 1).contiguous())

    return run


# mrpro: (other, coil, z, y, x)


def _mrpro(given: dict[str, torch.Tensor]) -> Any:
    import torchvision  # noqa: F401  (the stub)
    from mrpro.operators import EinsumOp, FastFourierOp, SensitivityOp

    mask = given["mask"].to(torch.complex64).expand(-1, -1, *given["maps"].shape[-2:]).contiguous()[:, :, None]
    encode = FastFourierOp(dim=(-2, -1)) @ SensitivityOp(given["maps"][:, :, None])
    return encode, EinsumOp(mask, "b one z y x, b c z y x -> b c z y x")


def mrpro_normal(given: dict[str, torch.Tensor]) -> Answer:
    encode, mask = _mrpro(given)
    normal, x = encode.H @ mask @ encode, given["x"][:, :, None]
    return lambda: normal(x)[0][:, 0, 0]


def mrpro_cg(given: dict[str, torch.Tensor]) -> Answer:
    from mrpro.algorithms.optimizers import cg
    from mrpro.operators import IdentityOp

    encode, mask = _mrpro(given)
    regularised, y = encode.H @ mask @ encode + float(given["lam"]) * IdentityOp(), given["y"][:, :, None]
    return lambda: cg(regularised, encode.H(y)[0], max_iterations=30, tolerance=0.0)[0][:, 0, 0]


# bartorch: (coil, z, y, x), one image at a time


def bartorch_normal(given: dict[str, torch.Tensor]) -> Answer:
    from bartorch import linop

    shape = given["maps"].shape[-2:]
    masks = given["mask"][:, 0].to(torch.complex64).expand(-1, *shape)
    ops = [linop.CartesianSense(m, shape, pattern=w.contiguous()) for m, w in zip(given["maps"], masks, strict=True)]
    return lambda: torch.stack([op.normal(x) for op, x in zip(ops, given["x"][:, 0], strict=True)])


def bartorch_cg(given: dict[str, torch.Tensor]) -> Answer:
    from bartorch.apps import pics

    pairs = [(y[:, None], m[:, None]) for y, m in zip(given["y"], given["maps"], strict=True)]
    lam = float(given["lam"])
    return lambda: torch.stack([pics(y, m, l2=lam, maxiter=30, scaling=1.0).squeeze() for y, m in pairs])


def bartorch_espirit(given: dict[str, torch.Tensor]) -> Answer:
    from bartorch.tools import ecalib

    return lambda: ecalib(given["y"][0][:, None], maps=1, calib_size=(1, 24, 24), threshold=0.0004, crop=0.95).squeeze()


# BART: the program, files in and out included


def _cfl(name: Path, array: torch.Tensor) -> str:
    """Writes `(c, y, x)` as BART's column-major (x→1, y, x, c): readout first."""
    values = np.asarray(array, np.complex64)
    name.with_suffix(".hdr").write_text(
        "# Dimensions\n1 " + " ".join(str(n) for n in values.shape[:0:-1][::-1]) + f" {len(values)}\n"
    )
    values.transpose(0, 2, 1).tofile(name.with_suffix(".cfl"))
    return str(name)


def _read_cfl(name: Path) -> Any:
    sizes = [int(n) for n in name.with_suffix(".hdr").read_text().splitlines()[1].split()]
    flat = np.fromfile(name.with_suffix(".cfl"), np.complex64).reshape(sizes[3], sizes[2], sizes[1])
    return flat.transpose(0, 2, 1)


def _bart(given: dict[str, torch.Tensor], *command: str, maps: bool = True) -> Answer:
    folder = Path(tempfile.mkdtemp(prefix="bart-"))
    ys = [_cfl(folder / f"y{i}", y) for i, y in enumerate(given["y"])]
    names = [
        [y] + ([_cfl(folder / f"m{i}", m)] if maps else [])
        for i, (y, m) in enumerate(zip(ys, given["maps"], strict=True))
    ]

    def run() -> Any:
        for i, files in enumerate(names):
            subprocess.run(["bart", *command, *files, str(folder / f"x{i}")], check=True, stdout=subprocess.DEVNULL)
        return _stack([_read_cfl(folder / f"x{i}")[slice(None) if not maps else 0] for i in range(len(names))])

    return run


def bart_cg(given: dict[str, torch.Tensor]) -> Answer:
    return _bart(given, "pics", "-S", "-w", "1", "-i", "30", "-l2", "-r", str(float(given["lam"])))


def bart_l1(given: dict[str, torch.Tensor]) -> Answer:
    return _bart(given, "pics", "-S", "-w", "1", "-i", "30", "-l1", "-r", str(float(given["lam"])))


def bart_espirit(given: dict[str, torch.Tensor]) -> Answer:
    run = _bart(given, "ecalib", "-m", "1", "-r", "24", "-t", "0.0004", "-c", "0.95", maps=False)
    return lambda: run()[0]


WORKS: Works = {
    ("ambient-mri", "normal"): our_normal, ("ambient-mri", "cg"): our_cg, ("ambient-mri", "espirit"): our_espirit,
    ("ambient-mri", "l1"): our_l1, ("two bare FFTs", "normal"): bare_normal,
    ("sigpy", "normal"): sigpy_normal, ("sigpy", "cg"): sigpy_cg,
    ("sigpy", "espirit"): sigpy_espirit, ("sigpy", "l1"): sigpy_l1, ("deepinv", "normal"): deepinv_normal,
    ("deepinv", "cg"): deepinv_cg, ("mrpro", "normal"): mrpro_normal, ("mrpro", "cg"): mrpro_cg,
    ("bartorch", "normal"): bartorch_normal, ("bartorch", "cg"): bartorch_cg,
    ("bartorch", "espirit"): bartorch_espirit, ("BART", "cg"): bart_cg, ("BART", "l1"): bart_l1,
    ("BART", "espirit"): bart_espirit,
}  # fmt: skip
