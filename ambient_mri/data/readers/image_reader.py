"""The readers as MONAI `ImageReader`s, for `LoadImaged` and other MONAI pipelines."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.image_reader import ImageReader

from ambient_mri.data.readers.fastmri import Volume, is_fastmri, open_volume


class FastMRIReader(ImageReader):
    """One slice of a fastMRI file: only what its mask measured (everything of a fully sampled file).

    Unlike `monai.apps.reconstruction.fastmri_reader.FastMRIReader` it reads one slice, keeps the
    imaginary part and the header, and invents no mask. Use it with `dtype=np.complex64`.

    Parameters
    ----------
    index
        The slice; None: the middle one.
    """

    def __init__(self, index: int | None = None) -> None:
        super().__init__()
        self.index = index

    def verify_suffix(self, filename: Sequence[str | PathLike[Any]] | str | PathLike[Any]) -> bool:
        """By content: HDF5 that holds `kspace`."""
        return all(is_fastmri(path) for path in _paths(filename))

    def read(self, data: Sequence[str | PathLike[Any]] | str | PathLike[Any], **kwargs: Any) -> Volume:
        """Open one file; takes none of MONAI's keyword arguments."""
        paths = _paths(data)
        if kwargs or len(paths) != 1:
            raise TypeError("FastMRIReader.read takes one file and no keyword arguments")
        return open_volume(paths[0])

    def get_data(self, img: Volume) -> tuple[npt.NDArray[np.complex64], dict[str, Any]]:
        """Samples `(c, y, x)` complex64 and their facts; `mask` is bool `(1, x)` or `(y, x)`."""
        index = len(img) // 2 if self.index is None else self.index
        mask = img.acquired if img.mask is None else img.mask & img.acquired
        facts = {"mask": mask.numpy(), "slice": index, "filename_or_obj": str(img.path)}
        if img.header is not None:
            facts |= {"recon_matrix": img.header.recon_matrix, "recon_fov_mm": img.header.recon_fov_mm}
        return img.read(index, mask).numpy(), facts


def _paths(names: Sequence[str | PathLike[Any]] | str | PathLike[Any]) -> list[Path]:
    return [Path(names)] if isinstance(names, str | PathLike) else [Path(name) for name in names]
