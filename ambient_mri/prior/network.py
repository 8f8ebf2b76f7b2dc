"""The network inside the prior: a MONAI DiffusionModelUNet at three sizes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ambient_mri.errors import InputError


@dataclass(frozen=True)
class Architecture:
    """Sizes of a MONAI `DiffusionModelUNet`, with attention at the deepest level only, where it is nearly free.

    `patch`: pixels are folded into channels, patch × patch at a time, before the first layer and unfolded after
    the last: the width then sits where a step is cheapest (Shi et al. 2016, sub-pixel convolution).
    """

    channels: tuple[int, ...]
    blocks: int
    patch: int = 1
    groups: int = 8

    @property
    def multiple(self) -> int:
        """Image sides are padded to a multiple of this."""
        return int(self.patch * 2 ** (len(self.channels) - 1))


PRESETS = {
    "tiny": Architecture((32, 64, 128), 1, patch=2),
    "small": Architecture((64, 128, 128), 1, patch=2),
    "base": Architecture((128, 256, 256), 2, patch=2),
}
INPUT_CHANNELS = 3  # real, imaginary, mask


def architecture(preset: str) -> Architecture:
    """The sizes called `preset`.

    Raises
    ------
    InputError
        If there is no such preset.
    """
    if preset not in PRESETS:
        raise InputError(f"no preset {preset!r}", where="--preset", remedy=f"Choose among {', '.join(PRESETS)}")
    return PRESETS[preset]


def build_network(sizes: Architecture, seed: int = 0) -> nn.Module:
    """A network `(b, 3, y, x), (b,) → (b, 2, y, x)`, weights from `seed`; the global generator is left as it was."""
    from monai.networks.nets import DiffusionModelUNet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet: nn.Module = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=INPUT_CHANNELS * sizes.patch**2,
            out_channels=2 * sizes.patch**2,
            channels=sizes.channels,
            num_res_blocks=sizes.blocks,
            attention_levels=tuple(level == len(sizes.channels) - 1 for level in range(len(sizes.channels))),
            norm_num_groups=sizes.groups,
            num_head_channels=min(32, sizes.channels[-1]),
        )
    return _Folded(unet, sizes.patch)


class _Folded(nn.Module):
    """A network on pixels folded into channels."""

    def __init__(self, unet: nn.Module, patch: int) -> None:
        super().__init__()
        self.unet, self.patch = unet, patch

    def forward(self, planes: Tensor, steps: Tensor) -> Tensor:
        out = self.unet(nn.functional.pixel_unshuffle(planes, self.patch), steps)
        return nn.functional.pixel_shuffle(out, self.patch)


def padded(network: nn.Module, planes: Tensor, steps: Tensor, multiple: int) -> Tensor:
    """Apply `network` to sides padded (by reflection where it fits) to a multiple, and crop back: the one place."""
    rows, columns = planes.shape[-2:]
    extra = (-rows % multiple, -columns % multiple)
    if any(extra):
        mode = "reflect" if extra[0] < rows and extra[1] < columns else "constant"
        planes = nn.functional.pad(planes, (0, extra[1], 0, extra[0]), mode=mode)
    out: Tensor = network(planes, steps)
    return out[..., :rows, :columns]
