"""The command line: quick to answer, one clear line for bad input, exit codes."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ambient_mri import cli
from ambient_mri.cli import arguments, reference, training
from ambient_mri.errors import InputError

COMMANDS = dict(reference.every_command(cli.parser()))


def _raising(problem: BaseException) -> Callable[[object], int]:
    def run(arguments: object) -> int:
        raise problem

    return run


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command.split(), "--help"])
    assert stopped.value.code == 0
    assert "usage: ambient-mri" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_that_the_program_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = reference.examples(COMMANDS[command])
    assert shown
    assert COMMANDS[command].format_help().endswith("".join(f"  {line}\n" for line in shown)), "not wrapped"
    for line in shown:
        program, *words = shlex.split(line)
        assert program == "ambient-mri"
        assert " ".join(words).startswith(command), "an example of this command"
        assert callable(cli.parser().parse_args(words).run)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_every_argument_means(command: str) -> None:
    for action in reference.arguments(COMMANDS[command]):
        assert action.help, f"{command} {action.dest}"


@pytest.mark.parametrize(
    "line",
    [
        "trian",
        "train",
        "train --data brain_demo --minutes 0",
        "train --data brain_demo --minutes nan",
        "train --data brain_demo --preset huge",
        "sample bundle --out x -n -3",
        "reconstruct bundle scan.h5 --out x --method magic",
        "reconstruct bundle scan.h5 --out x --format dicom,tiff",
        "reconstruct bundle scan.h5 --out x --missing inf",
        "reconstruct bundle scan.h5 --out x --missing nan --mask m.npy",
        "evaluate bundle --data brain_demo --acceleration 2,none",
        "evaluate bundle --data brain_demo --acceleration .5",
        "evaluate bundle --data brain_demo --methods one-step,magic",
        "data simulate brain_demo --noise -1 --out x",
        "data simulate brain_demo --noise loud --out x",
        "train --data brain_demo --batch-size x",
        "train --data brain_demo --workers -1",
        "train --data brain_demo --minutes soon",
        "evaluate none --data brain_demo --acceleration 2,x",
    ],
)
def test_wrong_usage_is_one_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(line.split())
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "error: " in said
    assert "--help" in said
    assert not re.search(r"invalid [a-z_]+ value", said), "the name of a function is no help"


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (InputError("truncated", where="scan.h5", remedy="Copy\nit again"), "scan.h5: truncated. Copy it again"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/out/a.h5"),
            "/out/a.h5: No space left on device. Free some",
        ),
        (
            OSError(errno.ENOSPC, "Can't write data (file write failed: errno = 28)"),
            "No space left on device. Free some",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "No space left on device. Free some"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "x.h5"),
            "x.h5: No such file or directory. Check",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), "/root/x: Permission denied. Check the perm"),
        (OSError("Unable to synchronously open file (file signature not found)"), "file signature not found"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    problem: Exception, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.data, "data_list", _raising(problem))
    assert cli.main(["data", "list"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("ambient-mri: error: ")
    assert expected in said


def test_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.data, "data_list", _raising(KeyboardInterrupt()))
    assert cli.main(["data", "list"]) == 130


def test_a_fault_of_the_program_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.data, "data_list", _raising(RuntimeError("shape mismatch")))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        cli.main(["data", "list"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train --data brain_dmo --steps 1 --out {out}", "brain_dmo"),
        ("train --data missing.yaml --steps 1 --out {out}", "missing.yaml"),
        ("train --data brain_fastmri --steps 1 --out {out}", "brain_demo"),
        ("train --data {clean} --steps 1 --out {out}", "clean image"),
        ("train --data brain_demo --steps 1 --device cuda:99 --out {out}", "cuda:99"),
        ("sample {out}/no_bundle --out {out}", "no_bundle"),
        ("reconstruct {out}/no_bundle scan.h5 --out {out}", "no_bundle"),
        ("evaluate {out}/no_bundle --data brain_demo", "no_bundle"),
        ("evaluate none --data brain_demo --methods one-step", "trained bundle"),
        ("reconstruct none scan.h5 --out {out}", "trained bundle"),
        ("reconstruct none scan.h5 --method tv --samples 4 --out {out}", "tv draws no samples"),
        ("reconstruct none scan.h5 --method tv --time-budget 4 --out {out}", "--time-budget"),
        ("evaluate none --data brain_demo --methods tv,cg-sense --nfe 4", "tv, cg-sense draw no samples"),
        ("data check brain_dmo", "brain_demo"),
        ("models show brain_12", "ambient-mri models list"),
    ],
)
def test_bad_input_of_every_command(
    line: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMBIENT_MRI_DATA", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    clean = tmp_path / "clean.yaml"
    clean.write_text("based_on: brain_demo\nsource: {target: reconstruction_rss}\n")
    assert cli.main(line.format(out=tmp_path, clean=clean).split()) == 2
    said = capsys.readouterr().err
    assert said.count("ambient-mri: error: ") == 1
    assert expected in said.splitlines()[-1]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One undersampled file as a scanner would leave it."""
    out = tmp_path_factory.mktemp("scans")
    assert cli.main(["data", "simulate", "brain_demo", "--limit", "1", "--out", str(out)]) == 0
    return next(out.glob("*.h5"))


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _changed(change: Callable[[Any], Any], name: str = "kspace") -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        import h5py

        with h5py.File(path, "r+") as file:
            values = change(file[name][()])
            del file[name]
            file[name] = values

    return spoil


def _nan_where_measured(kspace: Any) -> Any:
    kspace[kspace != 0] *= float("nan")
    return kspace


SPOILED: dict[str, Callable[[Path], None]] = {
    "absent": Path.unlink,
    "no HDF5": lambda path: path.write_text("a text") and None,
    "truncated": _truncated,
    "not a number": _changed(_nan_where_measured),
    "axes in another order": _changed(lambda kspace: kspace.transpose(1, 2, 3, 0)),
    "an axis less": _changed(lambda kspace: kspace[0, 0]),
    "mask longer than k-space": _changed(lambda mask: [*mask, True], "mask"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_files_that_cannot_be_used(
    spoil: Callable[[Path], None], scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.h5"
    bad.write_bytes(scan.read_bytes())
    spoil(bad)
    files = [str(bad), str(scan), "--out", str(tmp_path / "out")]
    assert cli.main(["reconstruct", "none", *files, "--method", "zero-filled"]) == 3
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said.count("ambient-mri: error: ") == 1
    assert "bad.h5" in said.splitlines()[-1]
    assert (tmp_path / "out" / f"{scan.stem}.nii.gz").exists(), "the good file is kept"


def test_json_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    from ambient_mri.data.spec import load_spec
    from ambient_mri.prior.bundle import load_card

    def said(*line: str) -> Any:
        assert cli.main([*line, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    models = said("models", "list")
    assert {"name", "path", "card"} == set(models[0])
    for model in models:
        assert said("models", "show", model["name"]) == model
        assert model["card"] == load_card(Path(model["path"])).model_dump(mode="json")
    specs = said("data", "list")
    assert {spec["name"]: spec["sha256"] for spec in specs} == {
        spec["name"]: load_spec(spec["name"]).sha256 for spec in specs
    }
    assert "brain_demo" in {spec["name"] for spec in specs}


def test_choices_are_those_of_the_library() -> None:
    from ambient_mri.prior.network import PRESETS
    from ambient_mri.reconstruction import posterior
    from ambient_mri.reconstruction.methods import ITERATED, METHODS, POSTERIOR
    from ambient_mri.reconstruction.outputs import FORMATS

    assert set(arguments.METHODS) == set(METHODS)
    assert arguments.ITERATED == ITERATED
    assert arguments.POSTERIOR == POSTERIOR == tuple(posterior.KINDS)
    assert set(arguments.FORMATS) == set(FORMATS)
    assert set(training.PRESETS) == set(PRESETS)


@pytest.mark.parametrize("text", ["99999999999999999999999", str(2**63), "-1", "1.5", ""])
def test_seeds_that_no_generator_takes_are_refused_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["reconstruct", "none", "scan.h5", "--out", "o", f"--seed={text}"])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not a whole number from 0 to 9223372036854775807" in line


def test_names_that_are_not_utf8_are_printed_all_the_same() -> None:
    program = "from ambient_mri.cli.program import run_program; run_program(lambda: print('M\\udcfc') or 0, 'it')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env={**os.environ, "PYTHONUTF8": "1"}
    )
    assert done.stdout == b"M\\udcfc\n"


def test_module_and_program_answer() -> None:
    for command in ([sys.executable, "-m", "ambient_mri"], [str(Path(sys.executable).with_name("ambient-mri"))]):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("ambient-mri ")


def test_closed_pipe_is_quiet() -> None:
    program = f"{sys.executable} -m ambient_mri data list | true"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
