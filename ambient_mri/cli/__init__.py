"""Parse, call, print: the `ambient-mri` program. One module for the commands of one room.

Nothing heavy is imported before a subcommand runs, so that `--help` answers at once. Exit codes: 0 done,
2 input that cannot be used (one line on standard error says what and what to do), 3 some cases of a job failed and the
others are done, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

import ambient_mri
from ambient_mri.cli import audit, completion, data, generation, models, pacs, reconstruction, training
from ambient_mri.cli.arguments import as_json, command, print_json
from ambient_mri.cli.program import run_program


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line and exit code 2, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}. See `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ambient-mri", description=ambient_mri.__doc__.partition("\n")[0] if ambient_mri.__doc__ else ""
    )
    parser.add_argument("--version", action="version", version=f"ambient-mri {ambient_mri.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for room in (training, models, reconstruction, generation, audit, data, pacs, completion):
        room.add(commands)
    add = command(commands, "doctor", "versions, device, threads, optional parts, data found", "doctor")
    add.set_defaults(run=doctor)
    as_json(add)
    return parser


def doctor(arguments: argparse.Namespace) -> int:
    from ambient_mri.doctor import examine, lines

    found = examine()
    if arguments.json:
        print_json(found)
    else:
        print("\n".join(lines(found)))
    return 2 if found["missing"] else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = parser().parse_args(argv)
    return run_program(lambda: int(arguments.run(arguments)), "ambient-mri")
