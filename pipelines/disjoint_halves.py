"""T5 and T6 of the memorization audit: do two models of disjoint halves of one cohort know their own patients better?

    python pipelines/disjoint_halves.py --data brain_bids --minutes 30 --out runs/halves

A coin decides for each training patient from which half two networks learn, for the same time. Then each predicts
withheld measurements of all of them: what only one finds easy, it learned by heart. No hold-out is needed. Writes
halves.json and halves.html. Run it again after an interruption: it goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ambient_mri import files
from ambient_mri.audit.halves import Halves, HalvesOptions, audit_halves
from ambient_mri.cli.arguments import options, say
from ambient_mri.cli.program import run_program
from ambient_mri.data.derived import derive
from ambient_mri.data.spec import load_spec
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.report.halves import halves_json, halves_page, halves_text

HALVES = ("first", "second")


def compare(given: argparse.Namespace) -> Halves:
    """Train what is not there yet, then compare."""
    patients = {} if given.patients is None else {"train": given.patients}
    specs, bundles = [], []
    for half in HALVES:
        facts = {"title": f"{load_spec(given.data).title}, {half} half", "split": {**patients, "half": half}}
        specs.append(derive(given.data, given.out / f"{half}.yaml", facts))
        bundles.append(train(TrainOptions(
            specs[-1], given.out / half, given.minutes, given.steps, given.preset, given.seed, device=given.device,
        )))  # fmt: skip
    asked = HalvesOptions((bundles[0], bundles[1]), (specs[0], specs[1]), given.out / "work", given.level, given.seed,
                            given.device)  # fmt: skip
    return audit_halves(asked, say)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    options(parser, {"patients": None}, "only so many training patients, in both halves together")
    options(parser, {"minutes": None, "steps": None}, "of each training, as of `ambient-mri train`")
    options(parser, {"data": "brain_bids", "preset": "small", "level": "standard", "device": "cpu", "seed": 0})
    given = parser.parse_args(arguments)

    def work() -> int:
        found = compare(given)
        for kind, text in {"json": halves_json, "html": halves_page}.items():
            print(files.write(given.out / f"halves.{kind}", text(found)))
        print(halves_text(found))
        return 0

    return run_program(work, "disjoint_halves")


if __name__ == "__main__":
    sys.exit(main())
