"""Laws of sampling: what they draw, how often, and what is known of A once Ã is seen."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from ambient_mri.errors import InputError
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
from ambient_mri.patterns.cartesian import Cartesian
from tests.laws.expectation import check_conditional_mean, check_mean
from tests.laws.reproducibility import check_reproducible

PATTERNS: dict[str, Pattern] = {
    "pixels": Pixels(0.4),
    "block": Blocks(0.3, 0.4),
    "blocks": Blocks(0.2, 0.2, 3),
    "random lines": RandomLines(3),
    "equispaced lines": EquispacedLines(3),
    "gaussian lines": GaussianLines(3),
    "random points": RandomPoints(3),
    "poisson disc": PoissonDisc(3),
    "empirical lines": EmpiricalLines(tuple(min(0.25 + 0.06 * i, 1.0) for i in range(21))),
    "fully sampled": FullySampled(RandomLines(3)),
}
BY_LINES = {"random lines", "equispaced lines", "gaussian lines", "empirical lines", "fully sampled"}
ALWAYS_DROPS = {"pixels", "random lines", "equispaced lines", "random points", "poisson disc", "fully sampled"}
SHAPE = (17, 21)


def _rng(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 0.95))
def test_every_draw_obeys(name: str, seed: int, keep: float) -> None:
    pattern, rng = PATTERNS[name], _rng(seed)
    mask = pattern.draw(SHAPE, rng)
    assert mask.dtype == torch.bool
    assert mask.shape == ((1, SHAPE[1]) if name in BY_LINES else SHAPE)
    probability, calibration = pattern.probability(SHAPE), pattern.calibration(SHAPE)
    assert probability.shape == calibration.shape == mask.shape
    assert probability.dtype == torch.float32
    assert bool((probability >= 0).all())
    assert bool((probability <= 1).all())
    assert bool((probability[calibration] == 1).all())
    assert bool(mask[calibration].all())
    assert not bool(mask[probability == 0].any())

    shown = pattern.thin(mask, keep, rng)
    assert not bool((shown & ~mask).any()), "D cannot measure what A did not"
    if name in ALWAYS_DROPS:
        assert bool((mask & ~shown).any()), "D dropped nothing"
    if name not in ("block", "blocks"):
        assert bool(shown[calibration].all())
    q = pattern.given(shown, mask, keep)
    assert q.shape == mask.shape
    assert bool(((q >= 0) & (q <= 1 + 1e-6)).all())
    assert bool((q[shown] == 1).all())
    if name != "blocks":  # what A measured was possible
        assert bool((q[mask] > 0).all())


@pytest.mark.parametrize("name", PATTERNS)
def test_draws_are_reproducible(name: str) -> None:
    pattern = PATTERNS[name]

    def draw(rngs: Sequence[Generator]) -> Tensor:
        return torch.stack([pattern.thin(pattern.draw(SHAPE, rng), 0.6, rng) for rng in rngs])

    check_reproducible(draw)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("shape", [(6, 21), (5, 14)])
def test_inclusion_probabilities_by_monte_carlo(name: str, shape: tuple[int, int]) -> None:
    pattern, rng = PATTERNS[name], _rng(1)
    if name == "empirical lines":
        pattern = EmpiricalLines(tuple(torch.linspace(0.2, 1.0, shape[1]).tolist()))
    masks = torch.stack([pattern.draw(shape, rng) for _ in range(150 if name == "poisson disc" else 1500)]).float()
    # the probabilities of Poisson discs are themselves an estimate from 200 draws
    slack = 4.5 * (0.25 / 200) ** 0.5 if name == "poisson disc" else 1e-6
    check_mean(masks, pattern.probability(shape).double(), slack=slack)


TINY: dict[str, tuple[Pattern, tuple[int, int], float]] = {
    "random lines": (RandomLines(2, 0.25), (2, 8), 0.5),
    "random lines, no calibration": (RandomLines(2, 0.0), (1, 6), 0.4),
    "pixels": (Pixels(0.4), (2, 3), 0.6),
    "gaussian lines": (GaussianLines(2, 0.15), (1, 7), 0.5),
    "equispaced lines": (EquispacedLines(2, 0.1), (1, 9), 0.6),
    "equispaced lines, R=3": (EquispacedLines(3, 0.0), (1, 9), 0.4),
    "random points": (RandomPoints(2, 0.3), (3, 3), 0.6),
    "empirical lines": (EmpiricalLines((0.3, 0.6, 1.0, 1.0, 0.5)), (1, 5), 0.6),
    "block": (Blocks(0.5, 0.5), (4, 4), 0.5),
    "wide block": (Blocks(0.34, 0.67), (3, 3), 0.5),
}


@pytest.mark.parametrize("name", TINY)
def test_given_is_the_conditional_probability_by_brute_force(name: str) -> None:
    """E[A_j - q_j | Ã] = 0 and E[A_j / q_j | Ã] = 1 (where q_j > 0), for each Ã that is drawn often."""
    pattern, shape, keep = TINY[name]
    rng = _rng(2)

    def draw(_: int) -> tuple[Tensor, Tensor]:
        measured = pattern.draw(shape, rng)
        shown = pattern.thin(measured, keep, rng)
        q = pattern.given(shown, measured, keep)
        ratio = torch.where(q > 0, measured / q.clamp_min(1e-9) - 1, 0.0)
        return shown, torch.stack([measured.float() - q, ratio])

    draws = 2500 if isinstance(pattern, GaussianLines) else 5000  # whose probabilities are costly
    assert check_conditional_mean(draw, draws) >= 3


def test_brute_force_has_the_power_to_say_no() -> None:
    """The unconditional probability P(A_j) in the place of P(A_j | Ã): what the public code comes to."""
    pattern, rng = RandomLines(2, 0.25), _rng(2)

    def draw(_: int) -> tuple[Tensor, Tensor]:
        measured = pattern.draw((2, 8), rng)
        shown = pattern.thin(measured, 0.5, rng)
        return shown, measured.float() - torch.where(shown, 1.0, pattern.probability((2, 8)))

    with pytest.raises(AssertionError, match="standard errors"):
        check_conditional_mean(draw, 3000)


def test_several_blocks_are_approximate_in_a_known_direction() -> None:
    """With two blocks q = ½ holds where exactly one of the two sets covers; where both do, A cannot have measured."""
    pattern, rng, rows = Blocks(0.4, 0.4, 2), _rng(3), []
    for _ in range(3000):
        measured, other = pattern.draw((5, 5), rng), pattern.draw((5, 5), rng)
        q = pattern.given(measured & other, measured, 0.5)
        one = measured ^ other
        rows.append(torch.where(one, measured.float() - q, 0.0))
    check_mean(torch.stack(rows), 0.0)


@pytest.mark.parametrize("acceleration", [2, 4, 8])
def test_acceleration_counts_the_calibration(acceleration: int) -> None:
    for pattern in (RandomLines(acceleration), GaussianLines(acceleration)):
        assert float(pattern.probability((64, 64)).sum()) == pytest.approx(64 / acceleration, abs=0.01)
    points = RandomPoints(acceleration, 0.1).draw((64, 64), _rng(0))
    assert int(points.sum()) == 64 * 64 // acceleration
    disc = PoissonDisc(acceleration, 0.1).draw((32, 32), _rng(0))
    assert int(disc.sum()) == 32 * 32 // acceleration


def test_calibration_is_around_the_centre() -> None:
    for size in (16, 17):
        inside = RandomLines(2, 0.2).calibration((4, size))[0].nonzero().flatten()
        assert inside.tolist() == list(range(size // 2 - 1, size // 2 - 1 + len(inside)))
    square = RandomPoints(2, 0.25).calibration((16, 12))
    assert square[8, 6]
    assert int(square.sum()) == 4 * 3


def test_poisson_disc_points_keep_apart() -> None:
    pattern, radii = PoissonDisc(8, 0.0), []
    for points in (pattern.draw((32, 32), _rng(0)), RandomPoints(8, 0.0).draw((32, 32), _rng(0))):
        places = points.nonzero().float()
        distance = torch.cdist(places, places).fill_diagonal_(torch.inf)
        radii.append(float(distance.amin(1).min()))
    assert radii[0] >= 1.5
    assert radii[0] > radii[1]


def test_equispaced_lines_are_combs() -> None:
    pattern = EquispacedLines(4, 0.0)
    for seed in range(8):
        lines = pattern.draw((8, 32), _rng(seed))[0].nonzero().flatten()
        assert set(lines.diff().tolist()) == {4}


def test_one_shown_line_of_a_comb_reveals_the_others() -> None:
    pattern = EquispacedLines(4, 0.0)
    measured = pattern.draw((8, 32), _rng(1))
    shown = pattern.thin(measured, 0.5, _rng(2))
    assert torch.equal(pattern.given(shown, measured, 0.5), measured.float())


def test_fully_sampled_is_thinned_like_its_law() -> None:
    law, pattern = RandomLines(4), FullySampled(RandomLines(4))
    measured = pattern.draw((8, 64), _rng(0))
    assert bool(measured.all())
    shown = pattern.thin(measured, 0.5, _rng(1))
    assert int(shown.sum()) == int(law.thin(law.draw((8, 64), _rng(2)), 0.5, _rng(3)).sum())
    assert bool((pattern.given(shown, measured, 0.5) == 1).all())


def test_empirical_lines_are_frequencies() -> None:
    masks = torch.stack([RandomLines(2, 0.25).draw((4, 16), _rng(i)) for i in range(50)])
    pattern = EmpiricalLines.of(masks)
    assert torch.allclose(pattern.probability((4, 16)), masks.float().mean(0))
    assert torch.equal(pattern.calibration((4, 16)), RandomLines(2, 0.25).calibration((4, 16)))
    with pytest.raises(InputError, match="16 line frequencies for 20"):
        pattern.probability((4, 20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pixels(0.0), "missing = 0.0"),
        (lambda: Pixels(1.5), "missing = 1.5"),
        (lambda: Blocks(1.0, 0.5), "block 1.0"),
        (lambda: Blocks(0.5, 0.5, 0), "x 0"),
        (lambda: RandomLines(0.5), "acceleration 0.5"),
        (lambda: GaussianLines(2, 1.0), "calibration_fraction 1.0"),
        (lambda: RandomLines(8, 0.3).draw((64, 64), _rng(0)), "leaves 0 units beyond 19 of calibration"),
        (lambda: EquispacedLines(8).probability((16, 16)), "leaves 1 units beyond 1 of calibration"),
        (lambda: GaussianLines(1.2, width=0.05).probability((64, 64)), "Gaussian lines of width 0.05 reach 28 of the"),
    ],
)
def test_impossible_laws_are_refused_in_one_line(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [RandomLines, EquispacedLines, RandomPoints, PoissonDisc])
def test_a_calibration_of_everything_leaves_nothing_to_draw(kind: type[Cartesian]) -> None:
    assert bool(kind(1, 0.99).draw((16, 17), _rng(0)).all())
