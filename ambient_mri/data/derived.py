"""Specs that programs write: another one with some facts changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ambient_mri import files


def derive(data: str, path: Path, facts: Mapping[str, Any]) -> str:
    """Write a spec to `path` that is `data` (a name or a path, from the working directory) but for `facts`."""
    is_path = "/" in data or data.endswith((".yaml", ".yml"))
    document = {"based_on": str(Path(data).resolve()) if is_path else data, **facts}
    return str(files.write(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True)))
