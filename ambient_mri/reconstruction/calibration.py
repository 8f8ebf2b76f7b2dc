"""The factor that makes standard deviations of posterior samples mean what they say, and its place beside a bundle.

Fitted on validation patients and checked on test patients, on measured samples that were hidden from the sampler by a
draw of D: no clean image is needed. `configs/calibration.json` in the bundle keeps it for `reconstruct`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ambient_mri import files
from ambient_mri.errors import InputError

CALIBRATION = "configs/calibration.json"


class Calibration(BaseModel):
    """What `ambient-mri calibrate` found out about one way to draw samples with one model.

    Parameters
    ----------
    weights_sha256
        Of the model; other weights need another factor.
    method, samples, nfe
        How the samples were drawn. Each changes how far their spread is from the error.
    level, factor
        Standard deviations times `factor` give intervals that cover the share `level` of held-out measurements.
    data, data_sha256, simulated
        The spec whose validation patients the factor was fitted on.
    patients
        How many they are.
    coverage
        (mean, low, high) on the test patients, with the factor.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    weights_sha256: str
    method: str
    samples: int
    nfe: int
    level: float
    factor: float = Field(gt=0)
    data: str
    data_sha256: str
    simulated: bool
    patients: int
    coverage: tuple[float, float, float]

    def save(self, bundle: Path) -> Path:
        """Write it into the bundle; takes the place of an earlier one."""
        return files.write(bundle / CALIBRATION, self.model_dump_json(indent=1) + "\n")

    def differs(self, method: str, samples: int, nfe: int, strength: float | None) -> str:
        """What keeps the factor from samples that are drawn in this way, in words; empty where nothing does."""
        theirs = {"method": self.method, "samples": self.samples, "nfe": self.nfe, "strength": None}
        ours = {"method": method, "samples": samples, "nfe": nfe, "strength": strength}
        names = [name for name in theirs if theirs[name] != ours[name]]
        return ", ".join(f"{name} {ours[name]} instead of {theirs[name] or 'the default'}" for name in names)


def load_calibration(bundle: Path, weights_sha256: str) -> Calibration | None:
    """The calibration of a bundle, if there is one for these weights.

    Raises
    ------
    InputError
        If it cannot be read: a factor is never guessed.
    """
    path = bundle / CALIBRATION
    if not path.exists():
        return None
    try:
        found = Calibration.model_validate_json(path.read_text("utf-8"))
    except (ValidationError, UnicodeDecodeError) as problem:
        raise InputError("the calibration cannot be read", where=str(path),
                         remedy="Remove it, or run `ambient-mri calibrate` again") from problem  # fmt: skip
    return found if found.weights_sha256 == weights_sha256 else None
