"""What a calibration has drawn so far: samples may take a minute a slice, and the same command goes on from here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ambient_mri import files
from ambient_mri.errors import InputError
from ambient_mri.evaluation.coverage import Components


class Drawn:
    """Components of slices by their number within a part, in memory and in a file of their own.

    The file holds no word of whose they are, but they come from patients: only its owner may read it, and it lies
    beside the bundle, not in it, so that none is handed on with a model. Drawn otherwise they are in another file: its
    name has the hash of what they depend on.

    Parameters
    ----------
    bundle
        Beside which the file is; None: nothing is kept.
    identity
        All that the components depend on.

    Raises
    ------
    InputError
        If the file is there and cannot be read.
    """

    def __init__(self, bundle: Path | None = None, identity: Mapping[str, object] | None = None) -> None:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        self.path = bundle and bundle.with_name(f"{bundle.name}_calibration_{digest}.safetensors")
        self.tensors: dict[str, Tensor] = {}
        if self.path is None or not self.path.exists():
            return
        try:
            self.tensors = load_file(self.path)
        except (OSError, SafetensorError):
            raise InputError("cannot be read", where=str(self.path), remedy="Remove it to draw anew") from None

    def __contains__(self, key: tuple[str, int]) -> bool:
        return _name(key, "residual") in self.tensors

    def __getitem__(self, key: tuple[str, int]) -> Components:
        residual, spread, noise_std = (self.tensors[_name(key, field)] for field in FIELDS)
        return Components(residual, spread, noise_std, float(self.tensors[_name(key, "freedom")]))

    def keep(self, found: Mapping[tuple[str, int], Components]) -> None:
        """Add what a batch gave."""
        for key, components in found.items():
            for field in FIELDS:
                self.tensors[_name(key, field)] = getattr(components, field)
            self.tensors[_name(key, "freedom")] = components.residual.new_tensor(components.freedom)
        if self.path is not None:
            tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
            files.write_restricted(self.path, save(tensors))

    def remove(self) -> None:
        """The calibration is written: nothing goes on from here."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


FIELDS = tuple(field.name for field in dataclasses.fields(Components) if field.name != "freedom")


def _name(key: tuple[str, int], field: str) -> str:
    part, row = key
    return f"{part}/{row}/{field}"
