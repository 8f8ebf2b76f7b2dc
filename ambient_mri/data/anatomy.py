"""The anatomy of synthetic subjects: an average brain, bent, folded, aged and injured at random.

Coordinates are MNI mm, axes (right, front, up). The template is that of `assets/NOTICE.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn.functional import grid_sample, interpolate

FIELD_OF_VIEW_MM = 208.0
CENTRE_MM = (0.0, -18.0, 18.0)  # of the field of view and of the middle slice

_VENTRICLES_MM = (0.0, -12.0, 16.0)
_TEMPLATE_ORIGIN_MM = (0.0, -114.0, -22.0)
_TEMPLATE_SPACING_MM = (1.25, 1.25, 2.5)
_DEPTH_MM = 100.0  # of the box in which smooth fields are drawn
INTENSITY = {"FLAIR": (0.12, 0.84, 0.66, 1.30), "T1w": (0.16, 0.56, 0.92, 0.42), "T2w": (1.25, 0.62, 0.42, 1.05)}
"""Of (fluid, grey, white, lesion), read off real slices."""


@dataclass(frozen=True)
class Anatomy:
    """What is random about a subject."""

    height_mm: float  # of its middle slice
    turn: Tensor  # (3, 3) rotation and scaling about the centre
    bend: _SmoothField  # whole lobes
    wrinkle: _SmoothField  # single gyri
    folds: _SmoothField  # (3 tissues) what makes sulci and gyri deeper or shallower
    sulci: _SmoothField
    ventricles: float
    atrophy: float
    lesions: tuple[_Lesion, ...]
    hyperintensities: float  # of white matter, as in small vessel disease; 0: none
    spots: _SmoothField
    texture: _SmoothField  # (fluid, grey, white)
    grain: _SmoothField
    bias: _SmoothField
    bias_std: float
    intensity: Tensor  # (4,) factors of the intensities

    @classmethod
    def draw(cls, rng: Generator) -> Anatomy:
        normal = torch.randn(16, generator=rng).tolist()
        uniform = torch.rand(4, generator=rng).tolist()
        age = uniform[0]  # what comes with age comes together
        return cls(
            height_mm=CENTRE_MM[2] + 8.0 * (2 * uniform[1] - 1),
            turn=_turn(normal[0:3], normal[3:7]),
            bend=_SmoothField.draw(rng, 60.0, 3),
            wrinkle=_SmoothField.draw(rng, 20.0, 3),
            folds=_SmoothField.draw(rng, 11.0, 3),
            sulci=_SmoothField.draw(rng, 15.0),
            ventricles=0.45 * age - 0.15 + 0.10 * normal[7],
            atrophy=0.9 * age - 0.45 + 0.15 * normal[8],
            lesions=tuple(_Lesion.draw(rng) for _ in range(2) if float(torch.rand((), generator=rng)) < 0.25),
            hyperintensities=max(0.0, 1.2 * age - 0.3 + 0.25 * normal[9]),
            spots=_SmoothField.draw(rng, 7.0),
            texture=_SmoothField.draw(rng, 14.0, 3),
            grain=_SmoothField.draw(rng, 4.0),
            bias=_SmoothField.draw(rng, 90.0),
            bias_std=0.04 + 0.10 * uniform[2],
            intensity=1 + 0.06 * torch.randn(4, generator=rng),
        )

    def image(self, z_mm: float, size: int, contrast: str) -> Tensor:
        """The slice at a height, `(size, size)`: drawn twice as fine and averaged, for partial volumes."""
        fine = 2 * size
        place = _plane(z_mm, fine)
        tissue = self._tissue(self._deformed(place, z_mm, fine), z_mm, fine)
        fluid, grey, white, lesion = (
            factor * value for factor, value in zip(self.intensity.tolist(), INTENSITY[contrast], strict=True)
        )
        levels = torch.tensor([fluid, grey, white])[:, None, None] * (1 + 0.035 * self.texture.at(z_mm, fine))
        image = (tissue * levels).sum(0)
        inside = tissue.sum(0)
        ill, cavity = self._lesioned(place, tissue, z_mm, fine)
        image = image + ill * inside * (lesion - image)
        image = image + cavity * inside * (fluid - image)
        image = (
            image * (1 + 0.03 * self.grain.at(z_mm, fine)[0]) * torch.exp(self.bias_std * self.bias.at(z_mm, fine)[0])
        )
        return interpolate(image.clamp_min(0)[None, None], scale_factor=0.5, mode="area")[0, 0]

    def _deformed(self, place: Tensor, z_mm: float, size: int) -> Tensor:
        """Where in the template each point `(3, size, size)` comes from."""
        centre = torch.tensor(CENTRE_MM)[:, None, None]
        moved = centre + torch.einsum("ij,jyx->iyx", self.turn, place - centre)
        moved = moved + 3.2 * self.bend.at(z_mm, size) + 1.9 * self.wrinkle.at(z_mm, size)
        from_ventricles = moved - torch.tensor(_VENTRICLES_MM)[:, None, None]
        pull = self.ventricles * torch.exp(-from_ventricles.square().sum(0) / (2 * 24.0**2))
        return moved - pull * from_ventricles * torch.tensor([1.0, 0.6, 0.3])[:, None, None]

    def _tissue(self, source: Tensor, z_mm: float, size: int) -> Tensor:
        """Fluid, grey and white `(3, size, size)`, with the sharp borders that an average lost."""
        share = _sample(source)
        inside = ((share.sum(0) - 0.5) * 3 + 0.5).clamp(0, 1)
        leaning = 0.45 * self.folds.at(z_mm, size)
        leaning[0] += self.atrophy
        # level curves of a smooth field wind like sulci: fluid along them, blades of white matter between
        across = self.sulci.at(z_mm, size)[0]
        cortex = share[1] * torch.sigmoid((_from_ventricles(source).square().sum(0).sqrt() - 1.0) * 12)
        leaning[0] += cortex * (2.6 + self.atrophy) * torch.exp(-(across / 0.24).square())
        leaning[2] += cortex * 0.9 * (across.abs() - 0.9)
        return inside * torch.softmax(2.6 * (torch.log(share + 0.03) + leaning), 0)

    def _lesioned(self, place: Tensor, tissue: Tensor, z_mm: float, size: int) -> tuple[Tensor, Tensor]:
        """Shares of lesion and of cavity, `(size, size)` each."""
        rough = self.spots.at(z_mm, size)[0]
        spread = torch.exp(-(_from_ventricles(place).square().sum(0) - 0.8).square())
        solid = 1 - tissue[0]
        ill = tissue[2] * torch.sigmoid(7 * (rough + 1.6 * spread + 0.9 * self.hyperintensities - 3.7))
        cavity = torch.zeros_like(ill)
        for lesion in self.lesions:
            reach = lesion.reach(place) + 0.16 * rough
            ill = torch.maximum(ill, solid * torch.sigmoid(14 * (1 - reach)))
            if lesion.old:
                cavity = torch.maximum(cavity, torch.sigmoid(14 * (0.62 - reach)))
        return ill * (0.55 + 0.45 * torch.sigmoid(rough)), cavity


@dataclass(frozen=True)
class _Lesion:
    """An infarct: an uneven ellipsoid; an old one has a cavity."""

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    old: bool

    @classmethod
    def draw(cls, rng: Generator) -> _Lesion:
        u = torch.rand(8, generator=rng).tolist()
        side = 1.0 if u[0] < 0.5 else -1.0
        radius = 5.0 + 17.0 * u[1] ** 2
        return cls(
            centre_mm=(side * (18 + 38 * u[2]), -75 + 115 * u[3], CENTRE_MM[2] + 24 * (u[4] - 0.5)),
            radii_mm=(radius * (0.7 + 0.5 * u[5]), radius * (0.8 + 0.8 * u[6]), radius),
            old=u[7] < 0.3,
        )

    def reach(self, place: Tensor) -> Tensor:
        """Distance from the centre in radii."""
        offset = place - torch.tensor(self.centre_mm)[:, None, None]
        return (offset / torch.tensor(self.radii_mm)[:, None, None]).square().sum(0).sqrt()


@dataclass(frozen=True)
class _SmoothField:
    """A smooth random function of position in the box, standard deviation about 1; `control` is `(k, gz, gy, gx)`."""

    control: Tensor

    @classmethod
    def draw(cls, rng: Generator, scale_mm: float, channels: int = 1) -> _SmoothField:
        across, deep = (max(4, round(extent / scale_mm) + 1) for extent in (FIELD_OF_VIEW_MM, _DEPTH_MM))
        return cls(torch.randn(channels, deep, across, across, generator=rng))

    def at(self, z_mm: float, size: int) -> Tensor:
        """Its values over an axial plane, `(k, size, size)`."""
        control = self.control
        position = min(max(z_mm - CENTRE_MM[2] + _DEPTH_MM / 2, 0.0), _DEPTH_MM) / _DEPTH_MM * (control.shape[1] - 1)
        low = min(int(position), control.shape[1] - 2)
        share = position - low
        # a sum of independent values with weights of unit norm keeps the variance between the nodes
        plane = (1 - share) * control[:, low] + share * control[:, low + 1]
        plane = plane / ((1 - share) ** 2 + share**2) ** 0.5
        return interpolate(plane[None], size=(size, size), mode="bicubic", align_corners=True)[0]


@lru_cache(maxsize=1)
def _template() -> Tensor:
    """`(1, 3, z, y, x)` fluid, grey, white in [0, 1]; zero outside the brain."""
    file = resources.files("ambient_mri.data").joinpath("assets/mni152_tissue.npz")
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as maps:
        grey, white = (torch.from_numpy(maps[name]).float() / 255 for name in ("grey", "white"))
        brain = torch.from_numpy(maps["brain"]).float()
    fluid = (brain - grey - white).clamp_min(0)
    return torch.stack([fluid, grey, white])[None]


def _sample(source: Tensor) -> Tensor:
    """The template's tissues at MNI positions `(3, y, x)`; it is symmetric, so its right half is enough."""
    template = _template()
    x, y, z = source
    sizes = template.shape[:1:-1]
    ends = [
        (value - origin) / spacing / (n - 1) * 2 - 1
        for value, origin, spacing, n in zip(
            (x.abs(), y, z), _TEMPLATE_ORIGIN_MM, _TEMPLATE_SPACING_MM, sizes, strict=True
        )
    ]
    ends[2] = ends[2].clamp(-1, 1)
    grid = torch.stack(ends, -1)[None, None]
    values: Tensor = grid_sample(template, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return values[0, :, 0]


def _plane(z_mm: float, size: int) -> Tensor:
    """MNI coordinates `(3, size, size)` of the pixels: columns run to the patient's left, rows to the back."""
    along = FIELD_OF_VIEW_MM * ((torch.arange(size) + 0.5) / size - 0.5)
    y, x = torch.meshgrid(CENTRE_MM[1] - along, CENTRE_MM[0] - along, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, z_mm)])


def _turn(degrees: list[float], stretch: list[float]) -> Tensor:
    """Small rotations (3° standard deviation) about each axis, times a common scaling and one of each axis."""
    a, b, c = (3.0 * math.pi / 180 * value for value in degrees)
    axes = torch.tensor([[0.0, -c, b], [c, 0.0, -a], [-b, a, 0.0]])
    whole, *each = torch.tensor(stretch).tanh().tolist()  # bounded, so that no brain outgrows the field of view
    turn: Tensor = torch.linalg.matrix_exp(axes)
    return turn * torch.exp(0.02 + 0.05 * whole + 0.04 * torch.tensor(each))


def _from_ventricles(place: Tensor) -> Tensor:
    """Offset `(3, y, x)` from the ventricles, in half axes of an ellipsoid that holds them and the basal ganglia."""
    offset = place - torch.tensor(_VENTRICLES_MM)[:, None, None]
    return offset / torch.tensor([34.0, 52.0, 30.0])[:, None, None]
