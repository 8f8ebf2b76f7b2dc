"""The methods that an evaluation compares, each tuned on the validation split as hard as the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ambient_mri.data.spec import DataSpec
from ambient_mri.evaluation.scoring import Batch, Scores
from ambient_mri.evaluation.tuning import tune
from ambient_mri.reconstruction import methods as named
from ambient_mri.reconstruction.estimates import Solve

if TYPE_CHECKING:
    from ambient_mri.prior.bundle import Bundle
    from ambient_mri.reconstruction.posterior import Sampling


@dataclass(frozen=True)
class Tuned:
    """The strength of the highest PSNR on the validation split, that PSNR, and all that were tried."""

    strength: float | None
    psnr: float
    curve: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Contender:
    """A method by its name, and a quicker form of it by which strengths are compared: itself, unless there is one."""

    name: str
    run: named.Reconstruct
    quick: named.Reconstruct

    def tuned(self, held: Sequence[Batch]) -> Tuned:
        """On the validation split."""

        def score(strength: float | None, solves: Iterable[Solve]) -> float:
            scores = Scores(("psnr",))
            for batch, solve in zip(held, solves, strict=True):
                scores.add(batch.measurement.scan_ids, batch.patients, batch.truth, solve(strength).abs().cpu())
            scores.close()
            return scores.mean("psnr")

        whole = (self.run.begin(batch.measurement) for batch in held)
        if not named.has_strength(self.name):
            return Tuned(None, score(None, whole), ())
        begun = [self.quick.begin(batch.measurement) for batch in held]
        strength, curve = tune(lambda strength: score(strength, begun), named.TYPICAL[self.name])
        best = max(figure for _, figure in curve) if self.quick is self.run else score(strength, whole)
        return Tuned(strength, best, tuple(curve))


def model_for(
    bundle_path: Path | None,
    spec: DataSpec,
    methods: Sequence[str] | None,
    device: str,
    progress: Callable[[str], None],
) -> Bundle | None:
    """The model that the methods ask for, if they do; says so where it learned from another spec.

    Raises
    ------
    InputError
        If there is none, or it cannot be used on such data.
    """
    asks_for_network = bundle_path is not None if methods is None else any(map(named.needs_network, methods))
    if not asks_for_network:
        return None
    bundle = named.load(bundle_path, device, spec.acquisition.domain)
    if bundle.card.data_sha256 != spec.sha256:
        progress(
            f"The model learned from {bundle.card.data}, another spec than {spec.name}: that no patient of its "
            "training is evaluated here holds only if both split the same patients in the same way"
        )
    return bundle


def contenders(
    bundle: Bundle | None, domain: str, methods: Sequence[str], sampling: Sampling | None
) -> dict[str, Contender]:
    """By name, those of `methods` that apply to data of the domain.

    Raises
    ------
    InputError
        If there is no such method, or the bundle does not fit it.
    """
    wanted = [name for name in methods if name not in named.METHODS or named.applies(name, domain)]
    sampling = sampling if set(wanted) & set(named.POSTERIOR) else None
    quick = sampling and sampling.quick()

    def contender(name: str) -> Contender:
        run = named.reconstruction(name, bundle, sampling)
        same = quick == sampling or name not in named.POSTERIOR
        return Contender(name, run, run if same else named.reconstruction(name, bundle, quick))

    return {name: contender(name) for name in wanted}
