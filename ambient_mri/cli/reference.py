"""The commands as the program itself knows them: what the documentation lists and the tests walk through."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

COLUMNS = "| argument | meaning |\n|---|---|\n"


def every_command(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Name and parser of each command, `data` before `data list`; the program itself is not among them."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield inner.prog.partition(" ")[2], inner
                yield from every_command(inner)


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, without `--help` and without the commands within it."""
    return [action for action in parser._actions if action.dest != "help" and action.metavar != "COMMAND"]


def examples(parser: argparse.ArgumentParser) -> list[str]:
    """The command lines at the end of the help."""
    return [line.strip() for line in (parser.epilog or "").splitlines() if line.startswith("  ")]


def markdown(parser: argparse.ArgumentParser) -> str:
    """Sections with a table of arguments and the examples of every command."""
    return "\n".join(_section(name, inner) for name, inner in every_command(parser))


def _section(name: str, parser: argparse.ArgumentParser) -> str:
    rows = "".join(f"| {_written(action)} | {_meaning(action, parser.prog)} |\n" for action in arguments(parser))
    shown = "".join(f"    {line}\n" for line in examples(parser))
    table = f"{COLUMNS}{rows}\n" if rows else ""
    return f"{'##' if ' ' not in name else '###'} {name}\n\n{_cell(parser.description or '')}\n\n{table}{shown}"


def _written(action: argparse.Action) -> str:
    """An argument as it is typed, with the name of its value."""
    value = action.metavar if isinstance(action.metavar, str) else ""
    if action.choices:
        value = ", ".join(map(str, action.choices))
    if action.nargs in ("+", "*"):
        value = f"{value} …"
    if not action.option_strings:
        return f"`{value}`"
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = f" `{value}`" if value and action.nargs != 0 else ""
    return _cell(f"{names}{value}{' (needed)' if action.required else ''}")


def _meaning(action: argparse.Action, prog: str) -> str:
    text = action.help or ""
    return _cell(text % {"prog": prog, "default": action.default} if "%" in text else text)


def _cell(text: str) -> str:
    """Text that stays within a cell of a Markdown table and shows its stars and brackets as they are."""
    return text.replace("|", "\\|").replace("*", "\\*")
