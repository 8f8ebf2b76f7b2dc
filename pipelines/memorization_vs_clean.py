"""Does a prior of corrupted scans give away fewer training patients than one of clean scans? Small cohort, two audits.

    python pipelines/memorization_vs_clean.py --data brain_bids --clean brain_bids_clean --patients 300 --minutes 30 \\
        --out runs/memorization

Two networks learn from the same few patients: one from --data by the ambient objective, one from its fully sampled twin
--clean; with --init both go on from one prior, which must not have seen the hold-out (Daras et al. 2023). It resumes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ambient_mri import files
from ambient_mri.audit.material import subject_sha256
from ambient_mri.audit.results import AuditResult
from ambient_mri.audit.run import AuditOptions, audit
from ambient_mri.cli.arguments import options, say
from ambient_mri.cli.program import run_program
from ambient_mri.data.derived import derive
from ambient_mri.data.spec import load_spec
from ambient_mri.prior.shipped import located
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.report import comparison_page, comparison_text, write_audit
from ambient_mri.sampling.preview import preview


def small(data: str, patients: int, path: Path) -> str:
    """A spec of the first `patients` training patients of `data`; its hold-out is the same."""
    return derive(data, path, {"title": f"{load_spec(data).title}, {patients} patients", "split": {"train": patients}})


def audited(name: str, bundle: Path, data: str, given: argparse.Namespace) -> AuditResult:
    """The audit of one of the two, by the images behind the simulation, so that both are seen alike."""
    out = given.out / f"audit_{name}"
    asked = AuditOptions(bundle, data, out, level=given.level, scans="images", seed=given.seed, device=given.device)
    kept = AuditResult.from_json(path.read_text("utf-8"), str(path)) if (path := out / "audit.json").exists() else None
    if kept and (kept.command, kept.subject.sha256) == (asked.command(), subject_sha256(asked)):
        return kept
    result, annex = audit(asked, say)
    write_audit(out, result, annex)  # audit.json comes last
    return result


def compare(given: argparse.Namespace) -> list[AuditResult]:
    """Train and audit what is not there yet."""
    results, specs = [], {}
    for name, data, method in (("corrupted", given.data, "ambient"), ("clean", given.clean, "naive")):
        specs[name] = small(data, given.patients, given.out / f"{name}.yaml")
        training = TrainOptions(specs[name], given.out / name, given.minutes, given.steps, given.preset, given.seed,
                                init=given.init, device=given.device, method=method)  # fmt: skip
        results.append(audited(name, train(training, preview), specs["corrupted"], given))
    return results


def report(given: argparse.Namespace) -> int:
    """Compare, write the page, say the table."""
    results, names = compare(given), ("corrupted", "clean")
    print(comparison_text(names, results))
    print(files.write(given.out / "audit_comparison.html", comparison_page(names, results)))
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=located, help="bundle that both trainings start from")
    options(parser, {"minutes": None, "steps": None}, "of each training, as of `ambient-mri train`")
    options(parser, {"preset": "small", "level": "standard", "device": "cpu", "patients": 300, "seed": 0})
    options(parser, {"data": "brain_bids", "clean": "brain_bids_clean"})
    given = parser.parse_args(arguments)
    return run_program(lambda: report(given), "memorization_vs_clean")


if __name__ == "__main__":
    sys.exit(main())
