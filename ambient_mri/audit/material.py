"""What an audit works on: scans, samples, an embedder. Everything that costs time is kept between runs."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import ambient_mri
from ambient_mri import files
from ambient_mri.audit import embedder, generator, power
from ambient_mri.audit.cohort import (
    Side,
    contents_sha256,
    equal_rows,
    only,
    open_side,
    seen_through,
    views,
    with_content,
)
from ambient_mri.audit.duplicates import anatomy, near_duplicates
from ambient_mri.audit.exchangeability import common_count
from ambient_mri.audit.levels import Level, level_of
from ambient_mri.audit.reference import load_reference
from ambient_mri.audit.search import Features
from ambient_mri.corruption import FurtherLaw
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.leaks import leaks
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.errors import InputError
from ambient_mri.prior.bundle import Bundle, load_bundle, weights_sha256
from ambient_mri.randomness import stream

Progress = Callable[[str], None]
LEARNED_FROM = 40_000
FEWEST_PATIENTS = 10


@dataclass(frozen=True)
class AuditOptions:
    """One audit.

    Parameters
    ----------
    bundle
        The model; None where `pictures` are audited.
    data
        The spec that the model learned from: its training part is what may be given away, validation and test are
        the hold-out.
    out
        Folder of the results; intermediate ones are kept in `out/work`.
    pictures
        Samples of somebody else's generator: files and folders.
    level
        "quick", "standard" or "full".
    access
        "samples": only what the generator emits; "model": the denoiser too (T4).
    scans
        "measured": the corrupted scans alone; "images": EVALUATION ACCESS to the images behind a simulation.
    reference
        A bundle that learned from none of these patients: T4 takes off what it finds hard too.
    """

    bundle: Path | None
    data: str
    out: Path
    pictures: tuple[Path, ...] = ()
    level: str = "quick"
    access: str = "model"
    scans: str = "measured"
    reference: Path | None = None
    seed: int = 0
    device: str = "cpu"

    def command(self) -> str:
        """The command line that repeats it."""
        words = ["ambient-mri", "audit"] + ([] if self.bundle is None else [str(self.bundle)])
        words += ["--data", self.data, "--out", str(self.out), "--level", self.level]
        words += ["--access", self.access] if self.bundle is not None else []
        words += ["--scans", self.scans] if self.scans != "measured" else []
        words += ["--reference", str(self.reference)] if self.reference is not None else []
        words += ["--seed", str(self.seed)]
        words += ["--samples", *map(str, self.pictures)] if self.pictures else []
        return shlex.join(words)


@dataclass
class Material:
    """What is at hand while an audit runs.

    Parameters
    ----------
    images
        Samples `(m, 1, y, x)` complex64, each at root mean square .5.
    law
        Of D.
    dropped
        Samples left out for showing next to nothing.
    across
        Hold-out patients who are training patients too, by their looks or by the table of the data set; left out.
    within
        Pairs of patients on the same side who look like one.
    slices
        How many slices of each patient are compared.

    Attributes
    ----------
    samples
        Pictures of `images`, made as those of the scans are.
    features
        Of training, hold-out and samples.
    """

    options: AuditOptions
    spec: DataSpec
    level: Level
    bundle: Bundle | None
    reference: Bundle | None
    progress: Progress
    train: Side
    hold: Side
    images: Tensor
    network: embedder.Embedder
    law: FurtherLaw
    dropped: int
    across: int
    within: int
    slices: int
    samples: Tensor = field(init=False)
    features: tuple[Features, Features, Features] = field(init=False)

    def __post_init__(self) -> None:
        self.samples = self.see(self.images, "samples")
        self.features = (
            embedder.embed(self.network, self.train.pictures),
            embedder.embed(self.network, self.hold.pictures),
            embedder.embed(self.network, self.samples),
        )

    @property
    def sides(self) -> tuple[Side, Side]:
        """Training and hold-out."""
        return self.train, self.hold

    def see(self, images: Tensor, purpose: str) -> Tensor:
        """Pictures of images as those of the scans were made."""
        if self.options.scans == "images":
            return images.abs()
        pool = (*self.train.scans, *self.hold.scans)
        return seen_through(images, pool, [stream(self.options.seed, "seen", purpose, i) for i in range(len(images))])

    def rng(self, purpose: str) -> np.random.Generator:
        """NumPy's generator of one purpose."""
        return np.random.default_rng(stream(self.options.seed, purpose).initial_seed())

    def patients(self) -> tuple[int, int]:
        """How many training and hold-out patients have enough slices."""
        train, hold = (len(equal_rows(side, self.slices)) // self.slices for side in self.sides)
        return train, hold


def prepare(options: AuditOptions, progress: Progress) -> Material:
    """Read, draw, deduplicate, train the embedder: everything that is kept between runs."""
    name, level = level_of(options.level)
    spec = load_spec(options.data)
    bundle = None if options.bundle is None else load_bundle(options.bundle, options.device)
    reference = _reference(options, spec)
    _settle(options, spec)
    progress(f"audit at level {name}: {level}")
    train = open_side(spec, ("train",), options.scans, level.slices, progress)
    hold = open_side(spec, ("validation", "test"), options.scans, level.slices, progress)
    _keep_to(
        options.out / "work" / "scans.sha256",
        contents_sha256((train, hold)) + "\n",
        "the scans have changed since this audit was begun",
    )
    shape = train.scans[0].image_shape
    given = None if bundle is not None else generator.read(options.pictures, shape, 10 * level.samples)
    count = level.samples if given is None else len(given)
    sizes = len(set(train.patients)), len(set(hold.patients))
    progress("this audit: " + "; ".join(power.describe(power.sensitivity(count, *sizes))))
    if bundle is not None:
        folder, steps = options.out / "work", level.sampler_steps
        drawn = generator.draw(bundle, count, folder, steps=steps, seed=options.seed, progress=progress)
    else:
        assert given is not None
        drawn = given
    if tuple(drawn.shape[-2:]) != shape:
        raise InputError(
            f"samples of {tuple(drawn.shape[-2:])} and scans of {shape}", where=spec.name,
            remedy="Audit against the spec that the model learned from",
        )  # fmt: skip
    kept = with_content(drawn.abs())
    if len(kept) < 50:
        raise InputError(
            f"{len(kept)} samples: too few to say anything", where="--samples", remedy="Give some hundreds or more"
        )
    images = generator.normalised(drawn[kept])
    law = open_scans(spec, "train").further()
    network = _embedder(options, level, law, train, hold, progress)

    twice = near_duplicates(anatomy(torch.cat([train.pictures, hold.pictures])), (*train.patients, *hold.patients))
    across = [pair for pair in twice if (pair.first < len(train)) != (pair.second < len(train))]
    told = frozenset[str]().union(*(leak.held_out for leak in leaks(spec)))  # by the table of the data set itself
    both_sides = set(hold.patients) & (set(train.patients) | told)
    twins = {hold.patients[pair.second - len(train)] for pair in across} | both_sides
    clean_hold = only(hold, [row for row, patient in enumerate(hold.patients) if patient not in twins])
    slices = common_count((*train.patients, *clean_hold.patients)) if clean_hold.patients else 1
    for side, which in ((train, "training"), (clean_hold, "hold-out")):
        if (count := len(equal_rows(side, slices)) // slices) < FEWEST_PATIENTS:
            raise InputError(
                f"{count} {which} patients with {slices} slices or more, too few to compare",
                where=f"{spec.name}: split",
                remedy=f"At least {FEWEST_PATIENTS} are needed on each side, and 50 for an answer of any use",
            )  # fmt: skip
    return Material(
        options, spec, level, bundle, reference, progress, train, clean_hold, images, network, law,
        len(drawn) - len(kept), len(twins), len(twice) - len(across), slices,
    )  # fmt: skip


def _reference(options: AuditOptions, spec: DataSpec) -> Bundle | None:
    """The model that T4 compares with."""
    if options.reference is None:
        return None
    if options.bundle is None or options.access != "model":
        raise InputError("is for T4, which needs the model itself", where="--reference",
                         remedy="Leave it out, or audit a bundle with --access model")  # fmt: skip
    return load_reference(options.reference, spec, options.device)


def _settle(options: AuditOptions, spec: DataSpec) -> None:
    """One folder, one audit: intermediate results are only taken up by the command that made them."""
    identity = {
        "version": ambient_mri.__version__, "level": options.level, "scans": options.scans, "seed": options.seed,
        "data_sha256": spec.sha256, "subject_sha256": subject_sha256(options),
        "reference_sha256": None if options.reference is None else weights_sha256(options.reference),
    }  # fmt: skip
    work = options.out / "work"
    _keep_to(work / "audit.json", json.dumps(identity, indent=1, sort_keys=True) + "\n", "another audit is kept here")
    work.chmod(0o700)  # embedder, samples and errors know patients


def _keep_to(path: Path, text: str, otherwise: str) -> None:
    """Write what intermediate results belong to, or refuse where they belong to something else."""
    if path.exists() and path.read_text("utf-8") != text:
        raise InputError(otherwise, where=str(path.parent.parent), remedy="Choose another --out, or delete the folder")
    files.write(path, text)


def subject_sha256(options: AuditOptions) -> str:
    if options.bundle is None:
        return generator.sha256(options.pictures)
    return weights_sha256(options.bundle)


def _embedder(
    options: AuditOptions, level: Level, law: FurtherLaw, train: Side, hold: Side, progress: Progress
) -> embedder.Embedder:
    path = options.out / "work" / "embedder.safetensors"
    if path.exists():
        return embedder.load_embedder(path).to(options.device)
    started = time.monotonic()

    def note(step: int, loss: float) -> None:
        if (step + 1) % 50 == 0:
            left = (time.monotonic() - started) / (step + 1) * (level.embedder_steps - step - 1)
            progress(f"embedder: {step + 1} of {level.embedder_steps} steps, loss {loss:.3f}, about {left:.0f} s left")

    rows = _some(len(train) + len(hold), options.seed)
    shown = [only(train, [row for row in rows if row < len(train)]),
             only(hold, [row - len(train) for row in rows if row >= len(train)])]  # fmt: skip
    thinned = None if options.scans == "images" else law
    pictures = torch.cat([views(side, thinned, options.seed) for side in shown], 1)
    network = embedder.train(pictures, embedder.Training(level.embedder_steps, options.seed), options.device, note)
    embedder.save_embedder(path, network)
    return network


def _some(count: int, seed: int) -> list[int]:
    """At most so many slices of both sides, at random whose they are: enough to learn from."""
    return torch.randperm(count, generator=stream(seed, "learned from"))[:LEARNED_FROM].sort().values.tolist()
