"""The documentation runs: every ```python block, and every `$ ambient-mri …` line of ```console blocks.

A page runs from top to bottom in an empty folder, all its python blocks in one namespace. Trainings and sample counts
are cut short (`SHORTER`); a block that cannot run here is preceded by `<!-- not run: reason -->`.
Indented or ```text blocks are not code.
"""

from __future__ import annotations

import glob
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from ambient_mri.cli import main, parser
from ambient_mri.cli.arguments import ITERATED, METHODS, POSTERIOR
from ambient_mri.cli.reference import arguments, every_command
from ambient_mri.cli.training import TRAINING_METHODS
from ambient_mri.reconstruction.posterior import KINDS, SAMPLES
from tests.architecture_rules import ROOMS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = dict(every_command(parser()))
SHORTER = (
    (r"--minutes \S+", "--steps 2"),
    (r"-n \d+", "-n 2"),
    (r"--limit \d+", "--limit 2"),
    (r"--tuning-slices \d+", "--tuning-slices 2"),
)
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^>]+) -->\n)?```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    kind: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The blocks of a page that are to run."""
    found = [match for match in FENCE.finditer(page) if match["kind"] in ("python", "console") and not match["reason"]]
    return [Block(match["kind"], match["text"], page.count("\n", 0, match.start("text")) + 1) for match in found]


def commands(block: Block) -> Iterator[list[str]]:
    """The command lines of a console block, cut short, file patterns expanded when their turn comes."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if not line.startswith("$ "):
            continue
        program, *words = shlex.split(line[2:], comments=True)
        assert program == "ambient-mri", f"line {block.line}: only ambient-mri commands are run: {line}"
        for long, short in SHORTER:
            words = shlex.split(re.sub(long, short, shlex.join(words)))
        yield [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]


def run_page(path: Path) -> None:
    sys.modules["docs"] = module = ModuleType("docs")  # dataclasses look their module up
    page = path.read_text("utf-8")
    for block in blocks(page):
        if block.kind == "python":
            source = "\n" * (block.line - 1) + block.text  # errors name the line of the page
            exec(compile(source, str(path), "exec"), vars(module))
        else:
            for command in commands(block):
                assert main(command) == 0, f"{path}:{block.line}: ambient-mri {shlex.join(command)}"


@pytest.mark.parametrize(
    "path", [page for page in PAGES if blocks(page.read_text("utf-8"))], ids=lambda page: str(page.relative_to(ROOT))
)
def test_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ambient_mri.evaluation.tuning.STEPS_PER_DECADE", 2)  # cut short as well
    if path.name != "quickstart.md":  # the quick start trains its own; other pages take up from there
        (tmp_path / "runs" / "demo").mkdir(parents=True)
        (tmp_path / "runs" / "demo" / "bundle").symlink_to(tiny_bundle)
    run_page(path)


@pytest.mark.parametrize(
    "bad", ["```python\nassert False\n```\n", "```console\n$ ambient-mri data check nothing\n```\n"]
)
def test_a_broken_page_fails(bad: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{bad}")
    with pytest.raises(AssertionError):
        run_page(page)


def test_every_page_is_in_the_navigation_and_links_lead_somewhere() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert str(page.relative_to(ROOT / "docs")) in navigation
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target} does not exist"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_commands_names_every_option(command: str) -> None:
    sections = (ROOT / "docs" / "cli.md").read_text("utf-8").split("\n## ")
    section = next(text for text in sections if text.splitlines()[0] == command.split()[0])
    assert f"ambient-mri {command}" in section or f"`{command}" in section
    for action in arguments(COMMANDS[command]):
        longest = max(action.option_strings, key=len, default="")
        for word in (longest, *(action.choices or ())):
            assert word in section, f"docs/cli.md says nothing of {word} of {command}"


def test_the_page_of_methods_names_every_method() -> None:
    page = (ROOT / "docs" / "which_method.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `([\w-]+)` \|", page, re.M))
    compared = set(TRAINING_METHODS) - {"ambient", "naive", "unweighted"}  # what the text below the tables says
    assert rows == {*METHODS, *ITERATED, *POSTERIOR, *compared}
    costs = dict(re.findall(r"^\| `([\w-]+)` \|[^|]+\|[^|]+\| (\d+)", page, re.M))
    assert {name: int(costs[name]) for name in KINDS} == {name: kind.nfe * SAMPLES for name, kind in KINDS.items()}


def test_the_reference_has_every_room() -> None:
    shown = {name for page in (ROOT / "docs" / "api").glob("*.md")
             for name in re.findall(r"^::: ambient_mri\.(\w+)$", page.read_text("utf-8"), re.M)}  # fmt: skip
    assert shown == set(ROOMS) - {"doctor", "cli", "__main__"}


@pytest.mark.slow
def test_the_site_builds_from_source_alone(tmp_path: Path) -> None:
    pytest.importorskip("mkdocstrings_handlers.python")
    absent = ", ".join(f"{name}=None" for name in ("torch", "numpy", "monai", "pydantic"))
    program = f"import sys; sys.modules.update({absent}); from mkdocs.__main__ import cli; cli()"
    command = [sys.executable, "-c", program, "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    assert "ambient-mri reconstruct brain_flair_64" in (tmp_path / "options" / "index.html").read_text("utf-8")
    assert "conjugate_gradients" in (tmp_path / "api" / "operators" / "index.html").read_text("utf-8")


def test_figures_are_not_left_as_placeholders() -> None:
    for page in PAGES:
        assert not re.search(r"\b(TODO|TBD|FIXME|XX\.X)\b", page.read_text("utf-8")), page
