"""A model of the package: train on corrupted scans, evaluate, audit, and put it into ambient_mri/models.

    python pipelines/shipped_model.py brain_flair_64 --data brain_bids --steps 1500 --out runs/brain_flair_64

`--init MODEL` starts from the weights of another one: the model of a smaller matrix, or the same one to train
it longer; `--bundle` takes a bundle that was trained elsewhere, and trains nothing. Patients of the validation and test
parts, the hold-out of the audit, stay out of the training. Run it again after an interruption: it goes on. The folder
of a model holds weights in half precision, its card, results.md and audit.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ambient_mri import files
from ambient_mri.audit.run import AuditOptions, audit
from ambient_mri.cli.arguments import options, say
from ambient_mri.cli.program import run_program
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.evaluate import evaluate
from ambient_mri.prior.shipped import located, ship
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.reconstruction.posterior import SAMPLES, Sampling
from ambient_mri.report import audit_text, evaluation_markdown, evaluation_page, write_audit
from ambient_mri.sampling.preview import preview


def make(given: argparse.Namespace) -> int:
    """Train, audit, evaluate, and put the model into the package."""
    spec = load_spec(given.data)
    training = TrainOptions(given.data, given.out, given.minutes, given.steps, given.preset, given.seed,
                            given.batch_size, init=given.init, device=given.device)  # fmt: skip
    bundle = given.bundle or train(training, preview)
    out = given.out / "audit"
    asked = AuditOptions(bundle=bundle, data=given.data, out=out, level=given.level, device=given.device)
    found, annex = audit(asked, say)
    write_audit(out, found, annex)
    sampling = Sampling(given.samples, given.nfe)
    evaluation = evaluate(bundle, spec, accelerations=given.acceleration, limit=given.limit, device=given.device,
                          tuning_slices=given.tuning_slices, sampling=sampling, progress=say)  # fmt: skip
    files.write(given.out / "evaluation.json", evaluation.to_json())
    files.write(given.out / "evaluation.html", evaluation_page(evaluation))
    pages = {"results.md": evaluation_markdown(evaluation), "audit.md": f"```\n{audit_text(found)}\n```\n"}
    print(ship(bundle, given.name, pages))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    limits = dict.fromkeys(("minutes", "steps", "limit", "tuning-slices", "nfe"))
    options(parser, limits, "as of `ambient-mri train` and `ambient-mri evaluate`")
    parser.add_argument("--init", type=located, help="a bundle, or a model of the package")
    parser.add_argument("--bundle", type=Path, help="trained elsewhere")
    parser.add_argument("--acceleration", type=float, nargs="+", default=[2.0, 4.0, 8.0])
    options(parser, {"preset": "small", "level": "standard", "device": "cpu"})
    options(parser, {"seed": 0, "batch-size": 8, "samples": SAMPLES})
    given = parser.parse_args(arguments)
    return run_program(lambda: make(given), "shipped_model")


if __name__ == "__main__":
    sys.exit(main())
