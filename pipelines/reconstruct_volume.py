"""A prior that learned from slices reconstructs scans in three dimensions, beside CG-SENSE, L1-wavelet and TV.

    python pipelines/reconstruct_volume.py runs/t1/bundle --data t1.yaml --acceleration 4 8 --out runs/volume

Volumes are simulated from the images of a spec (`source.slices: all`), with its noise and coils around the head;
Poisson-disc points of both phase encodes are measured, so that aliasing runs across slices. All strengths are tuned on
validation volumes. Writes results.md, .json and .html.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ambient_mri.cli.arguments import count, say, seed
from ambient_mri.cli.program import run_program
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.volumes import evaluate_volumes
from ambient_mri.prior.shipped import located
from ambient_mri.report import evaluation_markdown, write_evaluation


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=located, help="a bundle, or a model of the package")
    parser.add_argument("--data", required=True, metavar="SPEC")
    parser.add_argument("--acceleration", type=float, nargs="+", default=[4.0, 8.0])
    parser.add_argument("--limit", type=count, default=8, help="volumes of the test split")
    parser.add_argument("--tuning-volumes", type=count, default=2, help="volumes of the validation split")
    parser.add_argument("--seed", type=seed, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    command = shlex.join(["python", "pipelines/reconstruct_volume.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        found = evaluate_volumes(
            given.bundle, load_spec(given.data), accelerations=given.acceleration, limit=given.limit, seed=given.seed,
            tuning_volumes=given.tuning_volumes, command=command, progress=say,
        )  # fmt: skip
        print(*write_evaluation(given.out, found), evaluation_markdown(found), sep="\n")
        return 0

    return run_program(work, "reconstruct_volume")


if __name__ == "__main__":
    sys.exit(main())
