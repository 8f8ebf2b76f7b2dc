"""Prospective scans to practise with: fastMRI-format HDF5 that holds no clean data.

`out/*.h5` holds what a scanner would have kept: k-space with exact zeros where nothing was measured,
the mask, a header, and pseudonymous identities. The images behind it lie in `out/truth/*.h5`, for
evaluation only; no reader of the package looks there. `out/spec.yaml` describes the files, so that
`ambient-mri train --data out/spec.yaml` works.
"""

from __future__ import annotations

import filecmp
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml

from ambient_mri import files
from ambient_mri.data.facts import Bids, BrainDemo, FastMRI
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.simulation import Acquisition, sample_everything
from ambient_mri.data.slices import magnitude_image
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import parts
from ambient_mri.errors import InputError
from ambient_mri.operators import keep
from ambient_mri.patterns import FullySampled, Pattern
from ambient_mri.randomness import stream

SEQUENCES = {"FLAIR": "AXFLAIR", "T1w": "AXT1", "T2w": "AXT2"}  # as fastMRI names them

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<acquisitionSystemInformation><receiverChannels>{coils}</receiverChannels></acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>123250000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding>
<encodedSpace>{space}</encodedSpace>
<reconSpace>{space}</reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum>\
<center>{centre}</center></kspace_encoding_step_1></encodingLimits>
<trajectory>cartesian</trajectory>
</encoding>
</ismrmrdHeader>
"""
SPACE = (
    "<matrixSize><x>{y}</x><y>{x}</y><z>1</z></matrixSize>"
    "<fieldOfView_mm><x>{fov_y}</x><y>{fov_x}</y><z>{fov_z}</z></fieldOfView_mm>"
)


def simulate_files(
    spec: DataSpec,
    *,
    coils: int | None = None,
    acceleration: float | None = None,
    noise_std: float | None = None,
    out: Path,
    seed: int = 0,
    limit: int | None = None,
) -> Path:
    """Write one file a volume of `spec` as if it had been scanned, and return the folder.

    Parameters
    ----------
    coils, acceleration, noise_std
        Take the place of what the spec states.
    seed
        Of phase, coils, noise and masks.
    limit
        At most this many volumes. Test patients come first, then validation, then training.

    Raises
    ------
    InputError
        If the spec is no data set of images with k-space acquisition, if a file of another content
        is in the way, or if the disk is full.
    """
    if spec.mixture is not None:
        raise InputError("is a mixture", where=spec.name, remedy="Simulate the files of each of its components")
    if isinstance(spec.source, FastMRI):
        raise InputError("holds acquired k-space: there is nothing to simulate", where=spec.name)
    acquisition = _acquisition(spec, coils, acceleration, noise_std)
    volumes: dict[str, list[SliceRecord]] = {}
    split = parts(spec)
    for record in (*split["test"], *split["validation"], *split["train"]):
        volumes.setdefault(record.volume_id, []).append(record)
    for records in list(volumes.values())[:limit]:
        _write_volume(spec, acquisition, records, out, seed)
    _write_spec(spec, acquisition, out)
    return out


def _acquisition(spec: DataSpec, coils: int | None, acceleration: float | None, noise_std: float | None) -> Acquisition:
    law = spec.pattern()
    law = law.law if isinstance(law, FullySampled) else law
    stated = spec.simulation(law)
    if stated.domain != "kspace" or not hasattr(law, "acceleration"):
        raise InputError(
            f"acquires pixels ({type(law).__name__}), and these files hold k-space",
            where=spec.name,
            remedy="Use a spec whose acquisition.domain is kspace",
        )
    if acceleration is not None:
        law = _accelerated(law, acceleration)
    return replace(
        stated,
        pattern=law,
        coils=stated.coils if coils is None else coils,
        noise_std=stated.noise_std if noise_std is None else noise_std,
    )


def _accelerated(law: Any, acceleration: float) -> Pattern:
    changed: Pattern = replace(law, acceleration=acceleration)
    return changed


def _write_volume(spec: DataSpec, acquisition: Acquisition, records: list[SliceRecord], out: Path, seed: int) -> None:
    first = records[0]
    images, affines = zip(*(magnitude_image(spec, record) for record in records), strict=True)
    spread = float(torch.stack(images).std())
    scans = [
        sample_everything(image, acquisition, record.scan_id, volume_id=first.volume_id, seed=seed, spread=spread)
        for image, record in zip(images, records, strict=True)
    ]
    shape = (int(images[0].shape[-2]), int(images[0].shape[-1]))
    mask = acquisition.pattern.draw(shape, stream(seed, "mask", first.volume_id))
    measured = torch.cat([keep(mask, scan.samples) for scan in scans])
    calibration = acquisition.pattern.calibration(shape)
    name = f"{first.volume_id.replace('/', '_')}.h5"
    _write(
        out / name,
        {
            "kspace": measured.numpy(),
            "mask": (mask[0] if len(mask) == 1 else mask).numpy().astype(np.float32),
            "ismrmrd_header": _header(shape, acquisition.coils, affines[0]),
        },
        {
            "acquisition": _sequence(spec),
            "acceleration": float(acquisition.pattern.acceleration),  # type: ignore[attr-defined] # seen to above
            "num_low_frequency": int(calibration.any(0).sum()),
            "patient_id": files.text_sha256(f"{spec.name}\0{first.patient}").hex(),
            "noise_std": acquisition.noise_std,
            "simulated": True,
        },
    )
    truth = torch.cat([scan.image for scan in scans])[:, 0]
    maps = [scan.maps for scan in scans if scan.maps is not None]
    # `max` of the images is an attribute of fastMRI's own files; it is clean knowledge, so it stays here
    _write(
        out / "truth" / name,
        {"image": truth.numpy(), "sensitivity_maps": maps[0][0].numpy()},
        {"acquisition": _sequence(spec), "max": float(truth.abs().max()), "simulated": True},
    )


def _header(shape: tuple[int, int], coils: int, affine: torch.Tensor | None) -> str:
    """ISMRMRD header; its x is the readout, which is our y. Pixels of unknown size count as 1 mm."""
    across = [1.0, 1.0, 1.0] if affine is None else affine[:3, :3].double().norm(dim=0).tolist()
    y, x = shape
    space = SPACE.format(
        y=y, x=x, fov_y=round(across[1] * y, 4), fov_x=round(across[0] * x, 4), fov_z=round(across[2], 4)
    )
    return HEADER.format(coils=coils, space=space, last=x - 1, centre=x // 2)


def _sequence(spec: DataSpec) -> str:
    source = spec.source
    name = source.suffix if isinstance(source, Bids) else source.contrast if isinstance(source, BrainDemo) else ""
    return SEQUENCES.get(name, "simulated")


def _write(path: Path, datasets: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Uncompressed and contiguous, so that one slice can be read; whole or not at all."""

    with files.replacing(path) as unfinished:
        with h5py.File(unfinished, "w") as file:
            for name, values in datasets.items():
                file.create_dataset(name, data=values)
            file.attrs.update(attributes)
        _refuse_other_content(path, unfinished)


def _write_spec(spec: DataSpec, acquisition: Acquisition, out: Path) -> None:
    facts = spec.model_dump(mode="json")["acquisition"]
    law = facts["further"]["pattern"] if facts["pattern"]["kind"] == "fully_sampled" else facts["pattern"]
    document = {
        "title": f"Simulated prospective scans of {spec.name}",
        "licence": spec.licence,
        "source": {
            "kind": "fastmri",
            "root": str(out.resolve()),
            "slices": "all",
            "remove_oversampling": False,
            "simulated": True,
        },
        "acquisition": {
            "coils": acquisition.coils,
            "noise_std": acquisition.noise_std,
            "sensitivity_maps": "known" if acquisition.coils == 1 else "espirit",
            "pattern": law | {"acceleration": acquisition.pattern.acceleration},  # type: ignore[attr-defined]
            "further": {"keep": facts["further"]["keep"]},
        },
        "split": {"validation": 0.1, "test": 0.1, "seed": spec.split.seed},
    }
    text = "# Written by `ambient-mri data simulate`. Move `root` along with the files.\n"
    text += yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    with files.replacing(out / "spec.yaml") as unfinished:
        unfinished.write_text(text, encoding="utf-8")
        _refuse_other_content(out / "spec.yaml", unfinished)


def _refuse_other_content(path: Path, unfinished: Path) -> None:
    if path.exists() and not filecmp.cmp(path, unfinished, shallow=False):
        raise InputError(
            "exists and holds something else", where=str(path), remedy="Choose another --out, or remove the folder"
        )
