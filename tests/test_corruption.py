"""A and D: weights, reproducibility, and the figures by which training is allowed or refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.corruption import (
    MAX_WEIGHT,
    Corruption,
    FurtherCorruption,
    Identifiability,
    MixedCorruption,
    _smallest_eigenvalue,
    identifiability,
)
from ambient_mri.operators import Encoding, Fourier, Identity, Masked, Sense
from ambient_mri.patterns import (
    Blocks,
    EmpiricalLines,
    EquispacedLines,
    FullySampled,
    GaussianLines,
    Pattern,
    Pixels,
    PoissonDisc,
    RandomLines,
    RandomPoints,
)
from tests.laws.expectation import check_conditional_mean, check_mean, generators
from tests.laws.operators import dense
from tests.laws.reproducibility import check_reproducible

KEEP = (0.3, 0.9)


def _birdcage(size: int, coils: int = 4) -> Tensor:
    import sigpy.mri as mr

    maps = torch.tensor(mr.birdcage_maps((coils, size, size)).astype("c8"))[None]
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


def _identifiability(pattern: Pattern, encoding: Encoding, size: int = 64) -> Identifiability:
    return identifiability(
        FurtherCorruption(pattern, (0.5, 0.9)), encoding, (size, size), Generator().manual_seed(0), draws=6
    )


@pytest.mark.parametrize(
    "pattern", [RandomLines(3), Pixels(0.5), GaussianLines(3), RandomPoints(3), Blocks(0.3, 0.3)], ids=repr
)
def test_a_and_d_are_reproducible_whatever_the_batches(pattern: Pattern) -> None:
    def draw(rngs: Sequence[Generator]) -> Tensor:
        A = Corruption(pattern).draw(Identity(), (15, 22), rngs)
        further = FurtherCorruption(pattern, KEEP).draw(A, rngs)
        return torch.cat([A.mask.float(), further.operator.mask.float(), further.weight], 1)

    check_reproducible(draw)


def test_weights_are_one_where_shown_inverse_probability_where_hidden_zero_elsewhere() -> None:
    rngs = generators(0, 8)
    pattern = RandomLines(4)
    A = Corruption(pattern).draw(Fourier(), (8, 64), rngs)
    further = FurtherCorruption(pattern, KEEP).draw(A, rngs)
    measured, shown, weight = A.mask, further.operator.mask, further.weight
    assert A.mask.shape == shown.shape == weight.shape == (8, 1, 1, 64)
    assert bool((weight[shown] == 1).all())
    assert bool((weight[~measured] == 0).all())
    for i in range(8):
        hidden = measured[i] & ~shown[i]
        dropped, others = int(hidden.sum()), int((~pattern.calibration((8, 64))).sum())
        kept = int((shown[i] & ~pattern.calibration((8, 64))).sum())
        assert torch.allclose(weight[i][hidden], torch.tensor((others - kept) / dropped))


def test_weights_are_unbiased_when_the_rate_of_d_is_drawn_too() -> None:
    """E[W_j 1(A_j) | Ã] = 1 for everything Ã does not show, with independent lines and D's rate from a range."""
    pattern = GaussianLines(2, 0.15)
    law = FurtherCorruption(pattern, KEEP)
    rng = Generator().manual_seed(4)

    def draw(_: int) -> tuple[Tensor, Tensor]:
        further = law.draw(Corruption(pattern).draw(Fourier(), (1, 7), [rng]), [rng])
        return further.operator.mask, further.weight - 1

    assert check_conditional_mean(draw, 2500) >= 5


@pytest.mark.parametrize(
    "pattern",
    [RandomLines(2), RandomLines(8), EquispacedLines(4), Pixels(0.9), Pixels(0.1), RandomPoints(4), PoissonDisc(4),
     RandomLines(1), FullySampled(RandomLines(4))],
    ids=repr,
)  # fmt: skip
def test_d_drops_something_at_every_draw(pattern: Pattern) -> None:
    count = 4 if isinstance(pattern, PoissonDisc) else 40
    for keep in ((0.05, 0.1), (0.99, 1.0)):
        rngs = generators(3, count)
        A = Corruption(pattern).draw(Fourier(), (32, 64), rngs)
        further = FurtherCorruption(pattern, keep).draw(A, rngs)
        hidden = A.mask & ~further.operator.mask
        assert bool(hidden.flatten(1).any(1).all())


def test_weights_belong_to_the_rate_that_was_drawn() -> None:
    """Many lines tell the rate of D almost exactly, so a weight for its average would be wrong in every draw."""
    pattern, rngs = EmpiricalLines((0.5,) * 64), generators(6, 500)
    A = Corruption(pattern).draw(Fourier(), (1, 64), rngs)
    further = FurtherCorruption(pattern, (0.1, 0.9)).draw(A, rngs)
    hidden = ~further.operator.mask
    excess = ((further.weight - 1) * hidden).mean((1, 2, 3))
    shown = further.operator.mask.float().mean((1, 2, 3))
    check_mean(torch.stack([excess, excess * (shown - shown.mean())], 1), 0.0)


def test_d_is_redrawn_and_its_rate_covers_the_range() -> None:
    pattern = RandomLines(2, 0.0)
    rng = Generator().manual_seed(0)
    A = Corruption(pattern).draw(Fourier(), (4, 64), [rng])
    masks = [FurtherCorruption(pattern, (0.2, 0.9)).draw(A, [rng]).operator.mask for _ in range(60)]
    rates = torch.stack([mask.sum() / A.mask.sum() for mask in masks])
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 60
    assert 0.17 < float(rates.min()) < 0.3
    assert 0.8 < float(rates.max()) < 0.94


def test_weights_are_clipped_and_finite_where_nothing_could_be_measured() -> None:
    pattern = Blocks(0.6, 0.6)  # two such blocks always overlap
    rngs = generators(0, 20)
    A = Corruption(pattern).draw(Identity(), (10, 10), rngs)
    further = FurtherCorruption(pattern, KEEP).draw(A, rngs)
    assert bool(torch.isfinite(further.weight).all())
    assert float(further.weight.max()) <= MAX_WEIGHT
    assert set(further.weight.unique().tolist()) == {0.0, 1.0, 2.0}


def test_weights_stay_on_the_device_of_the_mask_and_the_operator_keeps_its_encoding() -> None:
    encoding = Sense(_birdcage(16))
    rngs = generators(0, 2)
    A = Corruption(RandomLines(2)).draw(encoding, (16, 16), rngs)
    assert FurtherCorruption(RandomLines(2), KEEP).draw(A, rngs).operator.encoding is encoding


def test_conditional_second_moment_at_high_acceleration() -> None:
    """Mean weight over what Ã hides is 1 at R = 8 as well, where single weights reach tens."""
    pattern, rngs = RandomLines(8), generators(5, 400)
    A = Corruption(pattern).draw(Fourier(), (1, 64), rngs)
    further = FurtherCorruption(pattern, KEEP).draw(A, rngs)
    assert 20 < float(further.weight.max()) < MAX_WEIGHT
    hidden = ~further.operator.mask
    check_mean((further.weight * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3)), 1.0, slack=1e-5)


@pytest.mark.parametrize("pattern", [RandomLines(4), PoissonDisc(4), GaussianLines(4, width=0.3)], ids=repr)
def test_weights_are_unbiased_where_a_scan_was_padded_with_empty_lines(pattern: Pattern) -> None:
    """Padding is no candidate: counted as one, what D hid would weigh 1.2 times too much."""
    shape, count = (16, 48), 60 if isinstance(pattern, PoissonDisc) else 400
    acquired = torch.zeros(1, 48, dtype=torch.bool)
    acquired[:, 5:43] = True
    rngs = generators(5, count)
    A = Corruption(pattern).draw(Fourier(), shape, rngs)
    A = Masked(A.encoding, A.mask & acquired)
    each = acquired.expand(count, 1, 1, 48)
    further = FurtherCorruption(pattern, KEEP).draw(A, rngs, None, each)
    hidden = ~further.operator.mask & acquired
    check_mean((further.weight * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3)), 1.0, slack=2e-3)
    assert bool((further.weight[..., ~acquired[0]] == 0).all())
    mixed = MixedCorruption((FurtherCorruption(pattern, KEEP),)).draw(A, generators(6, count), None, each)
    again = FurtherCorruption(pattern, KEEP).draw(A, generators(6, count), None, each)
    assert torch.equal(mixed.weight, again.weight)


def test_rare_lines_weigh_no_more_than_the_largest_weight() -> None:
    """At R = 250 of 1000 lines one that D hid would weigh 997, and a training follow a single sample."""
    law, rng = FurtherCorruption(RandomLines(250, 0.0), (0.75, 0.75)), Generator().manual_seed(0)
    shown, weight = law.thinned(law.pattern.draw((1, 1000), rng), rng)
    assert int(shown.sum()) == 3
    assert float(weight.max()) == MAX_WEIGHT


def test_lines_that_no_scanner_measures_are_not_asked_for() -> None:
    """Frequencies of padded files are 0 outside the band: nothing there could be learned, and nothing has to be."""
    acquired = torch.zeros(1, 48, dtype=torch.bool)
    acquired[:, 8:40] = True
    law = FurtherCorruption(EmpiricalLines(tuple(0.5 * acquired[0].float())), (0.5, 0.9))
    assert not identifiability(law, Fourier(), (4, 48), Generator().manual_seed(0), acquired=acquired).refused
    assert identifiability(law, Fourier(), (4, 48), Generator().manual_seed(0)).refused


def test_identifiability_asks_for_the_band_that_the_scanner_measures() -> None:
    """The same lines with and without padding around them teach as well."""
    acquired = torch.zeros(1, 48, dtype=torch.bool)
    acquired[:, 8:40] = True
    law = FurtherCorruption(RandomLines(4, 0.1), (0.5, 0.9))
    padded = identifiability(law, Fourier(), (4, 48), Generator().manual_seed(0), acquired=acquired)
    assert not padded.refused
    assert padded.lambda_min == pytest.approx(_identifiability(RandomLines(4, 0.1), Fourier(), 32).lambda_min, rel=0.5)
    comb = FurtherCorruption(EquispacedLines(4, 0.1), (0.5, 0.9))
    assert identifiability(comb, Fourier(), (4, 48), Generator().manual_seed(0), acquired=acquired).refused


@pytest.mark.parametrize(
    ("pattern", "coils", "expected", "verdict"),
    [
        (EquispacedLines(2, 0.0), 1, 0.0, "refused"),
        (EquispacedLines(4), 1, 0.0, "refused"),
        (RandomLines(4), 1, 0.0588, "fine"),
        (RandomLines(8), 4, 0.0175, "fine"),
        (EquispacedLines(2, 0.0), 4, 0.100, "fine"),
        (EquispacedLines(4, 0.0), 4, 3.85e-5, "warned"),
        (EquispacedLines(8, 0.0), 4, 0.0, "refused"),
        (EquispacedLines(4), 4, 0.0, "refused"),  # lines for the calibration leave a comb of every fifth
        (Pixels(0.5), 0, None, "fine"),
        (Blocks(0.3, 0.3), 0, None, "warned"),  # some draws overlap
        (Blocks(0.6, 0.6), 0, 0.0, "refused"),  # all do
        (Blocks(0.6, 0.6, 2), 0, 0.0, "refused"),
        (Blocks(0.3, 0.3, 2), 0, None, "fine"),
    ],
    ids=str,
)
def test_identifiability(pattern: Pattern, coils: int, expected: float | None, verdict: str) -> None:
    encoding: Encoding = Sense(_birdcage(64)) if coils > 1 else Fourier() if coils else Identity()
    found = _identifiability(pattern, encoding)
    assert (found.refused, found.warned) == {
        "fine": (False, False), "warned": (False, True), "refused": (True, True)
    }[verdict]  # fmt: skip
    assert found.worst <= found.lambda_min + 1e-9
    assert found.lambda_min <= found.best + 1e-9
    if expected is not None:
        assert found.lambda_min == pytest.approx(expected, rel=0.02, abs=1e-6)
    words = {"fine": "identifiable", "warned": "unidentifiable", "refused": "no amount of scans"}[verdict]
    assert words in found.explain()
    assert "\n" not in found.explain()


@pytest.mark.parametrize("pattern", [EquispacedLines(2, 0.0), EquispacedLines(4, 0.0), RandomLines(3)], ids=repr)
@pytest.mark.parametrize("kind", ["one coil", "four coils", "support"])
def test_eigenvalue_of_lines_equals_a_dense_eigensolver(pattern: Pattern, kind: str) -> None:
    shape, rng = (12, 16), Generator().manual_seed(1)
    maps = _birdcage(16)[:, :, 2:14]
    inside = torch.ones(12, 16, dtype=torch.bool)
    if kind == "support":
        inside[:, :4], inside[0] = False, False
        maps = maps * inside
    encoding: Encoding = Fourier() if kind == "one coil" else Sense(maps)
    measured = pattern.draw(shape, rng)
    shown = pattern.thin(measured, 0.6, rng)
    q = pattern.given(shown, measured, 0.6)
    matrix = dense(encoding, shape).to(torch.complex128)
    weights = q.expand(shape).repeat(len(matrix) // 192, 1, 1).flatten().to(torch.complex128)
    normal = (matrix.mH @ (weights[:, None] * matrix))[inside.flatten()][:, inside.flatten()]
    exact = max(float(torch.linalg.eigvalsh(normal)[0]), 0.0)
    assert _smallest_eigenvalue(encoding, q[None, None], shape, rng) == pytest.approx(exact, abs=3e-7)


def test_eigenvalue_of_points_by_lanczos() -> None:
    """Pixels and points in k-space of one coil: λ_min is the smallest q."""
    for encoding in (Identity(), Fourier()):
        q = torch.where(torch.rand(16, 16, generator=Generator().manual_seed(0)) < 0.5, 1.0, 0.03)
        found = _smallest_eigenvalue(encoding, q[None, None], (16, 16), Generator().manual_seed(0))
        assert found == pytest.approx(0.03, abs=1e-6)
