"""`refine`: an ambient model into a proper prior E[x | x_t], by expectation maximisation (Rozet et al. 2024).

E-step: posterior samples of every training scan under the current model. M-step: ordinary denoising training (Karras et
al. 2022) on them. Whatever the model says of what a scan did not measure is confronted with all other scans, so laps
converge to the distribution behind the measurements; started from the ambient model a few suffice. A model that learns
from its own samples can also lose diversity: every lap records it.

A folder for each lap holds the images of the E-step, the checkpoint of the M-step and the bundle. What is there is not
done again, so the same command resumes, and more laps continue.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ambient_mri import files
from ambient_mri.corruption import Further
from ambient_mri.data.dataset import Scans, open_scans
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Masked
from ambient_mri.prior.bundle import CARD, Bundle, about_data, initialise, load_bundle, weights_sha256, write_bundle
from ambient_mri.prior.card import REFINED, Lap
from ambient_mri.prior.checkpoint import settle
from ambient_mri.prior.diversity import IMAGES, diversity
from ambient_mri.prior.imputed import Imputed, discard, together
from ambient_mri.prior.learner import Learner, Length
from ambient_mri.prior.maximisation import maximise
from ambient_mri.prior.network import Cascade, architecture, build_network
from ambient_mri.prior.shipped import called
from ambient_mri.prior.training import BATCH
from ambient_mri.prior.validation import Summary, validation, watched
from ambient_mri.randomness import stream

logger = logging.getLogger("ambient_mri.refinement")

AMBIENT_SAMPLER = "a-fill"
DEFAULT_MINUTES = 10.0

Posterior = Callable[[Bundle, str, Measurement, int], Tensor]
"""(model, sampler, scans, seed) → posterior samples `(b, K, y, x)`; `reconstruction.imputation.posterior` is one."""


@dataclass(frozen=True)
class RefineOptions:
    """One refinement.

    Parameters
    ----------
    bundle
        The model to start from: an ambient one, or a refined one.
    data
        Name or path of the spec that it was trained on.
    laps
        E-steps, each with its M-step.
    minutes, steps
        Length of each M-step: whichever comes first; neither means 10 minutes.
    preset
        Size of the network from the first M-step on: None, the model's own, or one of more of the same stages.
    batch_size
        Images a step of an M-step.
    sampler, nfe
        What draws posterior samples of a proper prior, from the second lap on; `a-fill` draws those of the ambient one.
        None: the sampler's own number of evaluations.
    samples
        Posterior samples of each scan.
    """

    bundle: Path
    data: str
    out: Path
    laps: int = 4
    minutes: float | None = None
    steps: int | None = None
    preset: str | None = None
    batch_size: int = BATCH
    sampler: str = "mmps"
    nfe: int | None = None
    samples: int = 1
    seed: int = 0
    device: str = "cpu"

    @property
    def length(self) -> Length:
        return Length.of(self.minutes, self.steps, DEFAULT_MINUTES)


@dataclass(frozen=True)
class _Task:
    """What all laps share."""

    options: RefineOptions
    spec: DataSpec
    scans: Scans
    posterior: Posterior


def refine(options: RefineOptions, posterior: Posterior) -> Path:
    """Run the laps that are not there yet; returns the folder of the refined bundle.

    Raises
    ------
    InputError
        If the bundle and the data cannot be used together, the network cannot grow into `options.preset`, or
        `options.out` holds another refinement.
    """
    spec = load_spec(options.data)
    scans = open_scans(spec, "train")
    model = load_bundle(options.bundle, options.device)
    _fits(model, spec, scans)
    _network(options, model)  # a network that cannot grow is refused before hours of sampling
    settle(options.out, _identity(options, spec))
    task = _Task(options, spec, scans, posterior)
    for lap in range(options.laps):
        folder = options.out / f"lap_{lap:02d}"
        if not (folder / "bundle" / CARD).exists():
            logger.info("lap %d of %d", lap + 1, options.laps)
            _lap(task, lap, folder, model)
        discard(folder / "images")
        model = load_bundle(folder / "bundle", options.device)
        logger.info("lap %d done: %s", lap + 1, _said(model.card.refinement[-1]))
    bundle = options.out / "bundle"
    for file in sorted(path for path in model.path.rglob("*") if path.is_file()):
        files.write(bundle / file.relative_to(model.path), file.read_bytes())
    return bundle


def _lap(task: _Task, lap: int, folder: Path, model: Bundle) -> None:
    options, card = task.options, model.card
    sampler = options.sampler if card.method == REFINED else AMBIENT_SAMPLER
    seed = stream(options.seed, "lap", lap).initial_seed()
    images = Imputed(folder / "images", task.scans, options.samples, card.coils > 1, options.device)
    images.fill(lambda batch: task.posterior(model, sampler, batch, seed))
    facts = _once(folder / "e_step.json", lambda: _facts(task, images, model, sampler, seed))

    learner = Learner.start(_network(options, model), model.prior.precision)
    maximise(folder, learner, images, options.length, options.batch_size, seed)

    earlier = card.refinement
    first = earlier[0].variance if earlier else facts["variance"]
    done = Lap(
        lap=len(earlier), sampler=sampler, steps=learner.step, minutes=learner.seconds / 60,
        variance_ratio=facts["variance"] / first if first > 0 else 1.0, **facts,
    )  # fmt: skip
    refined = replace(model, prior=learner.prior, card=card.model_copy(update={"method": REFINED}))
    error = _withheld(task, refined, options.sampler, seed)
    update = about_data(task.spec, task.scans) | {
        "method": REFINED, "symmetry": None, "preset": options.preset or card.preset, "seed": options.seed,
        "steps": card.steps + learner.step, "minutes": card.minutes + learner.seconds / 60,
        "batch_size": options.batch_size, "peak_rate": learner.peak_rate,
        "initialised_from": card.initialised_from if card.method == REFINED else called(options.bundle),
        "refinement": (*earlier, done), "withheld_nmse": (error.nmse, error.low, error.high),
    }  # fmt: skip
    write_bundle(folder / "bundle", card.model_copy(update=update), learner.average)


def _network(options: RefineOptions, model: Bundle) -> Cascade:
    """The network of a model, grown where more stages are asked for."""
    preset = options.preset or model.card.preset
    network = build_network(architecture(preset)).to(options.device)
    initialise(model.path, network, preset)
    return network


def _facts(task: _Task, images: Imputed, model: Bundle, sampler: str, seed: int) -> dict[str, float]:
    """What is known of an E-step before its M-step."""
    found = diversity(images.images(IMAGES), stream(task.options.seed, "diversity"))
    error = _withheld(task, model, sampler, seed)
    return {"variance": found.variance, "effective_number": found.effective_number, "withheld_nmse": error.nmse}


@dataclass(frozen=True)
class _Drawn:
    """An image that was drawn from what D shows, where a prediction is asked for."""

    image: Tensor

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return self.image


def _withheld(task: _Task, model: Bundle, sampler: str, seed: int) -> Summary:
    """Error of one posterior sample, drawn from D y, on what D hid: unseen patients, no ground truth."""
    device = task.options.device
    patients, batches = watched(task.spec, task.scans, together(device))

    def drawn(batch: Measurement, further: Further) -> _Drawn:
        shown = replace(batch, mask=further.operator.mask)
        return _Drawn(task.posterior(model, sampler, shown, seed)[:, :1])

    placed = (batch.to(device) for batch in batches)
    return validation(drawn, placed, patients, task.scans.further(), seed, model.card.steps)


def _once(path: Path, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What `compute` found, kept in `path`."""
    if not path.exists():
        files.write(path, json.dumps(compute(), indent=1) + "\n")
    stored: dict[str, float] = json.loads(path.read_text("utf-8"))
    return stored


def _fits(model: Bundle, spec: DataSpec, scans: Scans) -> None:
    card = model.card
    if len(scans) == 0:
        raise InputError("the training part is empty", where=spec.name, remedy="Lower split.validation and split.test")
    here = (spec.acquisition.domain, int(scans[0].y.shape[1]) > 1)
    there = (card.acquisition.domain, card.coils > 1)
    if here != there:
        raise InputError(
            f"the model knows {_kind(*there)}, and the scans are {_kind(*here)}", where=spec.name,
            remedy=f"Refine on the data that it was trained on ({card.data})",
        )  # fmt: skip
    if card.data_sha256 != spec.sha256:
        logger.info("The model was trained on %s, another spec than %s: the E-step uses the latter",
                    card.data, spec.name)  # fmt: skip


def _kind(domain: str, coils: bool) -> str:
    return "pixels" if domain == "image" else f"k-space of {'several coils' if coils else 'one coil'}"


def _identity(options: RefineOptions, spec: DataSpec) -> dict[str, Any]:
    """What must be the same for a resume to be the same refinement; laps and their length may grow."""
    named = dataclasses.asdict(options)
    chosen = {key: named[key] for key in ("preset", "sampler", "nfe", "samples", "seed", "batch_size")}
    weights = weights_sha256(options.bundle)
    return {"method": REFINED, "weights_sha256": weights, "data": spec.name, "data_sha256": spec.sha256, **chosen}


def _said(lap: Lap) -> str:
    return (
        f"{lap.steps} steps on samples by {lap.sampler}; their variance is {lap.variance_ratio:.3f} of the first "
        f"lap's, they differ in {lap.effective_number:.1f} directions; error of a sample on withheld measurements "
        f"{lap.withheld_nmse:.4f}"
    )
