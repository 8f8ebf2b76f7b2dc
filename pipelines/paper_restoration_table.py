"""The restoration table of the ambient papers, on MRI: pixels missing, a block missing, k-space lines missing.

    python pipelines/paper_restoration_table.py --minutes 60 --out runs/restoration

Rows: p = .4, .6, .8, .9 of the pixels, blocks, R = 2, 4, 6, 8. Methods: one-step, a-fill, A-DPS, DPS and DDRM with the
clean-trained prior, SSDU, classical. PSNR, SSIM, NMSE, feature distance, evaluations, seconds. Three networks a data
set, each trained for --minutes. Run it again after an interruption: trainings resume, and what is finished is not
repeated. Writes results.md, .json and .html.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ambient_mri.cli.arguments import options, say
from ambient_mri.cli.program import run_program
from ambient_mri.evaluation.comparison import restoration_table
from ambient_mri.prior.training import TrainOptions
from ambient_mri.report import tables_markdown, write_tables

DATA = ("brain_bids_pixels", "brain_bids_blocks", "brain_bids")
TITLE = "Restoration of real brain slices"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=DATA, metavar="SPEC")
    parser.add_argument("--rates", type=float, nargs="+", help="R = 1/(1 - p) of pixels; default: those of the papers")
    limits = dict.fromkeys(("minutes", "steps", "limit", "tuning-slices"))
    options(parser, limits, "as of `ambient-mri train` and `ambient-mri evaluate`")
    options(parser, {"preset": "small", "device": "cpu", "seed": 0})
    given = parser.parse_args(arguments)
    command = shlex.join(["python", "pipelines/paper_restoration_table.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        found = []
        for data in given.data:
            folder = given.out / Path(data).stem
            training = TrainOptions(data, folder, given.minutes, given.steps, given.preset, given.seed)
            one = restoration_table(
                data, folder, replace(training, device=given.device), rates=given.rates, limit=given.limit,
                tuning_slices=given.tuning_slices, progress=say,
            )  # fmt: skip
            found.append(replace(one, command=command))
        print(*write_tables(given.out, TITLE, found), tables_markdown(TITLE, found), sep="\n")
        return 0

    return run_program(work, "paper_restoration_table")


if __name__ == "__main__":
    sys.exit(main())
