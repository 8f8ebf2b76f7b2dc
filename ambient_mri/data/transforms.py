"""MONAI dictionary transforms: from files and images to corrupted scans, usable in any `monai.transforms.Compose`.

Tensors are channel first without a batch axis, as everywhere in MONAI: image `(1, y, x)`, k-space
`(c, y, x)` complex64, sensitivity maps `(c, y, x)`, mask bool `(1, 1, x)` for lines or `(1, y, x)`,
True = measured. Samples that a mask leaves out are exact zeros and are never read. Random transforms
draw from MONAI's `Randomizable` state: `Compose(...).set_random_state(seed)` makes them repeat.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform, Randomizable
from torch import Generator, Tensor

from ambient_mri.coils import espirit_maps
from ambient_mri.data.readers import fastmri, images, nifti
from ambient_mri.errors import InputError
from ambient_mri.fourier import fft2c
from ambient_mri.measurement import energy_scale
from ambient_mri.operators import keep
from ambient_mri.patterns import Blocks, Pattern, Pixels
from ambient_mri.randomness import white

Item = Mapping[Any, Any]


class LoadScand(MapTransform):
    """Load one slice of a file: fastMRI HDF5, NIfTI, PNG, JPEG or NPY.

    Parameters
    ----------
    keys
        Hold paths. They become k-space `(c, y, x)` (of which only measured samples are read) or a
        magnitude image `(1, y, x)`.
    slice_key
        Holds the number of the slice; where it is absent, the middle one is taken.
    mask_key
        Receives the mask of k-space files.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another format.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        slice_key: str = "slice",
        mask_key: str = "mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.slice_key, self.mask_key = slice_key, mask_key

    def __call__(self, data: Item) -> dict[Any, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            path = Path(item[key])
            if not path.is_file():
                raise InputError("there is no such file", where=str(path))
            index: int | None = item.get(self.slice_key)
            if path.suffix.lower() in images.SUFFIXES:
                item[key] = images.read_slice(path, images.middle(path) if index is None else index)[None]
            elif path.name.lower().endswith((".nii", ".nii.gz")):
                item[key] = nifti.read_slice(path, nifti.slice_count(path) // 2 if index is None else index)[0][None]
            else:
                volume = fastmri.open_volume(path)
                mask = volume.acquired if volume.mask is None else volume.mask & volume.acquired
                item[key] = volume.read(len(volume) // 2 if index is None else index, mask)
                item[self.mask_key] = mask[None]
        return item


class _RandMask(Randomizable, MapTransform):
    """One mask an item, shared by all keys."""

    def __init__(self, keys: KeysCollection, pattern: Pattern, mask_key: str, allow_missing_keys: bool) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.pattern, self.mask_key = pattern, mask_key
        self.rng = Generator()

    def randomize(self, data: Any = None) -> None:
        """Take the seed of this item from MONAI's random state."""
        self.rng = Generator().manual_seed(int(self.R.randint(2**31 - 1)))

    def _draw(self, item: Item) -> Tensor:
        self.randomize()
        shapes = {(int(item[key].shape[-2]), int(item[key].shape[-1])) for key in self.key_iterator(dict(item))}
        if len(shapes) != 1:
            raise InputError(f"images of sizes {sorted(shapes)} cannot share one mask", where=type(self).__name__)
        return self.pattern.draw(shapes.pop(), self.rng)[None]


class _RandImageMaskd(_RandMask):
    def __call__(self, data: Item) -> dict[Any, Any]:
        item = dict(data)
        mask = self._draw(item)
        for key in self.key_iterator(item):
            item[key] = keep(mask, torch.as_tensor(item[key]))
        item[self.mask_key] = mask
        return item


class RandPixelMaskd(_RandImageMaskd):
    """Each pixel of the images under `keys` is missing with probability `missing`; the mask goes to `mask_key`."""

    def __init__(
        self, keys: KeysCollection, missing: float, *, mask_key: str = "mask", allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, Pixels(missing), mask_key, allow_missing_keys)


class RandBlockMaskd(_RandImageMaskd):
    """`count` rectangles (`height` × `width`, fractions of the field of view) are missing from the images."""

    def __init__(
        self,
        keys: KeysCollection,
        height: float,
        width: float,
        count: int = 1,
        *,
        mask_key: str = "mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, Blocks(height, width, count), mask_key, allow_missing_keys)


class RandUndersampled(_RandMask):
    """Measure k-space by a sampling law.

    Parameters
    ----------
    keys
        Hold an image `(1, y, x)`, real or complex, or k-space `(c, y, x)`; become undersampled k-space.
    pattern
        The law, e.g. `ambient_mri.patterns.RandomLines(acceleration=4)`.
    domain
        What `keys` hold: "image" or "kspace".
    noise_std
        White noise that is added, standard deviation per real component.
    mask_key
        Receives the mask.
    maps_key
        With images: holds the sensitivity maps `(c, y, x)`; one coil where it is absent.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pattern: Pattern,
        *,
        domain: str = "image",
        noise_std: float = 0.0,
        mask_key: str = "mask",
        maps_key: str = "sensitivity_maps",
        allow_missing_keys: bool = False,
    ) -> None:
        if domain not in ("image", "kspace"):
            raise InputError(f"domain {domain!r} is neither image nor kspace", where="RandUndersampled")
        super().__init__(keys, pattern, mask_key, allow_missing_keys)
        self.domain, self.noise_std, self.maps_key = domain, noise_std, maps_key

    def __call__(self, data: Item) -> dict[Any, Any]:
        item = dict(data)
        mask = self._draw(item)
        for key in self.key_iterator(item):
            kspace = torch.as_tensor(item[key]).to(torch.complex64)
            if self.domain == "image":
                kspace = fft2c(item[self.maps_key] * kspace if self.maps_key in item else kspace)
            if self.noise_std:
                kspace = kspace + self.noise_std * white(kspace.shape, self.rng)
            item[key] = keep(mask, kspace)
        item[self.mask_key] = mask
        return item


class EstimateSensitivityMapsd(MapTransform):
    """ESPIRiT maps of the k-space under the (one) key, from its measured calibration lines only.

    Parameters
    ----------
    keys
        Hold k-space `(c, y, x)`.
    mask_key
        Holds its mask.
    maps_key
        Receives the maps `(c, y, x)`, Σ_c |S_c|² = 1 on their support.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_key: str = "mask",
        maps_key: str = "sensitivity_maps",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key, self.maps_key = mask_key, maps_key

    def __call__(self, data: Item) -> dict[Any, Any]:
        item = dict(data)
        for key in self.key_iterator(item):
            item[self.maps_key] = espirit_maps(item[key][None], item[self.mask_key][None])[0]
        return item


class NormalizeByMeasuredd(MapTransform):
    """Divide by the scale that measured samples alone give (see `measurement.energy_scale`).

    Parameters
    ----------
    keys
        Hold masked images or k-space `(c, y, x)`; the first one present decides the scale, all are divided.
    pattern
        The law that the mask was drawn from: its inclusion probabilities weigh the samples.
    noise_std
        Per real component, in the units of the data.
    mask_key
        Holds the mask.
    scale_key
        Receives the scale (float): physical = normalised · scale.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pattern: Pattern,
        *,
        noise_std: float = 0.0,
        mask_key: str = "mask",
        scale_key: str = "scale",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.pattern, self.noise_std, self.mask_key, self.scale_key = pattern, noise_std, mask_key, scale_key

    def __call__(self, data: Item) -> dict[Any, Any]:
        item = dict(data)
        scale: float | None = None
        for key in self.key_iterator(item):
            if scale is None:
                shape = (int(item[key].shape[-2]), int(item[key].shape[-1]))
                probability = self.pattern.probability(shape)
                scale = energy_scale(item[key][None], item[self.mask_key][None], probability, self.noise_std)
            item[key] = item[key] / scale
        item[self.scale_key] = scale
        return item
