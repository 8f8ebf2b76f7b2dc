"""What does never seeing a clean image cost? Five trainings of the same length, evaluated on the same test slices.

    python pipelines/corrupted_vs_clean.py --data brain_bids --clean brain_bids_clean --minutes 60 --out runs/comparison

ambient     learns from the corrupted scans of --data
clean       the same, from --clean: the fully sampled twin of --data (for tables only)
unweighted  ambient without inverse-probability weights
naive       without further corruption: shown what it is judged on
ssdu        the same network as a self-supervised unrolled one, at one noise level

Writes results.md, .json and .html, and a page with pictures for each. Run it again after an interruption: it goes on.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ambient_mri import files
from ambient_mri.cli.arguments import options
from ambient_mri.cli.program import run_program
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.evaluate import evaluate
from ambient_mri.evaluation.results import FORMAT, Evaluation
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.reconstruction.manifest import Manifest, settings_key
from ambient_mri.reconstruction.methods import METHODS, needs_network
from ambient_mri.report import evaluation_markdown, evaluation_page, write_evaluation

TRAININGS = {name: name for name in ("ambient", "clean", "unweighted", "naive", "ssdu")} | {"clean": "ambient"}
LEARNED = tuple(filter(needs_network, METHODS))


def compare(given: argparse.Namespace) -> Evaluation:
    """Train and evaluate what is not there yet; one evaluation with the rows of all."""
    spec, done, found = load_spec(given.data), Manifest(given.out), {}
    asked = {"accelerations": given.acceleration, "limit": given.limit, "tuning_slices": given.tuning_slices}
    for name, method in TRAININGS.items():
        data, methods = given.clean if name == "clean" else given.data, METHODS if name == "ambient" else LEARNED
        bundle = train(TrainOptions(data, given.out / name, given.minutes, given.steps, given.preset, given.seed,
                                    method=method, device=given.device))  # fmt: skip
        which = {"data": spec.sha256, "weights": weights_sha256(bundle), "methods": methods, "format": FORMAT}
        stored, page = given.out / f"{name}.json", given.out / f"{name}.html"
        if done.done(name, key := settings_key(which | asked)) is None:
            one = evaluate(bundle, spec, methods=methods, device=given.device, seed=given.seed, **asked)
            files.write(stored, one.to_json())
            files.write(page, evaluation_page(one))
            done.record(name, {"key": key, "outputs": [stored.name, page.name]})
            print(f"{name}: {page}", flush=True)
        found[name] = Evaluation.from_json(stored.read_text("utf-8"))
    rows = [replace(row, method=f"{row.method}, {name}" if row.method in LEARNED else row.method)
            for name, one in found.items() for row in one.rows]  # fmt: skip
    return replace(found["ambient"], rows=tuple(rows), command=given.command)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    limits = dict.fromkeys(("minutes", "steps", "limit", "tuning-slices"))
    options(parser, limits, "as of `ambient-mri train` and `ambient-mri evaluate`")
    parser.add_argument("--acceleration", type=float, nargs="+", default=[2.0, 4.0, 8.0])
    data = {"data": "brain_bids", "clean": "brain_bids_clean"}
    options(parser, data | {"preset": "small", "device": "cpu", "seed": 0})
    given = parser.parse_args(arguments)
    given.command = shlex.join(["python", "pipelines/corrupted_vs_clean.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        joined = compare(given)
        print(*write_evaluation(given.out, joined), evaluation_markdown(joined), sep="\n")
        return 0

    return run_program(work, "corrupted_vs_clean")


if __name__ == "__main__":
    sys.exit(main())
