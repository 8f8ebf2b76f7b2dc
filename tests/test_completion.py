"""Completion in a real shell: what a user gets who presses the tabulator."""

from __future__ import annotations

import builtins
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ambient_mri.cli import main, reference
from ambient_mri.cli import parser as program

ASK = """
source {script}
COMP_WORDS=({words}); COMP_CWORD={last}; COMP_TYPE=9; COMP_LINE="{words}"
_shtab_ambient_mri 2> /dev/null
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    out = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh"):
        with pytest.MonkeyPatch.context() as patch:
            said: list[str] = []
            patch.setattr(builtins, "print", lambda *text, **_: said.extend(text))  # noqa: B023
            assert main(["completion", shell]) == 0
        (out / shell).write_text(said[0])
    return out


def _offered(scripts: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    quoted = " ".join(["ambient-mri", *(word or "''" for word in words)])
    asked = ASK.format(script=scripts / "bash", words=quoted, last=len(words))
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], cwd=scripts, capture_output=True, text=True, check=True, timeout=30
    )
    return {line.strip() for line in done.stdout.splitlines()} - {""}


def test_commands_and_those_within(scripts: Path) -> None:
    names = {name for name, _ in reference.every_command(program()) if " " not in name}
    assert names <= _offered(scripts, "")
    assert _offered(scripts, "rec") == {"reconstruct"}
    assert {"list", "check", "show", "simulate"} <= _offered(scripts, "data", "")


def test_options_and_their_choices(scripts: Path) -> None:
    assert {"--preset", "--precision"} == _offered(scripts, "train", "--pre")
    assert {"dds", "dps", "ddrm"} <= _offered(scripts, "reconstruct", "--method", "d")


def test_models_specs_and_files(scripts: Path) -> None:
    (scripts / "scan.h5").touch()
    assert "brain_flair_64" in _offered(scripts, "models", "show", "brain_f")
    assert "brain_demo" in _offered(scripts, "train", "--data", "brain_d")
    assert "scan.h5" in _offered(scripts, "reconstruct", "brain_flair_64", "sc")


def test_zsh_reads_its_script(scripts: Path) -> None:
    text = (scripts / "zsh").read_text()
    assert text.startswith("#compdef ambient-mri")
    assert "_ambient_mri_specs() { compadd -- " in text
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    subprocess.run(["zsh", "-n", str(scripts / "zsh")], check=True, timeout=30)


def test_without_shtab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    imported = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "shtab":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'ambient-mri[completion]'" in capsys.readouterr().err
