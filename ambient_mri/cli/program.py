"""What every program does around its work: progress on standard error, one line for bad input, an exit code."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Callable

from ambient_mri import files
from ambient_mri.cli.allocator import keep_freed_memory
from ambient_mri.cli.arguments import say
from ambient_mri.errors import InputError, PartlyDone


def run_program(work: Callable[[], int], name: str) -> int:
    """Do the work of a command or a pipeline.

    Parameters
    ----------
    work
        Returns the exit code.
    name
        What error messages begin with.

    Returns
    -------
    int
        The code of `work`; 2 for input that cannot be used, 3 if some cases of a job failed and the others are done,
        130 if interrupted. AMBIENT_MRI_TRACEBACK=1 shows where an error came from.
    """
    _log_to_stderr()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: file names need not be UTF-8
    keep_freed_memory()
    try:
        return work()
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
        say(f"{name}: error: " + " ".join(sentence.split()))
        return 3 if isinstance(problem, PartlyDone) else 2


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
