"""What is installed here, what the machine offers, and which data sets are found."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TypedDict

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


class Findings(TypedDict):
    """What `doctor` found, in values that JSON has."""

    version: str
    python: str
    system: str
    required: dict[str, str | None]
    optional: dict[str, str | None]
    missing: list[str]
    machine: Machine | None
    data: dict[str, str]


class Machine(TypedDict):
    """Processor, threads and accelerators as PyTorch sees them, and whether bfloat16 is in hardware."""

    processors: int | None
    threads: int
    omp_num_threads: str | None
    devices: dict[str, str]
    bfloat16: bool


def examine() -> Findings:
    """Versions of libraries (None: not installed), the machine, and of each data set what was found.

    Where a required library is missing, machine and data cannot be looked at.
    """
    required = {package: _version(package) for package in REQUIRED}
    missing = [package for package, found in required.items() if found is None]
    return {
        "version": ambient_mri.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "required": required,
        "optional": {extra: _version(package) for extra, (package, _) in OPTIONAL.items()},
        "missing": missing,
        "machine": None if missing else machine(),
        "data": {} if missing else data(),
    }


def machine() -> Machine:
    import torch

    from ambient_mri.prior.network import has_bfloat16

    devices = {"cpu": "no CUDA device found"}
    if torch.cuda.is_available():
        cards = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        devices = {f"cuda:{i}": f"{card.name}, {card.total_memory / 2**30:.0f} GiB" for i, card in enumerate(cards)}
    fast = has_bfloat16("cpu") or (torch.cuda.is_available() and has_bfloat16("cuda"))
    return {
        "processors": os.cpu_count(), "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"), "devices": devices, "bfloat16": fast,
    }  # fmt: skip


def data() -> dict[str, str]:
    """Of each data spec of this installation: what was found."""
    from ambient_mri.data.check import summary
    from ambient_mri.data.spec import list_specs
    from ambient_mri.errors import InputError

    found = {}
    for spec in list_specs():
        try:
            found[spec.name] = summary(spec)
        except InputError as problem:
            found[spec.name] = problem.what
    return found


def lines(found: Findings) -> list[str]:
    """For people: one line a library, part, device and data set, with what to install where one is missing."""
    said = [f"ambient-mri {found['version']}, python {found['python']} on {found['system']}"]
    for package, installed in found["required"].items():
        said.append(f"{package} {installed}" if installed else f"{package} MISSING: pip install {package}")
    for extra, installed in found["optional"].items():
        package, use = OPTIONAL[extra]
        state = f"{package} {installed}" if installed else f"not installed: pip install 'ambient-mri[{extra}]'"
        said.append(f"optional part {extra} ({use}): {state}")
    if found["machine"] is None:
        return [*said, f"cannot run: {', '.join(found['missing'])} missing"]
    return [*said, *_machine_lines(found["machine"]), *(f"data {name}: {what}" for name, what in found["data"].items())]


def _machine_lines(found: Machine) -> list[str]:
    return [
        f"{found['processors']} processors, PyTorch uses {found['threads']} threads "
        f"(OMP_NUM_THREADS={found['omp_num_threads'] or 'not set'})",
        *(f"device {name}: {what}" for name, what in found["devices"].items()),
        f"bfloat16 in hardware: {'yes' if found['bfloat16'] else 'no'}",
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
