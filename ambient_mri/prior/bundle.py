"""A trained prior on disk, as a MONAI Bundle. Weights are safetensors; reading one executes nothing.

configs/metadata.json   MONAI's schema            configs/card.json   facts for ambient-mri
configs/inference.json  python -m monai.bundle run models/model.safetensors   docs/README.md
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

import ambient_mri
from ambient_mri import files
from ambient_mri.corruption import Identifiability, Mixture
from ambient_mri.data.dataset import Scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.patterns import EmpiricalLines
from ambient_mri.prior.ambientgan import AdversarialLearner
from ambient_mri.prior.card import ADVERSARIAL, Card, CardComponent
from ambient_mri.prior.learner import Learner
from ambient_mri.prior.network import architecture, build_network, grown, has_bfloat16
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.shipped import located
from ambient_mri.prior.validation import Summary

WEIGHTS, CARD = "models/model.safetensors", "configs/card.json"
NOISE_OF = 16
"""Scans whose noise a card states the mean of: in normalised units it differs by some per cent from scan to scan."""


@dataclass(frozen=True)
class Bundle:
    """A prior, ready to use, and what is known of it."""

    prior: AmbientPrior
    card: Card
    path: Path

    @property
    def device(self) -> torch.device:
        return next(self.prior.network.parameters()).device


def load_bundle(path: Path | str, device: str = "cpu") -> Bundle:
    """Read a bundle that `ambient-mri train` wrote, or a model of the package by its name.

    Raises
    ------
    InputError
        If it is not one, or is damaged.
    """
    path = located(str(path))
    card = load_card(path)
    if card.method == ADVERSARIAL:
        raise InputError("an AmbientGAN draws images, but neither denoises nor reconstructs", where=str(path),
                         remedy="Use it with `ambient-mri sample`; for the rest give a diffusion model")  # fmt: skip
    sizes = architecture(card.preset)
    network = build_network(sizes)
    _fill(network, grown(_weights(path), card.preset, card.preset), path)
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a tenth faster; unknown to the stubs
    half = card.precision == "bfloat16" and has_bfloat16(device)
    precision = torch.bfloat16 if half else torch.float32
    return Bundle(AmbientPrior(network.to(device), precision), card, path)


def load_card(path: Path) -> Card:
    """What a bundle says about its model.

    Raises
    ------
    InputError
        If it is not a bundle, or its card cannot be read.
    """
    try:
        return Card.model_validate_json((path / CARD).read_text())
    except FileNotFoundError as problem:
        raise InputError("no model bundle here (configs/card.json is missing)", where=str(path),
                         remedy="Give the `bundle` folder that `ambient-mri train` printed, or a name from "
                                "`ambient-mri models list`") from problem  # fmt: skip
    except (ValidationError, UnicodeDecodeError) as problem:
        first = str(problem).replace("\n", " ")[:160]
        raise InputError(f"the model card cannot be read: {first}", where=str(path / CARD),
                         remedy="Train again, or use the version that wrote it") from problem  # fmt: skip


def weights_sha256(path: Path) -> str:
    """Hash over the weights of a bundle."""
    found = sorted((path / "models").glob("*.safetensors"))
    if not found:
        raise InputError("no weights (models/*.safetensors)", where=str(path), remedy="Give a trained bundle")
    digest = hashlib.sha256()
    for file in found:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def load_weights(path: Path, network: nn.Module) -> None:
    """The weights of a bundle into a network of the same sizes.

    Raises
    ------
    InputError
        If they are absent, damaged or of another preset.
    """
    _fill(network, _weights(path), path)


def initialise(path: Path, network: nn.Module, preset: str) -> None:
    """The weights of a bundle into a network of `preset`, which may have more stages: see `network.grown`.

    Raises
    ------
    InputError
        If they are absent, damaged, or of a network that cannot grow into it.
    """
    trained = load_card(path).preset
    _fill(network, grown(_weights(path), trained, preset), path)


def _weights(path: Path) -> dict[str, Tensor]:
    where = path / WEIGHTS
    if not where.exists():
        raise InputError("no weights here", where=str(where), remedy="Give the `bundle` folder of a training")
    try:
        return load_file(where)
    except SafetensorError as problem:
        raise InputError(f"the weights are damaged ({problem})", where=str(where),
                         remedy="Copy the bundle again") from problem  # fmt: skip


def _fill(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as problem:
        raise InputError(
            "the weights belong to a network of other sizes", where=str(path / WEIGHTS),
            remedy="Use the --preset and the version that they were trained with, or train again",
        ) from problem  # fmt: skip


def save_bundle(
    path: Path, learner: Learner, spec: DataSpec, scans: Scans, identity: dict[str, Any],
    summary: Summary | None, answer: Identifiability,
) -> None:  # fmt: skip
    """Write the averaged weights of a training and everything that describes them."""
    data = about_data(spec, scans)
    card = Card(
        **data, version=ambient_mri.__version__, preset=identity["preset"], method=identity["method"],
        seed=identity["seed"], steps=learner.step, minutes=learner.seconds / 60, precision=identity["precision"],
        initialised_from=identity["init"], identifiability=answer.explain(), batch_size=identity["batch"],
        peak_rate=None if isinstance(learner, AdversarialLearner) else learner.peak_rate,
        # λ weighs the noise of a sample against the squared error of the network's image
        consistency=1.0 if summary is None
        else min(max(2 * data["noise_std"] ** 2 / max(summary.error, 1e-9), 1e-4), 10.0),
        withheld_nmse=(summary.nmse, summary.low, summary.high) if summary is not None else None,
    )  # fmt: skip
    average: nn.Module = learner.average
    write_bundle(path, card, learner.average.generator if isinstance(learner, AdversarialLearner) else average)


def about_data(spec: DataSpec, scans: Scans) -> dict[str, Any]:
    """What a card says of the scans that a model learned from."""
    law = scans.pattern()
    return {
        "data": spec.name, "title": spec.title, "data_sha256": spec.sha256, "licence": spec.licence,
        "simulated": spec.simulated, "acquisition": spec.acquisition,
        "line_frequency": law.frequency if isinstance(law, EmpiricalLines) else None,
        "image_shape": scans.image_shape, "coils": int(scans[0].y.shape[1]),
        "noise_std": float(torch.stack([scans[i].noise_std[0] for i in range(min(len(scans), NOISE_OF))]).mean()),
        "slices": len(scans), "patients": len({scans.patient(i) for i in range(len(scans))}),
        "mixture": _mixture(spec, scans), "symmetry": spec.symmetry,
    }  # fmt: skip


def write_bundle(path: Path, card: Card, network: nn.Module) -> None:
    """Write weights and what describes them; each file is replaced at once, the card last."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    files.write(path / WEIGHTS, save(weights))
    files.write(path / "docs/README.md", card.markdown())
    files.write(path / "LICENSE", f"Weights: as the data allow. Data: {card.licence}\n")
    files.write(path / "configs/metadata.json", _json(card.metadata()))
    if card.method != ADVERSARIAL:
        files.write(path / "configs/inference.json", _json(_inference()))
    files.write(path / CARD, card.model_dump_json(indent=1) + "\n")


def _mixture(spec: DataSpec, scans: Scans) -> tuple[CardComponent, ...] | None:
    """What the card says of the kinds of scans in a mixture."""
    law = scans.pattern()
    if spec.mixture is None or not isinstance(law, Mixture):
        return None
    counts = Counter(record.component for record in scans.records)
    return tuple(
        CardComponent(
            slices=counts[k], acquisition=one.acquisition,
            line_frequency=own.frequency if isinstance(own, EmpiricalLines) else None,
        )
        for k, (one, own) in enumerate(zip(spec.mixture, law.laws, strict=True))
    )  # fmt: skip


def _inference() -> dict[str, Any]:
    """For `python -m monai.bundle run --config_file configs/inference.json`, started in the bundle.

    A method may be named; without one it is the model's own, as on the command line.
    """
    return {
        "bundle_root": ".",
        "files": ["scan.h5"],
        "out": "reconstructions",
        "method": None,
        "device": "cpu",
        "run": {
            "_target_": "ambient_mri.reconstruction.batch.reconstruct",
            "bundle_path": "@bundle_root",
            "files": "@files",
            "out": "@out",
            "method": "@method",
            "device": "@device",
        },
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
