"""What is wrong with a spec, in one line: the file, the key, and the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ambient_mri.errors import InputError


def nearest(word: str, valid: Iterable[str]) -> str:
    """ ", nearest is '…'" where one of the valid words is close."""
    close = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    return f", nearest is {close[0]!r}" if close else ""


def explained(problem: ValidationError, model: type[BaseModel], path: Path) -> InputError:
    """The first thing that is wrong with the `model` read from `path`."""
    errors = problem.errors(include_url=False)
    error = errors[0]
    keys, models = _place(error["loc"], model)
    where = f"{path}: {'.'.join(keys)}" if keys else str(path)
    others = len({tuple(_place(other["loc"], model)[0]) for other in errors}) - 1
    more = f" (and {others} more)" if others else ""
    if error["type"] == "extra_forbidden":
        valid = sorted({name for inner in models for name in inner.model_fields})
        valid += ["based_on"] if len(keys) == 1 else []
        what = f"unknown key {keys[-1]!r}{nearest(keys[-1], valid)}{more}"
        return InputError(what, where=where, remedy=f"Valid keys here: {', '.join(valid)}")
    if error["type"] == "missing":
        return InputError(f"the key {keys[-1]!r} is missing{more}", where=where, remedy="See docs/data_specs.md")
    if error["type"] == "union_tag_invalid":
        tags = error["ctx"]["expected_tags"].replace("'", "")
        tag = str(error["ctx"]["tag"])
        return InputError(
            f"unknown kind {tag!r}{nearest(tag, tags.split(', '))}{more}", where=where, remedy=f"Kinds: {tags}"
        )
    if error["type"] == "union_tag_not_found":
        return InputError(f"the key 'kind' is missing{more}", where=where, remedy="See docs/data_specs.md")
    message, given = error["msg"], error["input"]
    if error["type"] == "value_error":
        message = message.removeprefix("Value error, ")
    elif isinstance(given, str | int | float | None):
        message = f"{message}, not {given!r}"
    return InputError(f"{message}{more}", where=where, remedy="See docs/data_specs.md")


def _place(loc: tuple[str | int, ...], model: type[BaseModel]) -> tuple[list[str], list[type[BaseModel]]]:
    """The keys of the file that lead to a location of pydantic's, and the models whose key the last one is."""
    models: list[type[BaseModel]] = [model]
    keys: list[str] = []
    for step in loc:
        if isinstance(step, int) and keys[-1:] == ["mixture"]:  # which component
            keys.append(str(step))
            continue
        tagged = [m for m in models if "kind" in m.model_fields and step in get_args(m.model_fields["kind"].annotation)]
        if tagged:  # pydantic also names the kind it took
            models = tagged
            continue
        fields = [m.model_fields[str(step)] for m in models if str(step) in m.model_fields]
        if not fields:
            if step == loc[-1] and isinstance(step, str) and models:
                keys.append(step)  # a key that is not ours
            break
        keys.append(str(step))
        inner = [below for field in fields for below in models_in(field.annotation)]
        models = inner if inner or step != loc[-1] else models
    return keys, models


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)
