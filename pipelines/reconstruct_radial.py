"""A prior that learned from Cartesian lines reconstructs radial scans, beside CG-SENSE and sigpy's L1-wavelet.

    python pipelines/reconstruct_radial.py runs/brain/bundle --data brain_bids --spokes 16 32 --out runs/radial

Scans are simulated from the images of a spec, with its coils and noise, on golden-angle spokes. All strengths are tuned
on validation slices. Writes results.md, .json and .html.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ambient_mri.cli.arguments import count, say, seed
from ambient_mri.cli.program import run_program
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.radial import evaluate_radial
from ambient_mri.prior.shipped import located
from ambient_mri.report import evaluation_markdown, write_evaluation


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=located, help="a bundle, or a model of the package")
    parser.add_argument("--data", default="brain_bids")
    parser.add_argument("--spokes", type=count, nargs="+", default=[16, 32])
    parser.add_argument("--limit", type=count, default=20, help="slices of the test split")
    parser.add_argument("--tuning-slices", type=count, default=6, help="slices of the validation split")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    command = shlex.join(["python", "pipelines/reconstruct_radial.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        found = evaluate_radial(
            given.bundle, load_spec(given.data), spokes=given.spokes, limit=given.limit, seed=given.seed,
            tuning_slices=given.tuning_slices, command=command, progress=say,
        )  # fmt: skip
        print(*write_evaluation(given.out, found), evaluation_markdown(found), sep="\n")
        return 0

    return run_program(work, "reconstruct_radial")


if __name__ == "__main__":
    sys.exit(main())
