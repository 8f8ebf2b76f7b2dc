"""Where the outputs of a case lie: beside each other under its name, or as a BIDS derivative.

BIDS (Gorgolewski et al. 2016; specification 1.10, derivatives): `derivatives/ambient-mri/sub-…/anat/…`. Inputs whose
names are BIDS keep their entities; others get a subject made of a hash, never a name. What BIDS has no place for
(HDF5, DICOM, previews, the page) is listed in `.bidsignore`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ambient_mri
from ambient_mri import files
from ambient_mri.errors import InputError

LAYOUTS = ("flat", "bids")
ROOT = Path("derivatives") / "ambient-mri"
SUFFIXES = {
    "nifti": ".nii.gz", "hdf5": ".h5", "dicom": "_dicom", "measured": "_measured.nii.gz",
    "deviation": "_deviation.nii.gz", "dicom_deviation": "_dicom_deviation",
    "dicom_deviation_map": "_dicom_deviation_map.dcm", "preview": ".png",
}  # fmt: skip
"""What a case can write, and how its name goes on."""

ENTITIES = re.compile(
    r"sub-(?P<sub>[0-9A-Za-z]+)(_ses-(?P<ses>[0-9A-Za-z]+))?"
    r"(?P<rest>(_(acq|ce|rec|run|echo|flip|inv|mt|part)-[0-9A-Za-z]+)*)_(?P<suffix>[0-9A-Za-z]+)$"
)
CONTRASTS = {"AXT1": "T1w", "AXT1PRE": "T1w", "AXT1POST": "T1w", "AXT2": "T2w", "AXFLAIR": "FLAIR", "CORPD_FBK": "PDw"}
"""BIDS suffixes of what fastMRI calls acquisitions."""
SUFFIXES_OF_BIDS = ("T1w", "T2w", "PDw", "FLAIR", "T2star", "inplaneT1", "inplaneT2", "PDT2", "angio", "T2starw")
UNKNOWN = "MR"
"""Of images whose contrast the input does not say; BIDS has no suffix for them."""
IGNORED = ("*.h5", "*.png", "*_dicom", "*_dicom_deviation", "*.dcm", "manifest.json", "index.html", "gallery",
           f"*_{UNKNOWN}.*")  # fmt: skip

Place = Callable[[str], str]
"""From one of `SUFFIXES` to a path relative to the output folder."""


def flat(name: str) -> Place:
    """`NAME.nii.gz`, `NAME.h5`, …"""
    return lambda kind: f"{name}{SUFFIXES[kind]}"


def bids(name: str, contrast: str = "") -> Place:
    """`sub-X[/ses-Y]/anat/sub-X[_ses-Y][…]_desc-ambient_SUFFIX.nii.gz` and what belongs to it.

    Parameters
    ----------
    name
        Of the case: BIDS entities are taken from it; anything else is hashed.
    contrast
        What the input says it is, in fastMRI's words.
    """
    found = ENTITIES.match(name)
    if found and found["suffix"] in SUFFIXES_OF_BIDS:
        subject, session, rest, suffix = found["sub"], found["ses"], found["rest"], found["suffix"]
    else:
        subject, session, rest = files.text_sha256(name).hex()[:12], None, ""
        suffix = CONTRASTS.get(contrast.upper(), UNKNOWN)
    stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    folder = f"sub-{subject}/" + (f"ses-{session}/" if session else "") + "anat/"
    made = f"{folder}{stem}{rest}_desc-ambient"

    def place(kind: str) -> str:
        if kind == "measured":
            return f"{folder}{stem}{rest}_desc-measured_mask.nii.gz"
        if kind == "deviation":
            return f"{made}deviation_{suffix}.nii.gz"
        return f"{made}_{suffix}{SUFFIXES[kind]}"

    return place


def folder_of(out: Path, layout: str) -> Path:
    """Where a layout puts its outputs, the manifest and the page.

    Raises
    ------
    InputError
        If there is no such layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"{layout!r} is no layout", where="--layout", remedy=f"Choose among {', '.join(LAYOUTS)}")
    return out / ROOT if layout == "bids" else out


def describe_dataset(folder: Path) -> None:
    """Write what makes a folder a BIDS derivative: its description, a README, and what validators should pass over."""
    described = {
        "Name": "ambient-mri reconstructions",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{
            "Name": "ambient-mri",
            "Version": ambient_mri.__version__,
            "Description": "Reconstruction and restoration of MRI for research; not for diagnostic use",
        }],
    }  # fmt: skip
    readme = (
        "Images that ambient-mri reconstructed from undersampled k-space, or restored where pixels were missing. For "
        "research; not for diagnostic use.\n\n`index.html` shows them, with what to look at; `manifest.json` says for "
        "each what went in, with which method and model, and how well it explains its measurement.\n"
    )
    files.write(folder / "dataset_description.json", json.dumps(described, indent=2) + "\n")
    files.write(folder / "README", readme)
    files.write(folder / ".bidsignore", "".join(f"{pattern}\n" for pattern in IGNORED))


def describe_images(folder: Path, names: Sequence[str], facts: Mapping[str, Any]) -> None:
    """The JSON sidecars of NIfTI images: BIDS asks for them."""
    for name in names:
        kind = "standard deviation" if "deviation_" in name else "mask" if name.endswith("_mask.nii.gz") else "image"
        about = {
            "Description": f"{kind} by ambient-mri, method {facts['method']}; research, not for diagnostic use",
            "SkullStripped": False,
            "Sources": [f"sha256:{facts['source_sha256']}"],
            "Acceleration": facts["acceleration"],
            "ModelSHA256": facts.get("bundle_sha256", ""),
        }  # fmt: skip
        if kind == "mask":
            about["Type"] = "ROI"
        files.write(folder / f"{name.removesuffix('.nii.gz')}.json", json.dumps(about, indent=2) + "\n")
