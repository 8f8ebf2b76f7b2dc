"""The model that T4 takes off what is hard for it too: it must know none of the patients."""

from __future__ import annotations

from pathlib import Path

from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.data.split import parts
from ambient_mri.errors import InputError
from ambient_mri.prior.bundle import Bundle, load_bundle
from ambient_mri.prior.card import Card


def load_reference(path: Path, spec: DataSpec, device: str) -> Bundle:
    """A bundle that learned from other scans than the training part of `spec`.

    Raises
    ------
    InputError
        If it learned from the same ones, as far as can be known: it would hide what is looked for.
    """
    reference = load_bundle(path, device)
    if reference.card.data_sha256 == spec.sha256 or _learned_from(reference.card) & _scans_of(spec):
        raise InputError(
            f"learned from {reference.card.data} too, so it knows the same patients", where=f"--reference {path}",
            remedy="Give a model of other patients, or leave --reference out",
        )  # fmt: skip
    return reference


def _learned_from(card: Card) -> set[str]:
    """The scans that a model learned from; empty where its data spec is not at hand, or was changed."""
    try:
        spec = load_spec(card.data)
        return _scans_of(spec) if spec.sha256 == card.data_sha256 else set()
    except InputError:
        return set()


def _scans_of(spec: DataSpec) -> set[str]:
    """What identifies training scans: their files, or numbers of subjects that a seed makes."""
    seed = getattr(spec.source, "seed", None)
    return {str(record.path or f"{seed} {record.volume_id}") for record in parts(spec)["train"]}
