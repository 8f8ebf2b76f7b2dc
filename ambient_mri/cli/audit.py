"""`audit` and `audit compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ambient_mri import files
from ambient_mri.cli.arguments import Commands, command, common, say
from ambient_mri.errors import InputError

if TYPE_CHECKING:
    from ambient_mri.audit.results import AuditResult

USAGE = """%(prog)s BUNDLE --data SPEC --out DIR [options]
       %(prog)s --samples FILE [FILE ...] --data SPEC --out DIR [options]
       %(prog)s compare A.json B.json [--out FILE.html]"""


def add(commands: Commands) -> None:
    add = command(
        commands,
        "audit",
        "does the prior give away its training patients? or: audit compare A B",
        "audit runs/mine/bundle --data my.yaml --level standard --out audit",
        "audit compare clean/audit.json corrupted/audit.json --out comparison.html",
    )
    add.usage = USAGE
    add.set_defaults(run=audit)
    what = "a trained bundle; or `compare` and two or more audit.json"
    add.add_argument("subject", nargs="*", metavar="BUNDLE", help=what)
    add.add_argument("--data", metavar="SPEC", help="the data spec that the model learned from")
    add.add_argument("--out", type=Path, metavar="DIR", help="report.html, audit.json, annex.html (restricted)")
    add.add_argument(
        "--level", choices=("quick", "standard", "full"), default="quick", help="how much is done, default: %(default)s"
    )
    access = "samples: what it emits; model: also what it predicts; default: %(default)s"
    add.add_argument("--access", choices=("samples", "model"), default="model", help=access)
    scans = "measured: the corrupted scans alone; images: those behind a simulation; default: %(default)s"
    add.add_argument("--scans", choices=("measured", "images"), default="measured", help=scans)
    pictures = "pictures of another generator: PNG, JPEG, NPY, NIfTI, folders; no bundle needed"
    add.add_argument("--samples", type=Path, nargs="+", default=(), metavar="FILE", help=pictures)
    reference = "a bundle that learned from none of these patients: T4 takes off what it finds hard too"
    add.add_argument("--reference", metavar="BUNDLE", help=reference)
    common(add)


def audit(arguments: argparse.Namespace) -> int:
    if arguments.subject[:1] == ["compare"]:
        return compare([Path(name) for name in arguments.subject[1:]], arguments.out)
    from ambient_mri.audit.run import AuditOptions
    from ambient_mri.audit.run import audit as run
    from ambient_mri.cli.arguments import device
    from ambient_mri.prior.shipped import located
    from ambient_mri.report import audit_text, write_audit

    if len(arguments.subject) + bool(arguments.samples) != 1:
        raise InputError("give either one bundle or --samples", where="audit", remedy="See `ambient-mri audit --help`")
    for flag in ("data", "out"):
        if getattr(arguments, flag) is None:
            raise InputError("is needed", where=f"--{flag}", remedy="See `ambient-mri audit --help`")
    options = AuditOptions(
        bundle=located(arguments.subject[0]) if arguments.subject else None,
        data=arguments.data,
        out=arguments.out,
        pictures=tuple(arguments.samples),
        level=arguments.level,
        access=arguments.access if arguments.subject else "samples",
        scans=arguments.scans,
        reference=None if arguments.reference is None else located(arguments.reference),
        seed=arguments.seed,
        device=device(arguments.device),
    )
    result, annex = run(options, say)
    print(audit_text(result))
    shown, restricted = write_audit(options.out, result, annex)
    print(*shown, *(f"{path} (restricted)" for path in restricted), sep="\n")
    return 0


def compare(paths: list[Path], out: Path | None) -> int:
    from ambient_mri.report import comparison_page, comparison_text

    if len(paths) < 2:
        raise InputError("needs two or more audit.json", where="audit compare", remedy="Run `ambient-mri audit` first")
    results = [_read(path) for path in paths]
    names = [str(path) for path in paths]
    print(comparison_text(names, results))
    if out is not None:
        print(files.write(out, comparison_page(names, results)))
    return 0


def _read(path: Path) -> AuditResult:
    from ambient_mri.audit.results import AuditResult

    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError("cannot be read", where=str(path), remedy="Give the audit.json of an audit") from problem
    return AuditResult.from_json(text, str(path))
