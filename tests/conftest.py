"""What several rooms' tests share: where real data lie, and one bundle trained for a few steps."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the shared real data; skips where there is none."""
    stated = os.environ.get("AMBIENT_MRI_DATA")
    folder = Path(stated) if stated else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: neither AMBIENT_MRI_DATA nor {folder} is a folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def short_looks() -> Iterator[None]:
    """Most tests train, and few look at the pictures of it, whose samples have two noise levels, or at the validation,
    which is on 16 scans."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ambient_mri.sampling.preview.SAMPLING_STEPS", 2)
        patch.setattr("ambient_mri.prior.validation.SCANS", 16)
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the smallest network after three steps on the built-in cohort: runs like any other, knows nothing."""
    from ambient_mri.cli import main

    out = tmp_path_factory.mktemp("tiny")
    assert main(["train", "--data", "brain_demo", "--preset", "tiny", "--steps", "3", "--out", str(out)]) == 0
    return out / "bundle"


@pytest.fixture(scope="session")
def dcm2niix() -> str:
    """The program that DICOM geometry is tested against; skips where there is none."""
    if importlib.util.find_spec("dcm2niix") is not None:
        from dcm2niix import bin as carried

        return str(carried)
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix is not installed (PyPI or Debian: dcm2niix)")
    return program
