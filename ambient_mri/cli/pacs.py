"""`pacs echo | pull | push`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ambient_mri.cli.arguments import Commands, command, positive, say

if TYPE_CHECKING:
    from ambient_mri.pacs.archive import Archive

SERVER = "dicom://AE@host:port, or the http(s):// root of DICOMweb"


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "pacs",
        "ask an archive, pull series from it, push results to it",
        "pacs echo dicom://PACS@pacs.example:104",
    )
    within = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = command(within, "echo", "whether an archive answers", "pacs echo dicom://PACS@pacs.example:104")
    add.set_defaults(run=echo)
    _server(add)

    add = command(
        within,
        "pull",
        "bring the series that match; what is there is not asked for again",
        "pacs pull dicom://PACS@pacs.example:104 --study-date yesterday --out pulled",
    )
    add.set_defaults(run=pull)
    _server(add)
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets a folder for each series")
    add.add_argument("--study-date", metavar="D", help="today, yesterday, 2026-01-31, 2026-01-01..2026-01-31")
    add.add_argument("--study-uid", default="", metavar="UID", help="one study")
    add.add_argument("--modality", default="MR", metavar="M", help="default: %(default)s")
    add.add_argument("--study-description", default="", metavar="TEXT", help="with wildcards * and ?")
    add.add_argument("--series-description", default="", metavar="TEXT", help="with wildcards * and ?")
    add.add_argument("--listen", metavar="[HOST:]PORT", help="fetch by C-MOVE to this port instead of C-GET")

    add = command(
        within,
        "push",
        "store DICOM files; what the archive has is not sent again",
        "pacs push dicom://PACS@pacs.example:104 reconstructed/scan_dicom",
    )
    add.set_defaults(run=push)
    _server(add)
    add.add_argument("files", type=Path, nargs="+", metavar="FILE", help="DICOM files and folders")


def _server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", metavar="SERVER", help=SERVER)
    parser.add_argument("--ae-title", default="AMBIENTMRI", metavar="AE", help="ours, default: %(default)s")
    parser.add_argument("--timeout", type=positive, default=30.0, metavar="S", help="seconds, default: %(default)s")


def _archive(arguments: argparse.Namespace, listen: str | None = None) -> Archive:
    from ambient_mri.pacs.address import open_archive

    return open_archive(arguments.server, calling_ae=arguments.ae_title, timeout=arguments.timeout, listen=listen)


def echo(arguments: argparse.Namespace) -> int:
    archive, started = _archive(arguments), time.perf_counter()
    archive.echo()
    print(f"{archive} answers ({1000 * (time.perf_counter() - started):.0f} ms)")
    return 0


def pull(arguments: argparse.Namespace) -> int:
    from ambient_mri.pacs.query import Query, dates
    from ambient_mri.pacs.transfer import pull as run

    query = Query(
        study_date=dates(arguments.study_date) if arguments.study_date else "", modality=arguments.modality,
        study_description=arguments.study_description, series_description=arguments.series_description,
        study_uid=arguments.study_uid,
    )  # fmt: skip
    pulled = run(_archive(arguments, arguments.listen), query, arguments.out, progress=say)
    print("\n".join([*map(str, pulled.series), str(pulled)]))
    return 0


def push(arguments: argparse.Namespace) -> int:
    from ambient_mri.pacs.transfer import push as run

    print(run(_archive(arguments), arguments.files, progress=say))
    return 0
