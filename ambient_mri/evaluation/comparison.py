"""The restoration table: our methods beside their rivals on one data set, every network trained for the same time.

| training | sees | evaluated as |
|---|---|---|
| ambient | corrupted scans | one-step, a-fill, a-dps; and the classical methods, which learn nothing |
| ssdu | the same | ssdu: its network in one step |
| clean | the fully sampled twin of the data, for tables only | dps, ddrm |

Trainings resume, and what was evaluated is not evaluated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ambient_mri import files
from ambient_mri.data.derived import derive
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.evaluation.evaluate import evaluate
from ambient_mri.evaluation.results import FORMAT, Evaluation, Row
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.reconstruction import methods as named
from ambient_mri.reconstruction.manifest import Manifest, settings_key
from ambient_mri.reconstruction.posterior import SAMPLES, Sampling

MISSING = (0.4, 0.6, 0.8, 0.9)
ACCELERATIONS = (2.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class Part:
    """Rows of the table that one training gives.

    Parameters
    ----------
    training
        Folder and `--method` of the training; "clean" is "naive" on the fully sampled twin.
    methods
        Of evaluation.
    samples
        Of methods that draw: the mean of several for ours, one as published for rivals.
    """

    training: str
    methods: tuple[str, ...]
    samples: int = 1


PARTS = (
    Part("ambient", named.METHODS),
    Part("ambient", ("a-fill", "a-dps"), SAMPLES),
    Part("clean", ("dps", "ddrm")),
    Part("ssdu", ("one-step",)),
)


def restoration_table(
    data: str,
    out: Path,
    training: TrainOptions,
    *,
    parts: Sequence[Part] = PARTS,
    rates: Sequence[float] | None = None,
    limit: int | None = None,
    tuning_slices: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Train and evaluate what is not there yet; one evaluation with the rows of all.

    Parameters
    ----------
    data
        Name or path of a spec.
    out
        Folder of trainings and of the results of each part.
    training
        What all trainings share; its data, folder and method are set here.
    rates
        Accelerations; None: those of the paper's table, 1/(1 - p) for pixels of which the share p is missing.
    limit, tuning_slices
        As of `evaluate`.

    Raises
    ------
    InputError
        If data cannot be used, or `out` holds something else.
    """
    spec, done = load_spec(data), Manifest(out)
    rates = usual_rates(spec) if rates is None else rates
    found: list[Evaluation] = []
    for part in parts:
        source = twin(data, spec, out) if part.training == "clean" else data
        method = "naive" if part.training == "clean" else part.training
        bundle = train(replace(training, data=source, out=out / part.training, method=method))
        name = f"{part.training}_{part.methods[0]}"
        asked = {"rates": list(rates), "limit": limit, "tuning_slices": tuning_slices, "samples": part.samples}
        given = {"data": spec.sha256, "weights": weights_sha256(bundle), "methods": part.methods, "format": FORMAT}
        key = settings_key(asked | given)
        stored = out / f"{name}.json"
        if done.done(name, key) is None:
            one = evaluate(
                bundle, spec, accelerations=rates, methods=part.methods, limit=limit, device=training.device,
                seed=training.seed, tuning_slices=tuning_slices, progress=progress,
                sampling=Sampling(part.samples, seed=training.seed),
            )  # fmt: skip
            files.write(stored, one.to_json())
            done.record(name, {"key": key, "outputs": [stored.name]})
        one = Evaluation.from_json(stored.read_text("utf-8"))
        found.append(replace(one, rows=tuple(_named(row, part.training) for row in one.rows)))
    rows = sorted((row for one in found for row in one.rows), key=lambda row: row.acceleration)
    return replace(found[0], rows=tuple(rows), gains=())


def usual_rates(spec: DataSpec) -> tuple[float, ...]:
    """Of the paper's table; none for a law without a rate (blocks)."""
    kind = spec.acquisition.pattern.kind
    if kind == "pixels":
        return tuple(round(1 / (1 - missing), 6) for missing in MISSING)
    return () if kind == "blocks" else ACCELERATIONS


def twin(data: str, spec: DataSpec, out: Path) -> str:
    """The path of a spec of the same scans fully sampled: what rivals that need clean images are trained on."""
    facts = {
        "title": f"{spec.title}, fully sampled (oracle of evaluation tables)",
        "acquisition": {
            "pattern": {"kind": "fully_sampled"},
            "further": {"pattern": spec.acquisition.pattern.model_dump(mode="json")},
        },
    }
    return derive(data, out / f"{spec.name}_clean.yaml", facts)


def _named(row: Row, training: str) -> Row:
    return replace(row, method="ssdu") if training == "ssdu" else row
