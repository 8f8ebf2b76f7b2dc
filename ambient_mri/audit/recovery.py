"""How well a model predicts withheld measurements of patients, kept in a folder so that an audit resumes (T4, T5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ambient_mri import files
from ambient_mri.audit.cohort import Side
from ambient_mri.audit.levels import Level
from ambient_mri.audit.membership import by_patient, withheld_errors
from ambient_mri.audit.similarity import Whitening
from ambient_mri.corruption import FurtherLaw
from ambient_mri.prior.bundle import Bundle

Array = npt.NDArray[np.float64]


def patient_errors(
    path: Path, bundle: Bundle, sides: Sequence[Side], law: FurtherLaw, whitening: Whitening, level: Level,
    *, seed: int, device: str, progress: Callable[[str], None] = lambda line: None,
) -> Array:  # fmt: skip
    """Mean log errors of the patients of all sides, one side after another, `(patients, levels)`.

    Parameters
    ----------
    path
        NPY of the slices' errors: read if it is there, else computed and written.
    level
        Says at which noise levels, and with how many draws of what is withheld.
    """
    if not path.exists():
        progress(f"predicting withheld measurements of {sum(map(len, sides))} slices ({path.stem})")
        scans = (batch.to(device) for side in sides for batch in side.batches())
        errors = withheld_errors(
            bundle.prior, scans, law, whitening, level.noise_levels, seed=seed, draws=level.draws
        )  # fmt: skip
        files.write_array(path, errors)
    return by_patient(np.load(path, allow_pickle=False), [patient for side in sides for patient in side.patients])
