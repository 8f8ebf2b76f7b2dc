"""HDF5: the complex image, and its magnitude under the name that fastMRI's tools read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri.files import replacing


def write_hdf5(
    path: Path, image: npt.NDArray[np.complex64] | npt.NDArray[np.float32], facts: Mapping[str, str | float | bool],
    *, measured: npt.NDArray[np.bool_] | None = None, deviation: npt.NDArray[np.float32] | None = None,
) -> Path:  # fmt: skip
    """Write `(slices, y, x)` in the units of the input.

    Datasets: `reconstruction` float32 magnitude (as fastMRI submissions), `reconstruction_complex` complex64 (its phase
    is relative to the low-resolution phase that the coil maps carry; not of real images); of restored images also
    `measured`, 1 where a pixel is the input's own; with samples `standard_deviation`. `facts` become attributes.
    """
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        datasets: dict[str, npt.NDArray[Any]] = {"reconstruction": np.abs(image)}
        if np.iscomplexobj(image):
            datasets["reconstruction_complex"] = image
        if measured is not None:
            datasets["measured"] = measured.astype(np.uint8)
        if deviation is not None:
            datasets["standard_deviation"] = deviation
        for name, values in datasets.items():
            file.create_dataset(name, data=values, chunks=(1, *image.shape[1:]), compression="gzip", shuffle=True)
        file.attrs.update(facts)
    return path
