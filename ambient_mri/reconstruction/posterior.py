"""Posterior samplers as methods of reconstruction: which prior each takes, how many evaluations, how many samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.prior.preconditioning import LOWEST_SIGMA
from ambient_mri.prior.symmetry import positions
from ambient_mri.reconstruction.estimates import Solve
from ambient_mri.sampling import a_dps, a_fill, ddrm, dds, dps, mmps
from ambient_mri.sampling.annealing import affordable, schedule
from ambient_mri.sampling.ensemble import Ensemble, Sampler, ensemble
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.prior_samples import SIGMA_MAX
from ambient_mri.sampling.proper import Ambient, ambient_network, proper_prior, require_all_levels

if TYPE_CHECKING:
    from ambient_mri.prior.bundle import Bundle

SAMPLES = 8
ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Kind:
    """One sampler.

    Parameters
    ----------
    corrections
        See `annealing.schedule`.
    nfe
        Network evaluations a sample, unless stated otherwise.
    high
        Noise level where sampling starts.
    ambient
        Whether it takes an ambient prior; the others take a proper one.
    before
        Evaluations before the first noise level.
    derivative
        Whether it asks for derivatives of the network, which have to be kept room for.
    """

    sampler: Sampler
    corrections: int
    nfe: int
    high: float = SIGMA_MAX
    ambient: bool = False
    before: int = 0
    derivative: bool = False


KINDS = {
    "a-fill": Kind(a_fill.a_fill, a_fill.CORRECTIONS, 5, a_fill.HIGHEST, ambient=True, before=1),
    "a-dps": Kind(a_dps.a_dps, a_dps.CORRECTIONS, 20, ambient=True, derivative=True),
    "dps": Kind(dps.dps, dps.CORRECTIONS, 100, derivative=True),
    "ddrm": Kind(ddrm.ddrm, ddrm.CORRECTIONS, 20),
    "dds": Kind(dds.dds, dds.CORRECTIONS, 100),
    "mmps": Kind(mmps.mmps, mmps.CORRECTIONS, 24, mmps.HIGHEST, derivative=True),
}


@dataclass(frozen=True)
class Sampling:
    """How many posterior samples to draw, and how.

    Parameters
    ----------
    samples
        K a slice; the image is their mean.
    nfe
        Network evaluations a sample; None: the method's own number.
    seconds
        Take as many evaluations as fit into this time a slice (all of its samples), instead of `nfe`.
    seed
        Of the draws, together with the identity of the scan.
    """

    samples: int = SAMPLES
    nfe: int | None = None
    seconds: float | None = None
    seed: int = 0

    def quick(self) -> Sampling:
        """At most two samples in their share of the time, to compare strengths with."""
        samples = min(2, self.samples)
        return replace(self, samples=samples, seconds=self.seconds and self.seconds * samples / self.samples)


class Posterior:
    """A sampler with its prior; calling it gives the mean of the samples.

    `at_once` rows, slices times samples, go through the network together; it changes no sample.

    Raises
    ------
    InputError
        If the model of the bundle is not of the kind that the sampler needs, or `sampling` cannot be.
    """

    def __init__(self, method: str, bundle: Bundle, sampling: Sampling) -> None:
        kind = KINDS[method]
        require_all_levels(bundle, method)
        self.method, self.kind, self.sampling = method, kind, sampling
        self.prior: object
        if kind.ambient:
            law = a_fill.completed(bundle.card.pattern())
            self.prior = Ambient(ambient_network(bundle), law, positions(bundle.card.symmetry))
        else:
            self.prior = proper_prior(bundle)
        self.low = max(bundle.card.noise_std, LOWEST_SIGMA)
        self.strength = bundle.card.consistency if method == "a-fill" else 1.0
        self.nfe = kind.nfe if sampling.nfe is None else sampling.nfe
        self.at_once = ROWS_AT_ONCE
        if self.nfe <= kind.before:
            raise InputError(f"{method} needs at least {kind.before + 1} network evaluations", where="nfe")

    @property
    def evaluations(self) -> int:
        """Network evaluations a slice: those of a sample times samples."""
        return self.nfe * self.sampling.samples

    def draw(self, measurement: Measurement, strength: float | None) -> Ensemble:
        """The samples of a batch. The first batch settles how many evaluations a time budget allows."""
        if self.sampling.seconds is not None:
            one, seconds = measurement[:1], self.sampling.seconds
            self.sampling = replace(self.sampling, seconds=None)

            def attempt(nfe: int) -> None:
                self.nfe = nfe + self.kind.before
                self.draw(one, strength)

            self.nfe = affordable(seconds, attempt) + self.kind.before
        samples = self.sample(Observation.of(measurement), measurement.scan_ids, strength).samples
        return Ensemble(measurement.band_limited(samples))

    def sample(self, observed: Observation, scan_ids: Sequence[str], strength: float | None = None) -> Ensemble:
        """The samples of whatever was observed: slices, or a volume, through any operator."""
        levels = schedule(
            self.nfe - self.kind.before, self.low, corrections=self.kind.corrections,
            high=max(self.kind.high, 2 * self.low),
        )  # fmt: skip
        return ensemble(
            self.kind.sampler, self.prior, observed, scan_ids, levels, samples=self.sampling.samples,
            strength=self.strength if strength is None else strength, seed=self.sampling.seed, at_once=self.at_once,
        )  # fmt: skip

    def begin(self, measurement: Measurement) -> Solve:
        """A strength changes samples from their first level on."""
        return partial(self, measurement)

    def __call__(self, measurement: Measurement, strength: float | None) -> Tensor:
        return self.draw(measurement, strength).mean
