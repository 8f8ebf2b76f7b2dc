"""Parse, call, print: the `ambient-mri` program. One module for the commands of one room.

Nothing heavy is imported before a subcommand runs, so that `--help` answers at once. Exit codes: 0 done,
2 input that cannot be used (one line on standard error says what and what to do), 3 some cases of a job failed and the
others are done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import ambient_mri
from ambient_mri import files
from ambient_mri.cli import audit, completion, data, generation, models, pacs, reconstruction, training
from ambient_mri.cli.allocator import keep_freed_memory
from ambient_mri.cli.arguments import as_json, command, print_json, say
from ambient_mri.errors import InputError, PartlyDone


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


def _log_to_stderr() -> None:
    """Progress goes to standard error; only the first process of a torchrun speaks."""
    logger = logging.getLogger("ambient_mri")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)


def _sentence(problem: Exception) -> str | None:
    """One line for input that cannot be used or what the system refused; None for a fault of the program."""
    if isinstance(problem, InputError):
        return str(problem)
    if isinstance(problem, OSError) or files.is_disk_full(problem):
        where = getattr(problem, "filename", None) or ""
        return str(InputError(files.reason(problem), where=str(where), remedy=files.remedy(problem)))
    return None


def _fail(sentence: str, code: int = 2) -> int:
    say("ambient-mri: error: " + " ".join(sentence.split()))
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. AMBIENT_MRI_TRACEBACK=1 shows where an error came from."""
    arguments = parser().parse_args(argv)
    _log_to_stderr()
    keep_freed_memory()
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as problem:
        sentence = _sentence(problem)
        if sentence is None or os.environ.get("AMBIENT_MRI_TRACEBACK"):
            raise
        return _fail(sentence, 3 if isinstance(problem, PartlyDone) else 2)
