"""What is left of a small lesion, and can one tell that it is there? Beside classical methods, at every acceleration.

    python pipelines/lesions.py brain_128 --data brain_bids_128 --methods one-step tv --limit 48 --out runs/lesions

Disks of tissue brightness and a share of it more are put into unseen patients and measured as their scans were. Writes
results.md, .json and .html.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ambient_mri.cli.arguments import count, options, positive, say
from ambient_mri.cli.program import run_program
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.lesion_study import CONTRAST, DIAMETERS, evaluate_lesions
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.posterior import Sampling
from ambient_mri.report import lesions_markdown, write_lesions


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=located, help="a bundle, or a model of the package")
    parser.add_argument("--data", default="brain_bids")
    parser.add_argument("--acceleration", type=positive, nargs="+", default=[4.0, 8.0])
    parser.add_argument("--methods", nargs="+", help="default: all that the model can serve and that draw no samples")
    parser.add_argument("--diameters", type=positive, nargs="+", default=list(DIAMETERS), help="pixels")
    parser.add_argument("--contrast", type=float, default=CONTRAST, help="share of the head's median; < 0: darker")
    parser.add_argument("--limit", type=count, default=48, help="slices of the test split")
    parser.add_argument("--tuning-slices", type=count, default=12, help="slices of the validation split")
    parser.add_argument("--samples", type=count, default=2, help="of methods that draw samples")
    options(parser, {"seed": 0, "device": "cpu"})
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    command = shlex.join(["python", "pipelines/lesions.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        study = evaluate_lesions(
            given.bundle, load_spec(given.data), accelerations=given.acceleration, methods=given.methods,
            diameters=given.diameters, contrast=given.contrast, limit=given.limit, seed=given.seed, progress=say,
            tuning_slices=given.tuning_slices, sampling=Sampling(given.samples), device=given.device, command=command,
        )  # fmt: skip
        print(*write_lesions(given.out, study), lesions_markdown(study), sep="\n")
        return 0

    return run_program(work, "lesions")


if __name__ == "__main__":
    sys.exit(main())
