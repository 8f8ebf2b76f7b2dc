"""A tiny data set in the layout of fastMRI, with readout oversampling, and what it was made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from ambient_mri.data.cohort import subject
from ambient_mri.data.simulation import birdcage_maps
from ambient_mri.fourier import fft2c
from ambient_mri.randomness import white

SLICES, COILS, READOUT, LINES = 2, 4, 128, 64
NOISE_STD = 3e-6  # files of fastMRI have values of about 1e-4
HEADER = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>
<encodedSpace><matrixSize><x>{readout}</x><y>{lines}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>416</x><y>208</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{half}</x><y>{lines}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>208</x><y>208</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>63</maximum><center>32</center>
</kspace_encoding_step_1></encodingLimits></encoding></ismrmrdHeader>"""


@dataclass(frozen=True)
class FakeFile:
    """What `write_fastmri` wrote: samples and noiseless images `(s, y, x)` of the reconstructed matrix."""

    path: Path
    kspace: torch.Tensor
    images: torch.Tensor


WriteFastMRI = Callable[..., FakeFile]


@pytest.fixture(scope="session")
def write_fastmri() -> WriteFastMRI:
    """`write_fastmri(path, number=0, mask=None, patient=None, header=True, **dataset_options)`."""

    def write(
        path: Path,
        number: int = 0,
        *,
        mask: np.ndarray | None = None,
        patient: str | None = None,
        header: bool = True,
        kspace: np.ndarray | None = None,
        **options: object,
    ) -> FakeFile:
        images = subject(number, size=LINES, slices=SLICES).images * 1e-4
        rng = torch.Generator().manual_seed(number)
        over = torch.nn.functional.pad(images, (0, 0, (READOUT - LINES) // 2, (READOUT - LINES) // 2))
        maps = birdcage_maps(COILS, (READOUT, LINES), rng)
        samples = fft2c(maps * over[:, None])
        samples = samples + NOISE_STD * white(samples.shape, rng)
        stored = samples.numpy() if kspace is None else kspace
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("kspace", data=stored if mask is None else stored * mask, **options)
            if mask is not None:
                file["mask"] = mask
            if header:
                file["ismrmrd_header"] = HEADER.format(readout=READOUT, lines=LINES, half=LINES)
            file["reconstruction_rss"] = np.full((SLICES, LINES, LINES), np.nan, np.float32)  # never to be read
            if patient is not None:
                file.attrs["patient_id"] = patient
        return FakeFile(path, samples, images)

    return write


@pytest.fixture
def fastmri_spec(tmp_path: Path) -> Callable[..., Path]:
    """`fastmri_spec(source={...}, acquisition={...}, split={...})`: a spec beside the files of `tmp_path / "files"`."""

    def write(source: dict = {}, acquisition: dict = {}, split: dict = {}) -> Path:  # noqa: B006
        document = {
            "title": "tiny",
            "licence": "none",
            "source": {"kind": "fastmri", "root": str(tmp_path / "files"), **source},
            "acquisition": {
                "sensitivity_maps": "espirit",
                "pattern": {"kind": "random_lines", "acceleration": 4, "calibration_fraction": 0.125},
                "further": {"keep": [0.25, 0.8]},
                **acquisition,
            },
            "split": {"validation": 1, "test": 1, **split},
        }
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(document))
        return path

    return write
