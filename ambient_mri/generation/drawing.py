"""Samples of a model on disk, drawn once."""

from __future__ import annotations

from pathlib import Path

from ambient_mri.prior.bundle import load_card
from ambient_mri.reconstruction.manifest import Manifest, content_sha256, settings_key
from ambient_mri.sampling.prior_samples import sample_to_folder, usual_steps


def drawn(bundle: Path, number: int, folder: Path, *, seed: int = 0, device: str = "cpu") -> Path:
    """`number` samples of a bundle of any kind in `folder`, drawn unless they are there already."""
    weights = content_sha256(bundle / "models/model.safetensors")
    steps = usual_steps(load_card(bundle))
    key = settings_key({"weights": weights, "number": number, "seed": seed, "noise_levels": steps})
    done = Manifest(folder)
    if done.done("samples", key) is None:
        sample_to_folder(bundle, number, folder, steps=steps, seed=seed, device=device)
        done.record("samples", {"key": key, "outputs": ["samples.npy"]})
    return folder
