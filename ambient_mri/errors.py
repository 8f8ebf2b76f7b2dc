"""What users see as a single line: exit code 2, or 3 where part of a job is done."""

from collections.abc import Sequence
from typing import Any


class InputError(ValueError):
    """Input that cannot be used: says what, where, why, and what to do next.

    Raise it at the place that knows the file, key or slice; the command line prints it
    without a traceback and exits with code 2.

    Parameters
    ----------
    what
        What is wrong, with the offending value.
    where
        File, key, slice or argument.
    remedy
        What the user can do next.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        message = f"{where}: {what}" if where else what
        super().__init__(f"{message}. {remedy}" if remedy else message)


class PartlyDone(InputError):
    """Some cases of a job failed and the others are done; the command line exits with code 3.

    Parameters
    ----------
    done
        The results of the others.
    """

    def __init__(self, what: str, *, done: Sequence[Any], remedy: str = "") -> None:
        self.done = done
        super().__init__(what, remedy=remedy)
