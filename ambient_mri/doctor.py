"""What is installed here, what the machine offers, and which data sets are found."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ambient_mri

REQUIRED = (
    "torch",
    "monai",
    "pytorch-ignite",
    "numpy",
    "scipy",
    "sigpy",
    "scikit-image",
    "h5py",
    "nibabel",
    "pydantic",
    "safetensors",
)
OPTIONAL = {
    "dicom": ("pydicom", "DICOM in and out"),
    "mrd": ("ismrmrd", "ISMRMRD raw data"),
    "pacs": ("pynetdicom", "archives by DIMSE and DICOMweb"),
    "cluster": ("distributed", "batches on Dask and Slurm"),
    "completion": ("shtab", "completion of commands in a shell"),
    "tracking": ("mlflow-skinny", "MLflow experiment tracking"),
    "docs": ("mkdocs", "building the documentation"),
    "dev": ("pytest", "running the tests"),
}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> list[str]:
    """One line per library, and per optional part what to install where it is missing."""
    python = f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    lines = [f"ambient-mri {ambient_mri.__version__}, {python}"]
    for package in REQUIRED:
        found = _version(package)
        lines.append(f"{package} {found}" if found else f"{package} MISSING: pip install {package}")
    for extra, (package, use) in OPTIONAL.items():
        found = _version(package)
        state = f"{package} {found}" if found else f"not installed: pip install 'ambient-mri[{extra}]'"
        lines.append(f"optional part {extra} ({use}): {state}")
    return lines


def machine() -> list[str]:
    """Processor, threads and accelerators as PyTorch sees them, and the precision a training would choose."""
    import torch

    lines = [
        f"{os.cpu_count()} processors, PyTorch uses {torch.get_num_threads()} threads "
        f"(OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')})"
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            lines.append(f"device cuda:{index}: {card.name}, {card.total_memory / 2**30:.0f} GiB")
    else:
        lines.append("device cpu (no CUDA device found)")
    fast = "avx512_bf16" in _processor_flags() or (torch.cuda.is_available() and torch.cuda.is_bf16_supported())
    lines.append(f"bfloat16 in hardware: {'yes' if fast else 'no'}")
    return lines


def _processor_flags() -> str:
    listing = Path("/proc/cpuinfo")
    return listing.read_text(errors="replace") if listing.exists() else ""


def data() -> list[str]:
    """One line per data spec of this installation: what was found of it."""
    from ambient_mri.data.check import check
    from ambient_mri.data.spec import list_specs
    from ambient_mri.errors import InputError

    lines = []
    for spec in list_specs():
        try:
            lines.append(f"data {spec.name}: {check(spec)[0]}")
        except InputError as problem:
            lines.append(f"data {spec.name}: {problem.what}")
    return lines


def report() -> tuple[list[str], bool]:
    """All lines, and whether every required library is there."""
    missing = [package for package in REQUIRED if _version(package) is None]
    lines = versions()
    if missing:
        return [*lines, f"cannot run: {', '.join(missing)} missing"], False
    return [*lines, *machine(), *data()], True
