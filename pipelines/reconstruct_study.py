"""Reconstruct every raw-data file of a folder: DICOM where a file says where its slices lie, NIfTI and HDF5 always.

    python pipelines/reconstruct_study.py STUDY --out DIR --bundle runs/train/bundle
    python pipelines/reconstruct_study.py STUDY --out DIR --method l1-wavelet

fastMRI, MRD and BART files are found by their content, in the folder and below. Run it again after an interruption:
what is done is not done again. DIR/index.html shows all of it. Exit code 3: some files failed and are named in
DIR/failed.txt; the others are done.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ambient_mri import files
from ambient_mri.cli.program import run_program
from ambient_mri.data.readers.content import raw_data
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.cases import find_cases
from ambient_mri.report import write_gallery


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", type=located, help="a bundle, or a model of the package")
    parser.add_argument("--method", help="default: one-step, or mmps of a refined model")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)

    def work() -> int:
        paths = raw_data(given.study)
        # Only files that say where all of their slices lie become DICOM. What cannot be used stays together with the
        # rest, and so do scans whose outputs would have one name: `reconstruct` then refuses and records them.
        cases = find_cases(paths)[0]
        placed = {case.path for case in cases} - {case.path for case in cases if case.volume.affine is None}
        parts = ((("dicom", "nifti", "hdf5"), placed), (("nifti", "hdf5"), set(paths) - placed))
        failures, done = [], 0
        for formats, part in parts:
            try:
                if part:
                    done += len(reconstruct(given.bundle, sorted(part), given.out, method=given.method,
                                            device=given.device, formats=formats, progress=print))  # fmt: skip
            except InputError as problem:
                done += len(problem.done) if isinstance(problem, PartlyDone) else 0
                failures.append(str(problem))
        if not paths:
            failures.append(f"{given.study}: no raw data of a known format in this folder")
        files.write(given.out / "failed.txt", "".join(f"{line}\n" for line in failures))
        print(write_gallery(given.out))
        for line in failures:
            print(line, file=sys.stderr)
        return (3 if done else 2) if failures else 0

    return run_program(work, "reconstruct_study")


if __name__ == "__main__":
    sys.exit(main())
