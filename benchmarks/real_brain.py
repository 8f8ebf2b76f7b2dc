"""A real acquisition whose truth nobody knows: eight coils, two phase encodes, 12 % measured (Poisson disc).

    python benchmarks/real_brain.py sigpy_brain8_poisson_230x180.npy --picture docs/images/real_brain.png
    python benchmarks/real_brain.py sigpy_brain8_poisson_230x180.npy --bundle brain_flair_64

Each method reconstructs from 95 % of the measured samples outside of the calibration region, and all inside, and is
judged by what it predicts of the other 5 %: |F S x - y| / |y| over coils. Both sides estimate ESPIRiT maps from the
calibration region; sigpy's L1WaveletRecon takes the best of its strengths *by this figure*, ours the default. Noise in
the samples left out is a floor for everybody. The picture shows reconstructions from all samples.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import sigpy
import torch
from sigpy.mri import app

from ambient_mri.data.acquired import MeasuredVolume
from ambient_mri.data.readers.content import open_kspace
from ambient_mri.data.readers.kspace import KspaceVolume
from ambient_mri.fourier import fft2c
from ambient_mri.pictures import grey, sheet, write_png
from ambient_mri.prior.bundle import Bundle
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction import methods

OURS = ("zero-filled", "cg-sense", "l1-wavelet", "tv")
STRENGTHS = (1e-5, 3e-5, 1e-4, 1e-3)  # of sigpy, where the largest sample is 1
LEFT_OUT, CALIBRATION = 0.05, 24


def opened(path: Path, folder: Path) -> KspaceVolume:
    """The array as a BART file with its pattern; its publishers say that what is 0 was not sampled."""
    kspace = np.load(path)
    pattern = np.abs(kspace).sum(0) > 0
    for name, array in (("brain", kspace.transpose(1, 2, 0)[None]), ("pattern", pattern[None])):
        (folder / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
        array.astype("<c8").ravel(order="F").tofile(folder / f"{name}.cfl")
    (volume,) = open_kspace(folder / "brain.cfl", folder / "pattern.cfl")
    return volume


def ours(
    volume: KspaceVolume, mask: torch.Tensor, method: str, bundle: Bundle | None = None
) -> tuple[np.ndarray, torch.Tensor]:
    """The image `(y, x)`, and its k-space `(c, y, x)` in the units of the file."""
    measurement = MeasuredVolume(volume, mask, remove_oversampling=False)[0]
    image = methods.reconstruction(method, bundle)(measurement, None)
    maps = measurement.sensitivity_maps
    assert maps is not None
    return image[0, 0].abs().numpy(), fft2c(maps * image)[0] * measurement.scale


def theirs(kspace: np.ndarray, mask: np.ndarray, strength: float) -> tuple[np.ndarray, torch.Tensor]:
    """The same of sigpy."""
    scale = np.abs(kspace).max()
    y = kspace * mask / scale
    maps = app.EspiritCalib(y, calib_width=CALIBRATION, show_pbar=False).run()
    image = app.L1WaveletRecon(y, maps, strength, show_pbar=False).run()
    return np.abs(image), torch.from_numpy(sigpy.fft(maps * image, axes=(-2, -1)) * scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kspace", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--bundle", type=located, help="a trained model, whose one-step is compared too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        volume = opened(given.kspace, Path(folder))
        assert volume.mask is not None
        mask = volume.mask
        kspace = volume.read(0, mask)
        outside = mask.clone()
        rows, columns = (slice(size // 2 - CALIBRATION // 2, size // 2 + CALIBRATION // 2) for size in mask.shape)
        outside[rows, columns] = False
        left_out = outside & (torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < LEFT_OUT)
        kept = mask & ~left_out

        def missed(predicted: torch.Tensor) -> float:
            difference = (predicted - kspace)[:, left_out]
            return float(difference.norm() / kspace[:, left_out].norm())

        print(f"{int(mask.sum())} samples measured ({mask.float().mean():.1%}), {int(left_out.sum())} left out\n")
        print("| method | error of the samples left out |\n|---|---|")
        for method in OURS:
            print(f"| {method} | {missed(ours(volume, kept, method)[1]):.3f} |", flush=True)
        if given.bundle:
            bundle = methods.load(given.bundle, "cpu", "kspace")
            for method in ("one-step", "one-step-tv"):
                print(
                    f"| {method}, {given.bundle.name} | {missed(ours(volume, kept, method, bundle)[1]):.3f} |",
                    flush=True,
                )
        found = {s: missed(theirs(kspace.numpy(), kept.numpy(), s)[1]) for s in STRENGTHS}
        best = min(found, key=lambda s: found[s])
        print(f"| sigpy L1WaveletRecon, λ = {best:g} of {', '.join(f'{s:g}' for s in STRENGTHS)} | {found[best]:.3f} |")
        if given.picture:
            images = [ours(volume, mask, method)[0] for method in OURS]
            images.insert(1, theirs(kspace.numpy(), mask.numpy(), best)[0])
            order = (images[0], images[1], images[3], images[4])  # zero-filled, sigpy, l1-wavelet, tv
            print(write_png(given.picture, sheet([grey(image.astype(np.float32).T) for image in order], 4)))


if __name__ == "__main__":
    main()
