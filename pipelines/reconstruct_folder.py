"""Reconstruct every fastMRI file of a folder with a trained model, and sum up in one table what a reader should know.

    python pipelines/reconstruct_folder.py scans --bundle runs/train/bundle --out reconstructed

Writes NIfTI, HDF5 and a PNG of each file, `summary.md`, and `index.html`. Run it again after an interruption or when
files were added: what is done is not done again. Exit code 3: some files failed and are named in the summary.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ambient_mri import files
from ambient_mri.cli.program import run_program
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.batch import Result, reconstruct
from ambient_mri.reconstruction.manifest import Manifest
from ambient_mri.report import write_gallery


def summary(results: Sequence[Result], out: Path, failure: str) -> str:
    """A Markdown table of what was done, then every warning and what failed."""
    facts = Manifest(out).entries
    lines = ["| scan | slices | R | noise | seconds | warnings | flags |", "|---|---|---|---|---|---|---|"]
    for result in results:
        name = result.outputs[-1].stem  # a file may hold several volumes
        known = facts[name]
        cells = (name, result.slices, f"{known['acceleration']:.2f}", f"{known['noise_std']:.3g}",
                 f"{known['seconds']:.1f}", len(result.warnings), len(result.flags))  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    done = sum(not result.skipped for result in results)
    lines += ["", f"{len(results)} files are there: {done} done now, {len(results) - done} before.", ""]
    lines += [f"- {one.outputs[-1].stem}: {said}" for one in results for said in (*one.flags, *one.warnings)]
    return "\n".join([*lines, failure]).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="with *.h5 files as fastMRI ships them")
    parser.add_argument("--bundle", type=located, required=True, help="a bundle, or a model of the package")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)

    def work() -> int:
        scans = sorted(given.folder.glob("*.h5"))
        if not scans:
            raise InputError("no *.h5 in this folder", where=str(given.folder), remedy="Give a folder of fastMRI files")
        try:
            results, failure = reconstruct(given.bundle, scans, given.out, device=given.device, progress=print), ""
        except PartlyDone as problem:
            results, failure = list(problem.done), str(problem)
        text = summary(results, given.out, failure)
        print(text, files.write(given.out / "summary.md", text), write_gallery(given.out), sep="\n")
        return 3 if failure else 0

    return run_program(work, "reconstruct_folder")


if __name__ == "__main__":
    sys.exit(main())
