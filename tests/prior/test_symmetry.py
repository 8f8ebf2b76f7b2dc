"""A moved scan is the scan of the moved image: the same masks, weights and maps, for all sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ambient_mri.corruption import FurtherCorruption
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.facts import SymmetryFacts
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked, SigpyEncoding
from ambient_mri.patterns import Pixels, RandomLines
from ambient_mri.prior.bundle import about_data, load_bundle
from ambient_mri.prior.shipped import located
from ambient_mri.prior.steps import draw
from ambient_mri.prior.symmetry import STILL, Averaged, Move, mirror, move, positions, ramp
from ambient_mri.randomness import stream
from ambient_mri.reconstruction.methods import reconstruction
from ambient_mri.sampling.a_fill import a_fill, completed
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.proper import Ambient
from ambient_mri.solvers import Resolvent

LAW = SymmetryFacts(mirror=True, shift=3)


def scans(shape: tuple[int, int], domain: str, count: int = 6) -> tuple[Measurement, Tensor]:
    """Noiseless scans of random pictures, and those pictures."""
    pattern = RandomLines(2.0, 0.2) if domain == "kspace" else Pixels(0.5)
    acquisition = Acquisition(pattern=pattern, domain=domain, coils=3 if domain == "kspace" else 1, noise_std=0.0,
                              phase="none", sensitivity_maps="known")  # fmt: skip
    pictures = [torch.rand(shape, generator=stream(3, "test", k)) for k in range(count)]
    simulated = [simulate_scan(picture, acquisition, f"s{k}") for k, picture in enumerate(pictures)]
    return collate([scan.measurement for scan in simulated]), torch.cat([scan.truth for scan in simulated])


def law_of(domain: str) -> FurtherCorruption:
    return FurtherCorruption(RandomLines(2.0, 0.2) if domain == "kspace" else Pixels(0.5), (0.5, 0.8))


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(8, 17), columns=st.integers(8, 17), domain=st.sampled_from(["kspace", "image"]))
def test_a_moved_scan_measures_the_moved_image(rows: int, columns: int, domain: str) -> None:
    measurement, truth = scans((rows, columns), domain)
    rngs = [stream(0, "test", i) for i in range(len(measurement))]
    drawn = draw(measurement, law_of(domain), rngs)
    # Where the image went: the same moves, applied to the truth as pixels.
    as_pixels = replace(measurement, y=truth, mask=torch.ones_like(truth, dtype=torch.bool), domain="image")
    states = [rng.get_state() for rng in rngs]
    moved, after = move(measurement, drawn, LAW, rngs)
    for rng, state in zip(rngs, states, strict=True):
        rng.set_state(state)
    image = move(as_pixels, drawn, LAW, rngs)[0].y

    assert not torch.allclose(image, truth)
    torch.testing.assert_close(moved.operator().forward(image), moved.without_unmeasured().y, atol=2e-5, rtol=0)
    assert not bool((after.further.operator.mask & ~moved.mask).any())
    torch.testing.assert_close(
        after.further.weight.flatten(1).sort().values, drawn.further.weight.flatten(1).sort().values
    )
    assert bool(((after.further.weight > 0) == moved.mask).all())  # weights stay with their samples


def test_padding_is_mirrored_with_the_lines_that_were_acquired() -> None:
    measurement, _ = scans((8, 16), "kspace")
    acquired = (torch.arange(16) >= 5).expand(len(measurement), 1, 1, -1)
    padded = replace(measurement, mask=measurement.mask & acquired, acquired=acquired)
    rngs = [stream(0, "test", i) for i in range(len(measurement))]
    moved, _ = move(padded, draw(padded, law_of("kspace"), rngs), LAW, rngs)
    assert moved.acquired is not None
    assert not torch.equal(moved.acquired, acquired)
    assert not bool((moved.mask & ~moved.acquired).any())


def test_all_moves_occur_and_each_sample_has_its_own() -> None:
    measurement, _ = scans((12, 12), "kspace", 1)
    batch = measurement[[0] * 64]
    rngs = [stream(1, "test", i) for i in range(64)]
    drawn = draw(batch, law_of("kspace"), rngs)
    moved, _ = move(batch, drawn, LAW, rngs)
    kinds = {tuple(maps.abs().flatten().mul(1e3).round().tolist()) for maps in moved.sensitivity_maps}  # type: ignore[union-attr]
    assert 30 < len(kinds) <= 2 * 7 * 7


def test_a_sample_does_not_depend_on_the_batch_it_is_in() -> None:
    measurement, _ = scans((12, 12), "kspace")
    law = law_of("kspace")

    def moved(rows: list[int]) -> Tensor:
        rngs = [stream(0, "test", 5, i) for i in rows]
        part = measurement[rows]
        return move(part, draw(part, law, rngs), LAW, rngs)[0].y

    assert torch.equal(moved([2, 3, 4])[1], moved([3])[0])


def test_without_moves_nothing_changes() -> None:
    measurement, _ = scans((9, 12), "kspace")
    rngs = [stream(0, "test", i) for i in range(len(measurement))]
    drawn = draw(measurement, law_of("kspace"), rngs)
    moved, after = move(measurement, drawn, SymmetryFacts(), rngs)
    torch.testing.assert_close(moved.y, measurement.y)
    assert torch.equal(after.further.weight, drawn.further.weight)


@pytest.mark.parametrize("n", [7, 8])
def test_the_moves_of_kspace_are_those_of_the_image(n: int) -> None:
    from ambient_mri.fourier import fft2c

    image = torch.randn(n, n, dtype=torch.complex64)
    torch.testing.assert_close(fft2c(mirror(image)), mirror(fft2c(image)), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        fft2c(image.roll((2, -1), (0, 1))), ramp((n, n), 2, -1) * fft2c(image), atol=1e-5, rtol=0
    )


class Gaussian:
    """The posterior mean for white images: as symmetric as can be."""

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return Resolvent(given, sigma[:, None, None, None])(x_in)


class Leaning(Gaussian):
    """Wrong by what depends on where an image lies on the grid."""

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        lean = torch.linspace(0, 1, x_in.shape[-1]) + (torch.arange(x_in.shape[-1]) % 2)
        return super().denoise(x_in, sigma, given) + lean


MOVES = st.builds(Move, st.booleans(), st.integers(-3, 3), st.integers(-3, 3))


@settings(deadline=None, max_examples=15)
@given(rows=st.integers(8, 17), columns=st.integers(8, 17), domain=st.sampled_from(["kspace", "image"]), one=MOVES)
def test_symmetric_answers_do_not_depend_on_the_position(rows: int, columns: int, domain: str, one: Move) -> None:
    """Operator, answer and way back fit together: else the mean of several positions would be of several scans."""
    measurement, truth = scans((rows, columns), domain)
    A, sigma = measurement.operator(), torch.full((len(measurement),), 0.1)
    torch.testing.assert_close(one.back(one.image(truth)), truth)
    x_in = A.adjoint(measurement.y)
    direct = Gaussian().denoise(x_in, sigma, A)
    torch.testing.assert_close(Averaged(Gaussian(), (one,)).denoise(x_in, sigma, A), direct, atol=2e-4, rtol=0)
    averaged = Averaged(Gaussian(), positions(LAW)).denoise(x_in, sigma, A)
    torch.testing.assert_close(averaged, direct, atol=2e-4, rtol=0)


def test_what_leans_with_the_position_is_averaged_away() -> None:
    measurement, _ = scans((12, 12), "kspace")
    A, sigma = measurement.operator(), torch.full((len(measurement),), 0.1)
    x_in = A.adjoint(measurement.y)
    direct = Gaussian().denoise(x_in, sigma, A)
    wrong = [
        (prior.denoise(x_in, sigma, A) - direct).std() for prior in (Leaning(), Averaged(Leaning(), positions(LAW)))
    ]
    assert wrong[1] < 0.5 * wrong[0]


class Watched(Gaussian):
    """Keeps the masks that it is shown."""

    def __init__(self) -> None:
        self.masks: list[Tensor] = []

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        self.masks.append(given.mask)
        return super().denoise(x_in, sigma, given)


@pytest.mark.parametrize("domain", ["kspace", "image"])
def test_evaluations_of_a_fill_look_at_positions_in_turns(domain: str) -> None:
    measurement, _ = scans((12, 16), domain)
    observed, images, seen = Observation.of(measurement), [], []
    for moves in ((STILL,), positions(LAW)):
        watched, rngs = Watched(), [torch.Generator().manual_seed(k) for k in range(len(measurement))]
        law = completed(RandomLines(2, 0.1) if domain == "kspace" else Pixels(0.5))
        images.append(a_fill(Ambient(watched, law, moves), observed, rngs, [0.3, 0.2, 0.1, 0.05], strength=1e-3))
        seen.append(watched.masks)
    torch.testing.assert_close(images[1], images[0], atol=2e-3, rtol=0)  # this prior knows no position
    for k, position in enumerate([*positions(LAW), STILL]):
        moved = position.lines if domain == "kspace" else position.image
        assert torch.equal(seen[1][k], moved(seen[0][k])), k
    assert not torch.equal(seen[1][1], seen[0][1])


def test_positions_are_those_of_the_law() -> None:
    assert positions(None) == (STILL,)
    assert positions(SymmetryFacts()) == (Move(False, 0, 0),)
    assert positions(SymmetryFacts(mirror=True)) == (Move(False, 0, 0), Move(True, 0, 0))
    assert positions(SymmetryFacts(shift=4)) == (Move(False, 0, 0), Move(False, 1, 1))
    assert len(set(positions(LAW))) == 4


def test_a_model_that_saw_nothing_moved_is_not_asked_about_moved_scans() -> None:
    spec = load_spec("brain_demo").model_copy(update={"symmetry": LAW})
    assert about_data(spec, open_scans(spec, "validation", limit=1))["symmetry"] == LAW, "the card states it"
    bundle = load_bundle(located("brain_flair_64"))
    assert reconstruction("one-step-averaged", bundle).evaluations == 4
    still = replace(bundle, card=bundle.card.model_copy(update={"symmetry": None}))
    with pytest.raises(InputError, match="states no symmetry"):
        reconstruction("one-step-averaged", still)


def test_scans_off_the_grid_are_not_moved() -> None:
    from sigpy.linop import Identity

    A = Masked(SigpyEncoding(Identity((8, 8)), 1.0), torch.ones(1, 1, 8, 8, dtype=torch.bool))
    with pytest.raises(InputError, match="off the grid"):
        Move(True, 0, 0).operator(A)
