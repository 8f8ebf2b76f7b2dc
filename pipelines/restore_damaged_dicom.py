"""Restore missing pixels of the DICOM series of a folder, and prove that no measured pixel was changed.

    python pipelines/restore_damaged_dicom.py STUDY --out DIR --bundle brain_128_refined --missing padding
    python pipelines/restore_damaged_dicom.py STUDY --out DIR --method biharmonic --mask damaged.npy

The model is a refined one, such as brain_128_refined, or was trained on missing pixels or blocks (data specs with
`domain: image`). What is missing is always said, by a mask file (0 = missing) or by the value that missing pixels have;
nothing is guessed. Exit code 3: some series failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ambient_mri.cli.arguments import missing_value, say
from ambient_mri.cli.program import run_program
from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.errors import PartlyDone
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.batch import Result, reconstruct
from ambient_mri.report import write_gallery


def largest_change(before: DicomVolume, folder: Path, missing: Missing) -> tuple[float, float]:
    """Of a measured pixel, in the units of the images; and the share of pixels that were estimated."""
    (after,), _ = open_volumes(find_files(folder))
    measured, largest = missing.measured(before), 0.0
    step = float(after.header(0).RealWorldValueMappingSequence[0].RealWorldValueSlope)
    for index in range(len(before)):
        change = np.abs(before.read(index) - step * after.stored(index))[measured[index]]
        largest = max(largest, float(change.max(initial=0)))
    return largest, 1 - float(measured.mean())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=located, help="a refined model, or one trained on missing pixels")
    parser.add_argument("--method", help="default: one-step, or mmps of a refined model")
    parser.add_argument("--device", default="cpu")
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--mask", type=Path)
    said.add_argument("--missing", type=missing_value, help="padding, or a number")
    given = parser.parse_args(arguments)

    return run_program(lambda: restore(given), "restore_damaged_dicom")


def restore(given: argparse.Namespace) -> int:
    """Restore a study, and say by how much measured pixels changed: not at all."""
    missing = Missing(given.mask, given.missing)
    results: Sequence[Result]
    try:
        results, code = reconstruct(given.bundle, [given.study], given.out, method=given.method, device=given.device,
                                    formats=["dicom", "nifti"], missing=missing, progress=print), 0  # fmt: skip
    except PartlyDone as problem:
        say(str(problem))
        results, code = problem.done, 3
    print(write_gallery(given.out))
    written = {path.name for result in results for path in result.outputs}
    for volume in open_volumes(find_files(given.study))[0]:
        if (folder := f"{volume.name}_dicom") in written:
            change, share = largest_change(volume, given.out / folder, missing)
            print(f"{volume.name}: {share:.1%} estimated, measured pixels changed by {change:.3g} at most")
    return code


if __name__ == "__main__":
    sys.exit(main())
