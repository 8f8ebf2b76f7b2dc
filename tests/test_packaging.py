"""The wheel carries the specs and the assets, and nothing that is not the library."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_is_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for spec in (ROOT / "data_specs").glob("*.yaml"):
        assert f"ambient_mri/data_specs/{spec.name}" in held
    for asset in (ROOT / "ambient_mri" / "data" / "assets").iterdir():
        assert f"ambient_mri/data/assets/{asset.name}" in held
    assert "ambient_mri/py.typed" in held
    assert {name.split("/")[0].split("-")[0] for name in held} == {"ambient_mri"}
