"""Outputs as a BIDS derivative: entities kept, pseudonyms otherwise, valid by BIDS' own validator where it is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ambient_mri.cli import main
from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.layout import bids, flat, folder_of


def test_names_keep_bids_entities() -> None:
    place = bids("sub-01_ses-pre_acq-fast_run-2_T2w")
    folder = "sub-01/ses-pre/anat/sub-01_ses-pre_acq-fast_run-2"
    assert place("nifti") == f"{folder}_desc-ambient_T2w.nii.gz"
    assert place("measured") == f"{folder}_desc-measured_mask.nii.gz"
    assert place("deviation") == f"{folder}_desc-ambientdeviation_T2w.nii.gz"
    assert flat("scan")("nifti") == "scan.nii.gz"


@pytest.mark.parametrize(
    "name", ["Zebrafish^Name", "sub-Zebrafish", "sub-01_Zebrafish", "../../etc", "x_sub-01_T1w", "sub-1/../x_T1w"]
)
def test_other_names_become_pseudonyms(name: str) -> None:
    path = bids(name, "AXFLAIR")("nifti")
    assert re.fullmatch(r"sub-[0-9a-f]{12}/anat/sub-[0-9a-f]{12}_desc-ambient_FLAIR\.nii\.gz", path)
    assert bids(name)("nifti") != bids(name + "2")("nifti")
    assert bids(name, "Zebrafish")("nifti").endswith("_MR.nii.gz")


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no layout"):
        folder_of(tmp_path, "dicom")


@pytest.fixture(scope="module")
def derivative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Restored NIfTI of a BIDS name, and k-space of another one."""
    folder = tmp_path_factory.mktemp("bids")
    image = np.hypot(*np.mgrid[-20:20, -16:16]).astype(np.float32)[None].repeat(3, 0)
    image[1, 10:14, 8:12] = np.nan
    write_nifti(folder / "sub-01_T1w.nii.gz", image, affine=np.diag([1.0, 1.0, 3.0, 1.0]))
    demo = load_spec("brain_demo")
    demo = demo.model_copy(update={"source": demo.source.model_copy(update={"image_size": 32})})
    (scan,) = simulate_files(demo, coils=2, acceleration=2, out=folder / "scans", limit=1).glob("*.h5")
    words = ["--out", str(folder / "out"), "--layout", "bids"]
    first = ["reconstruct", "none", str(folder / "sub-01_T1w.nii.gz"), "--method", "biharmonic", "--missing", "nan"]
    assert main([*first, *words, "--format", "dicom,nifti,hdf5"]) == 0
    assert main(["reconstruct", "none", str(scan), "--method", "zero-filled", *words]) == 0
    return folder / "out" / "derivatives" / "ambient-mri"


def test_a_derivative_is_described(derivative: Path) -> None:
    description = json.loads((derivative / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "ambient-mri"
    images = sorted(path.relative_to(derivative) for path in derivative.rglob("*.nii.gz"))
    assert str(images[0]) == "sub-01/anat/sub-01_desc-ambient_T1w.nii.gz"
    assert len(images) == 3
    for image in images:
        sidecar = json.loads((derivative / f"{str(image).removesuffix('.nii.gz')}.json").read_text())
        assert sidecar["SkullStripped"] is False
        assert sidecar["Sources"][0].startswith("sha256:")
    assert set(json.loads((derivative / "manifest.json").read_text())["files"]) >= {"sub-01_T1w"}
    assert (derivative / "index.html").is_file()


@pytest.mark.slow
def test_the_validator_of_bids_finds_no_error(derivative: Path, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("bids-validator-deno")
    if not program.exists():
        pytest.skip("no BIDS validator is installed (PyPI: bids-validator-deno)")
    place = os.environ | {"DENO_DIR": str(tmp_path)}
    command = [str(program), "--json", str(derivative)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=place)
    report = json.loads(done.stdout)
    issues = report["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    assert errors == []
