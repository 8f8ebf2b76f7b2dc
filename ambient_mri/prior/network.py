"""The network inside the prior: a cascade of MONAI DiffusionModelUNets at three sizes.

Between two stages the measurement completes the image (Aggarwal et al. 2019, MoDL; Hammernik et al. 2018): what a
scan measured is put back, so that the next stage removes what aliasing is left. At the same cost three small stages
are better than one larger network. A stage sees the image, the first one, and what the measurement added to the
prediction before it: how the scan answers a guess says what its coils and its mask tell apart, and where. And it says
how far its prediction may be off at every pixel, and where neighbours are off alike, so that what is missing is looked
for in tissue and not in air, and is as smooth as errors are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ambient_mri.errors import InputError


@dataclass(frozen=True)
class Architecture:
    """Sizes of the stages, each a MONAI `DiffusionModelUNet` with attention at its deepest level, where it is cheap.

    `patch`: pixels are folded into channels, patch × patch at a time, before the first layer and unfolded after
    the last: the width then sits where a step is cheapest (Shi et al. 2016, sub-pixel convolution).
    """

    channels: tuple[int, ...]
    blocks: int
    patch: int = 1
    groups: int = 8
    stages: int = 1

    @property
    def multiple(self) -> int:
        """Image sides are padded to a multiple of this."""
        return int(self.patch * 2 ** (len(self.channels) - 1))


PRESETS = {
    "tiny": Architecture((32, 64, 64), 1, patch=2, stages=2),
    "small": Architecture((32, 64, 64), 1, patch=2, stages=3),
    "deep": Architecture((32, 64, 64), 1, patch=2, stages=5),
    "base": Architecture((64, 128, 128), 1, patch=2, stages=4),
}
INPUT_CHANNELS = 7
"""Real and imaginary part of the current image and of the first one, the mask, both parts of what F missed."""
OUTPUT_CHANNELS = 10
"""Of real and imaginary part: prediction, correction, log variance of what the prediction lacks, and log likeness of
that at the next pixel along x and along y."""
GAINS = 2
"""After these, of the last stage only."""
LOG_VARIANCE = 6.0
"""Log variances are 6·tanh(output): all begin at that of the data, σ_d², and stay within a factor e⁶ of it."""
LIKENESS_START, LIKENESS = -5.0, 8.0
"""Log likenesses are -5 + 8·tanh(output), in units of the precision of the pixels: at first next to nothing, and e³ at
most, where a dozen neighbours are off alike."""
GAIN_START, GAIN_SLOPE = 4.0, 8.0
"""The gain is sigmoid(4 + 8·output): nearly 1 at the first step, and flat where it is 1, so that tissue stays exact."""


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


def grown(weights: dict[str, Tensor], preset: str, wanted: str) -> dict[str, Tensor]:
    """Weights of a cascade of more stages that computes what one of fewer stages does (Chen et al. 2016, Net2Net).

    The new stages stand before the last one, which alone gives the gain. They are copies of the stage before them, but
    predict nothing: they add nothing to the prediction until training gives them something to add. Planes that stages
    of an earlier version did not see, or did not make, are filled in: see `_widened`.

    Parameters
    ----------
    weights
        Of a cascade of `preset`.
    wanted
        The preset that it becomes.

    Raises
    ------
    InputError
        If the two differ in more than the number of stages, or `wanted` has fewer.
    """
    have, want = architecture(preset), architecture(wanted)
    weights = {name: _widened(name, value, have) for name, value in weights.items()}
    if have == want:
        return weights
    if replace(have, stages=want.stages) != want or not 2 <= have.stages < want.stages:
        raise InputError(
            f"its network, of preset {preset}, cannot become one of {wanted}", where="--preset",
            remedy=f"Give --preset {preset}, or one of the same stages and more of them",
        )  # fmt: skip
    copied, last = have.stages - 2, have.stages - 1
    origins = [*range(last), *[copied] * (want.stages - have.stages), last]
    made: dict[str, Tensor] = {}
    for stage, origin in enumerate(origins):
        new, prefix = origin == copied and stage != copied, f"stages.{origin}."
        for name, value in weights.items():
            if name.startswith(prefix):
                inner = name.removeprefix(prefix)
                made[f"stages.{stage}.{inner}"] = _silent(value, have) if new and inner.startswith("out.2.") else value
    return made


def _widened(name: str, value: Tensor, sizes: Architecture) -> Tensor:
    """First layers with zeros for planes that their stage did not see; last layers that made one prediction and no
    variance with this prediction as the correction, and the variance of the data; without likeness, with next to none.
    Never cut off."""
    pixels = sizes.patch**2
    if name.endswith("conv_in.conv.weight"):
        missing = INPUT_CHANNELS * pixels - value.shape[1]
        return nn.functional.pad(value, (0, 0, 0, 0, 0, max(missing, 0)))
    if ".out.2.conv." not in name:  # of MONAI's out: norm, activation, convolution
        return value
    gains = GAINS * pixels if name.startswith(f"stages.{sizes.stages - 1}.") else 0
    made, gain = value.split([len(value) - gains, gains])
    if len(made) == 2 * pixels:
        made = torch.cat([made, made])
    missing = OUTPUT_CHANNELS * pixels - len(made)
    return torch.cat([made, made.new_zeros((max(missing, 0), *made.shape[1:])), gain])


def _silent(last: Tensor, sizes: Architecture) -> Tensor:
    """A last layer that predicts and corrects nothing, and says as before what the prediction lacks."""
    predicted = 4 * sizes.patch**2
    return torch.cat([torch.zeros_like(last[:predicted]), last[predicted:]])


def has_bfloat16(device: str) -> bool:
    """Whether the device computes in bfloat16 rather than emulating it, slowly."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported())
    capable = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return capable and bool(torch.cpu._is_avx512_bf16_supported())


def build_network(sizes: Architecture, seed: int = 0) -> Cascade:
    """A cascade with weights from `seed`; the global generator is left as it was."""
    from monai.networks.nets import DiffusionModelUNet

    def stage(outputs: int) -> nn.Module:
        unet: nn.Module = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=INPUT_CHANNELS * sizes.patch**2,
            out_channels=outputs * sizes.patch**2,
            channels=sizes.channels,
            num_res_blocks=sizes.blocks,
            attention_levels=tuple(level == len(sizes.channels) - 1 for level in range(len(sizes.channels))),
            norm_num_groups=sizes.groups,
            num_head_channels=min(32, sizes.channels[-1]),
        )
        return unet

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stages = [*(stage(OUTPUT_CHANNELS) for _ in range(sizes.stages - 1)), stage(OUTPUT_CHANNELS + GAINS)]
        return Cascade(stages, sizes.patch, sizes.multiple)


class Cascade(nn.Module):
    """Stages on pixels folded into channels; each adds to the prediction, and to the correction, of those before it.

    What a prediction lacks has a variance at every pixel, so that the measurement is explained where it may lack most,
    in tissue and at edges, and not in air; and a likeness to what it lacks at the next pixel, so that the explanation
    is smooth where errors are. The correction takes off noise, of which the explanation leaves some.

    Real and imaginary part of the last image are multiplied by a gain in (0, 1) at every pixel: air, and the imaginary
    part where the maps carry the phase, go to zero at once, where a prediction would have to repeat their noise.
    """

    def __init__(self, stages: list[nn.Module], patch: int, multiple: int) -> None:
        super().__init__()
        self.stages, self.patch, self.multiple = nn.ModuleList(stages), patch, multiple

    def inner_matrices(self) -> list[nn.Parameter]:
        """Weights between hidden layers: all matrices but those of the noise level and of the first and last layer."""
        ends = ("conv_in", "time_embed", "out")  # names of MONAI's DiffusionModelUNet
        return [
            weight
            for stage in self.stages
            for name, weight in stage.named_parameters()
            if weight.ndim >= 2 and name.split(".")[0] not in ends
        ]

    def forward(
        self,
        start: Tensor,
        mask: Tensor,
        steps: Tensor,
        complete: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
        noise_scale: Tensor,
        precision: torch.dtype = torch.float32,
    ) -> Tensor:
        """The image after the last stage, `(b, 1, y, x)` complex64.

        Parameters
        ----------
        start
            First image, `(b, 1, y, x)` complex64, of standard deviation about 1.
        mask
            `(b, 1, y, x)` real: what was measured.
        steps
            `(b,)` c_noise in the units of MONAI's embedding.
        complete
            From a prediction, the variances `(b, 2, y, x)` of what its real and imaginary part lack, how much alike
            that is at the next pixel along x and along y, `(b, 4, y, x)`, and the last image to the image that the
            measurement makes of them; all in the scale of `start`.
        noise_scale
            `(b, 1, 1, 1)`: of corrections.
        precision
            Autocast type inside the stages.
        """
        image, prediction = start, torch.zeros_like(start)
        correction = missed = prediction
        for stage in self.stages:
            planes = torch.cat([image.real, image.imag, start.real, start.imag, mask, missed.real, missed.imag], 1)
            with torch.autocast(start.device.type, dtype=precision, enabled=precision != torch.float32):
                out = self._padded(stage, planes, steps).float()
            prediction = prediction + torch.complex(out[:, :1], out[:, 1:2])
            correction = correction + torch.complex(out[:, 2:3], out[:, 3:4])
            variance = (LOG_VARIANCE * out[:, 4:6].tanh()).exp()
            likeness = (LIKENESS_START + LIKENESS * out[:, 6:10].tanh()).exp()
            completed = complete(prediction, variance, likeness, image)
            missed = completed - prediction
            image = completed + noise_scale * correction
        gain = (GAIN_START + GAIN_SLOPE * out[:, 10:]).sigmoid()
        return torch.complex(gain[:, :1] * image.real, gain[:, 1:] * image.imag)

    def _padded(self, stage: nn.Module, planes: Tensor, steps: Tensor) -> Tensor:
        """`stage` on sides padded (by reflection where it fits) to a multiple, cropped back: the one place."""
        rows, columns = planes.shape[-2:]
        extra = (-rows % self.multiple, -columns % self.multiple)
        if any(extra):
            mode = "reflect" if extra[0] < rows and extra[1] < columns else "constant"
            planes = nn.functional.pad(planes, (0, extra[1], 0, extra[0]), mode=mode)
        out = stage(nn.functional.pixel_unshuffle(planes, self.patch), steps)
        return nn.functional.pixel_shuffle(out, self.patch)[..., :rows, :columns]
