"""Receive coils: sensitivity maps from measured calibration lines only, prewhitening, noise level.

Nothing here reads a sample that the mask calls unmeasured, so NaN there changes nothing.
"""

from ambient_mri.coils.calibration import calibration_region
from ambient_mri.coils.espirit import dominant_eigenvectors, espirit_maps
from ambient_mri.coils.noise import edge_samples, noise_std, prewhiten
from ambient_mri.coils.phase import absorb_phase

__all__ = [
    "absorb_phase",
    "calibration_region",
    "dominant_eigenvectors",
    "edge_samples",
    "espirit_maps",
    "noise_std",
    "prewhiten",
]
