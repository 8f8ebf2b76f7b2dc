"""Muon in float32: steps along the orthogonal factor of each weight matrix's momentum.

`torch.optim.Muon` iterates in bfloat16, which processors without it emulate: it took as long as the rest of a
training step. Equal shapes are iterated together here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

ITERATIONS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
"""Quintic iteration that brings singular values to about 1 ± .3 (Jordan et al. 2024, Muon)."""


def orthogonal_factor(matrices: Tensor) -> Tensor:
    """About UVᵀ of each USVᵀ, `(k, m, n)`; a matrix of zeros stays zero.

    Every step multiplies by a polynomial of the Gram matrix of the shorter side, so that the steps are taken there
    and the long side enters two products only.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
    gram = x @ x.mT
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device).expand_as(gram)
    factor, (a, b, c) = identity, COEFFICIENTS
    for _ in range(ITERATIONS):
        step = a * identity + torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor, gram = step @ factor, step @ gram @ step
    orthogonal: Tensor = factor @ x
    return orthogonal.mT if tall else orthogonal


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised (Jordan et al. 2024); updates have the size of AdamW's (Liu et al. 2025, eq. 4).

    Parameters
    ----------
    matrices
        Weights of two or more dimensions; a kernel `(out, in, y, x)` is the matrix `(out, in·y·x)`.
    lr
        Learning rate in AdamW's units.
    momentum
        Nesterov's.
    update_rms
        Root mean square of an update in units of `lr`. AdamW's are about .2; .4 to .6 train this network better.
    """

    def __init__(
        self, matrices: Iterable[nn.Parameter], lr: float, *, momentum: float = 0.95, update_rms: float = 0.5
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "update_rms": update_rms})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient are left alone."""
        for group in self.param_groups:
            same: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    same[(parameter.shape[0], parameter[0].numel())].append(parameter)
            for shape, parameters in same.items():
                self._update(group, max(shape), parameters)

    def _update(self, group: dict[str, Any], longest: int, parameters: Sequence[nn.Parameter]) -> None:
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum"] for parameter in parameters]
        slopes = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_lerp_(buffers, slopes, 1 - group["momentum"])
        looked_ahead = torch._foreach_lerp(slopes, buffers, group["momentum"])
        size = group["lr"] * group["update_rms"] * longest**0.5  # entries of an m × n factor have rms 1/√max(m, n)
        factors = size * orthogonal_factor(torch.stack([matrix.flatten(1) for matrix in looked_ahead]))
        torch._foreach_sub_(list[Tensor](parameters), [f.view_as(p) for f, p in zip(factors, parameters, strict=True)])
