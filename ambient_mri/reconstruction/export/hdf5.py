"""HDF5: the complex image, and its magnitude under the name that fastMRI's tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ambient_mri.reconstruction.export import replacing


def write_hdf5(path: Path, image: npt.NDArray[np.complex64], facts: Mapping[str, str | float | bool]) -> Path:
    """Write `(slices, y, x)` in the units of the input.

    Datasets: `reconstruction` float32 magnitude (as fastMRI submissions), `reconstruction_complex` complex64 (its phase
    is relative to the low-resolution phase that the coil maps carry). `facts` become attributes.
    """
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in (("reconstruction", np.abs(image)), ("reconstruction_complex", image)):
            file.create_dataset(name, data=values, chunks=(1, *image.shape[1:]), compression="gzip", shuffle=True)
        file.attrs.update(facts)
    return path
