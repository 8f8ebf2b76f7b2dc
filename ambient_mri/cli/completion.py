"""`completion`: a script that completes the program's commands, options, models and data specs in a shell."""

from __future__ import annotations

import argparse

from ambient_mri.cli.arguments import Commands, command
from ambient_mri.cli.reference import arguments as taken_by
from ambient_mri.cli.reference import every_command
from ambient_mri.errors import InputError

SHELLS = ("bash", "zsh")
NAMED = {"BUNDLE": "_ambient_mri_bundles", "MODEL": "_ambient_mri_bundles", "SPEC": "_ambient_mri_specs"}
"""Shell functions for what is a name of the installation or else a file, by the metavar that stands for it."""
PREAMBLE = {
    "bash": '{name}() {{ compgen -W "{words}" -- "$1"; compgen -f -- "$1"; }}\n',
    "zsh": "{name}() {{ compadd -- {words}; _files }}\n",
}


def add(commands: Commands) -> None:
    add = command(commands, "completion", "a script that completes commands and options in a shell", "completion bash")
    add.set_defaults(run=completion)
    add.add_argument("shell", choices=SHELLS, help="whose script goes to standard output")


def completion(arguments: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError as problem:
        remedy = "pip install 'ambient-mri[completion]'"
        raise InputError("shtab is not installed", where="completion", remedy=remedy) from problem
    from ambient_mri.cli import parser

    root = parser()
    for _, inner in every_command(root):
        _say_what_completes(inner, shtab.FILE, shtab.DIRECTORY)
    print(shtab.complete(root, arguments.shell, preamble=_functions(arguments.shell)))
    return 0


def _say_what_completes(parser: argparse.ArgumentParser, file: object, folder: object) -> None:
    """Set what shtab looks at: the attribute `complete` of every argument whose value is a path or a name."""
    for action in taken_by(parser):
        meant = action.metavar if isinstance(action.metavar, str) else ""
        if meant in NAMED:
            action.complete = dict.fromkeys(SHELLS, NAMED[meant])  # type: ignore[attr-defined]
        elif meant == "DIR":
            action.complete = folder  # type: ignore[attr-defined]
        elif meant.rstrip("S").endswith(("FILE", "SAMPLE")):
            action.complete = file  # type: ignore[attr-defined]


def _functions(shell: str) -> str:
    from ambient_mri.data.spec import list_specs
    from ambient_mri.prior.shipped import shipped

    words = {"_ambient_mri_bundles": shipped(), "_ambient_mri_specs": [spec.name for spec in list_specs()]}
    return "".join(PREAMBLE[shell].format(name=name, words=" ".join(found)) for name, found in words.items())
