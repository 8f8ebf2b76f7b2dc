"""Evaluation beside classical methods, where the truth is known: all strengths tuned on the validation split."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor

from ambient_mri.data.dataset import EvaluationScans, open_evaluation
from ambient_mri.data.spec import DataSpec
from ambient_mri.evaluation.contenders import Contender, Tuned, contenders, model_for
from ambient_mri.evaluation.metrics import patient_bootstrap
from ambient_mri.evaluation.results import Evaluation, Example, Gain, Row
from ambient_mri.evaluation.scoring import FIGURES, Scores, batches
from ambient_mri.evaluation.tuning import in_words
from ambient_mri.patterns import FullySampled, Pattern, Pixels
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.reconstruction import methods as named

if TYPE_CHECKING:
    from ambient_mri.reconstruction.posterior import Sampling

TUNING_SLICES = 48
EXAMPLES = 4


def evaluate(
    bundle_path: Path | None,
    spec: DataSpec,
    *,
    split: str = "test",
    accelerations: Sequence[float] = (),
    methods: Sequence[str] | None = None,
    limit: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    tuning_slices: int | None = None,
    sampling: Sampling | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Reconstruct a split with every method at every acceleration and compare with the truth.

    Parameters
    ----------
    bundle_path
        The trained model; None where `methods` are classical only.
    accelerations
        Take the place of the law's acceleration; for random pixels R means that 1 − 1/R are missing.
        Empty, or a law without a rate (blocks): the spec's own law.
    methods
        Those that do not apply to the data's domain are left out. None: `methods.default_methods` of the bundle, all
        that draw no samples, or where it was refined `mmps` and the classical ones.
    limit
        At most this many slices of the split.
    seed
        Of the bootstrap; `sampling` has its own.
    tuning_slices
        At most this many slices of the validation split choose the strengths and the best rival. None: 48, or
        `limit` where that is less.
    sampling
        How posterior samplers draw, where there are any among the methods; strengths are tuned with two samples.
    progress
        Called with one line for each method and acceleration.

    Raises
    ------
    InputError
        If the data or the bundle cannot be used, there is no such method, or the data have no truth.
    """
    domain = spec.acquisition.domain
    bundle = model_for(bundle_path, spec, methods, device, progress)
    methods = named.default_methods(bundle) if methods is None else methods
    compared = contenders(bundle, domain, methods, sampling)
    tuning_slices = min(TUNING_SLICES, limit or TUNING_SLICES) if tuning_slices is None else tuning_slices
    rng = torch.Generator().manual_seed(seed)
    rows: list[Row] = []
    gains: list[Gain] = []
    examples: list[Example] = []
    for rate, pattern in laws(spec, accelerations):
        held = list(batches(open_evaluation(spec, "validation", pattern=pattern, limit=tuning_slices), device))
        tuned: dict[str, Tuned] = {}
        for name, contender in compared.items():
            best = tuned[name] = contender.tuned(held)
            progress(f"R = {rate:g} {name}: {best.psnr:.2f} dB on validation{in_words(best.strength)}")
        scans = open_evaluation(spec, split, pattern=pattern, limit=limit)
        scores, seconds, pictured = _reconstruct(compared, tuned, scans, rate, device)
        for name, contender in compared.items():
            nfe, each = contender.run.evaluations, seconds[name] / len(scans)
            row = _row(name, rate, scores[name], tuned[name], nfe, each, rng)
            progress(
                f"R = {rate:g} {name}: {row.psnr.mean:.2f} dB, SSIM {row.ssim.mean:.4f}, "
                f"{1e3 * row.seconds_per_slice:.0f} ms a slice"
            )
            rows.append(row)
        gains += _gain(rate, scores, tuned, rng)
        examples += pictured
    whose = next(iter(scores.values()))
    return Evaluation(
        data=spec.name, data_sha256=spec.sha256, bundle="" if bundle_path is None else str(bundle_path),
        bundle_sha256="" if bundle_path is None else weights_sha256(bundle_path), simulated=spec.simulated,
        domain=domain, noise_std=spec.acquisition.noise_std, split=split, slices=len(scans),
        volumes=len(whose.volumes), patients=len(set(whose.patients)),
        tuning_slices=sum(len(batch.measurement) for batch in held), seed=seed,
        command=_command(bundle_path, spec, split, accelerations, methods, limit, tuning_slices, seed, sampling),
        rows=tuple(rows), gains=tuple(gains), examples=tuple(examples),
    )  # fmt: skip


def _reconstruct(
    compared: Mapping[str, Contender], tuned: Mapping[str, Tuned], scans: EvaluationScans, rate: float, device: str
) -> tuple[dict[str, Scores], dict[str, float], list[Example]]:
    """Scores and seconds of every method, and pictures of the first slice of the first patients."""
    scores = {name: Scores() for name in compared}
    seconds = dict.fromkeys(compared, 0.0)
    pictured: dict[str, Example] = {}
    for batch in batches(scans, device):
        images: dict[str, Tensor] = {}
        for name, contender in compared.items():
            started = time.perf_counter()
            images[name] = contender.run(batch.measurement, tuned[name].strength).abs().cpu()
            seconds[name] += time.perf_counter() - started
            scores[name].add(batch.measurement.scan_ids, batch.patients, batch.truth, images[name])
        for i, (scan_id, patient) in enumerate(zip(batch.measurement.scan_ids, batch.patients, strict=True)):
            if len(pictured) < EXAMPLES and patient not in pictured:
                shown = {name: image[i, 0].numpy() for name, image in images.items()}
                pictured[patient] = Example(rate, scan_id, batch.truth[i, 0].numpy(), shown)
    for one in scores.values():
        one.close()
    return scores, seconds, list(pictured.values())


def _row(name: str, rate: float, scores: Scores, tuned: Tuned, nfe: int, seconds: float, rng: Generator) -> Row:
    intervals = scores.intervals(rng)
    return Row(
        method=name, acceleration=rate, **intervals, nfe=nfe, seconds_per_slice=seconds, strength=tuned.strength,
        tuning=tuned.curve,
    )  # fmt: skip


def _gain(rate: float, scores: Mapping[str, Scores], tuned: Mapping[str, Tuned], rng: Generator) -> list[Gain]:
    """The network's method less the classical one, both as validation chose; nothing without both."""
    networks = [name for name in scores if named.needs_network(name)]
    rivals = [name for name in scores if not named.needs_network(name)]
    if not networks or not rivals:
        return []
    method, rival = (max(names, key=lambda name: tuned[name].psnr) for names in (networks, rivals))
    ours, theirs = scores[method], scores[rival]
    paired = {
        key: patient_bootstrap(
            [a - b for a, b in zip(ours.values[key], theirs.values[key], strict=True)], ours.patients, rng
        )
        for key in FIGURES
    }
    return [Gain(rate, method, rival, **paired)]


def laws(spec: DataSpec, accelerations: Sequence[float]) -> list[tuple[float, Pattern]]:
    """(R, law) of every acceleration that is asked for; the spec's own where none is, or where the law has no rate."""
    law = spec.pattern()
    law = law.law if isinstance(law, FullySampled) else law
    if isinstance(law, Pixels):
        chosen = [Pixels(1 - 1 / rate) for rate in accelerations if rate > 1] or [law]
        return [(round(1 / (1 - one.missing), 6), one) for one in chosen]
    if hasattr(law, "acceleration"):
        frozen: Any = law
        return [(rate, replace(frozen, acceleration=rate)) for rate in accelerations or [frozen.acceleration]]
    shape = open_evaluation(spec, "validation", limit=1)[0][0].image_shape
    return [(1 / float(law.probability(shape).mean()), law)]


def _command(
    bundle: Path | None, spec: DataSpec, split: str, rates: Sequence[float], methods: Sequence[str],
    limit: int | None, tuning_slices: int, seed: int, sampling: Sampling | None,
) -> str:  # fmt: skip
    words = ["ambient-mri", "evaluate", "none" if bundle is None else str(bundle), "--data", spec.name]
    words += ["--split", split, "--methods", ",".join(methods), "--seed", str(seed)]
    words += ["--acceleration", ",".join(f"{rate:g}" for rate in rates)] if rates else []
    words += ["--limit", str(limit)] if limit is not None else []
    words += ["--tuning-slices", str(tuning_slices)]
    if sampling is not None and set(methods) & set(named.POSTERIOR):
        words += ["--samples", str(sampling.samples)]
        words += ["--nfe", str(sampling.nfe)] if sampling.nfe is not None else []
    return shlex.join(words)
