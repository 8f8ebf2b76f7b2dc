"""ARCHITECTURE's lines hold in the whole repository, and every rule can say no."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture_rules import HEAVY, ROOMS, RULES

ROOT = Path(__file__).parents[1]
Rule = Callable[[str, str], list[str]]
MODULES = sorted(path for room in ("ambient_mri", "pipelines") for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_repository_keeps(rule: Rule) -> None:
    breaches = [line for path in MODULES for line in rule(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))]
    assert not breaches, "\n".join(breaches)


BAD = [
    ("fft_only_in_fourier", "ambient_mri/coils/espirit.py", "import torch\ny = torch.fft.fft2(x)"),
    ("fft_only_in_fourier", "ambient_mri/coils/espirit.py", "from numpy.fft import fftshift"),
    ("fft_only_in_fourier", "pipelines/table.py", "import scipy.fft"),
    ("fft_only_in_fourier", "ambient_mri/coils/espirit.py", "import sigpy as sp\ny = sp.ifft(x)"),
    ("imports_point_upward", "ambient_mri/data/spec.py", "from ambient_mri.prior.bundle import load_bundle"),
    ("imports_point_upward", "ambient_mri/operators/masked.py", "def f():\n    from ambient_mri import measurement"),
    ("imports_point_upward", "ambient_mri/data/split.py", "from .spec import DataSpec"),
    ("imports_point_upward", "ambient_mri/cli/training.py", "import pipelines.table"),
    ("no_print", "ambient_mri/prior/training.py", "print('step 1')"),
    ("no_print", "ambient_mri/prior/training.py", "import sys\nsys.stderr.write('step 1')"),
    ("no_catch_all_module", "ambient_mri/data/utils.py", ""),
    ("no_catch_all_module", "ambient_mri/common/masks.py", ""),
    ("no_catch_all_module", "pipelines/_helpers.py", ""),
    ("nothing_that_executes", "ambient_mri/prior/bundle.py", "import pickle"),
    ("nothing_that_executes", "ambient_mri/prior/bundle.py", "import torch\ntorch.load(path)"),
    ("nothing_that_executes", "ambient_mri/prior/bundle.py", "import torch\ntorch.load(path, weights_only=False)"),
    ("nothing_that_executes", "ambient_mri/data/spec.py", "import yaml\nyaml.load(text, Loader=yaml.Loader)"),
    ("nothing_that_executes", "ambient_mri/data/spec.py", "eval('1+1')"),
    ("nothing_that_executes", "ambient_mri/data/spec.py", "exec(config['code'])"),
    ("nothing_that_executes", "ambient_mri/data/readers/images.py", "np.load(path, allow_pickle=True)"),
    ("no_cuda_call", "ambient_mri/prior/network.py", "network = network.cuda()"),
    ("no_keyword_tunnel", "ambient_mri/prior/network.py", "def make(size, **kwargs):\n    return Net(size, **kwargs)"),
    ("no_clean_image_in_training", "ambient_mri/prior/objective.py", "def loss(prior, y, target): ..."),
    ("no_clean_image_in_training", "ambient_mri/prior/objective.py", "def loss(prior, y, *, clean_image): ..."),
    ("no_clean_image_in_training", "ambient_mri/coils/espirit.py", "def maps(y, mask, reference): ..."),
    ("no_clean_image_in_training", "ambient_mri/measurement.py", "class Measurement:\n    ground_truth: Tensor"),
    ("truth_stays_in_evaluation", "ambient_mri/prior/feed.py", "from ambient_mri.data.dataset import open_evaluation"),
    ("truth_stays_in_evaluation", "ambient_mri/reconstruction/job.py", "from ambient_mri.data.slices import simulated"),
    ("randomness_is_an_argument", "ambient_mri/prior/training.py", "import torch\ntorch.manual_seed(0)"),
    ("randomness_is_an_argument", "ambient_mri/prior/training.py", "import torch\nn = torch.randn(3)"),
    ("randomness_is_an_argument", "ambient_mri/data/cohort.py", "import numpy as np\nnp.random.normal()"),
    ("light_at_import", "ambient_mri/cli/training.py", "import torch"),
    ("light_at_import", "ambient_mri/cli/training.py", "from ambient_mri.prior.training import train"),
    ("light_at_import", "ambient_mri/__init__.py", "from ambient_mri.measurement import Measurement"),
    ("pipelines_are_short", "pipelines/table.py", "x = 1\n" * 81),
]


@pytest.mark.parametrize(("rule", "path", "source"), BAD)
def test_every_rule_can_say_no(rule: str, path: str, source: str) -> None:
    complaints = {known.__name__: known for known in RULES}[rule](path, source)
    assert complaints
    assert complaints[0].startswith(f"{path}:")


def test_every_rule_has_a_bad_example() -> None:
    assert {name for name, _, _ in BAD} == {rule.__name__ for rule in RULES}


GOOD = """
import torch
from ambient_mri.fourier import fft2c

def draw(shape, rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
    return fft2c(torch.randn(shape, generator=rng)).to("cuda")

def extend(**lines):
    return dict(lines)
"""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_good_source_passes(rule: Rule) -> None:
    assert rule("ambient_mri/prior/network.py", GOOD) == []


def test_every_room_is_in_the_order() -> None:
    library = ROOT / "ambient_mri"
    rooms = {path.relative_to(library).parts[0].removesuffix(".py") for path in library.rglob("*.py")}
    assert rooms - {"__init__"} <= set(ROOMS)


def test_modules_are_small() -> None:
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in MODULES if path.name != "__init__.py"}
    assert statistics.median(lengths.values()) <= 150
    longest = max(lengths, key=lengths.__getitem__)
    assert lengths[longest] <= 450, f"{longest} has {lengths[longest]} lines: split it"


def test_specs_hold_facts_and_no_code() -> None:
    for path in (ROOT / "data_specs").glob("*.y*ml"):
        assert not re.search(r"\$|_target_|!!|ambient_mri\.", path.read_text("utf-8")), f"{path}: facts only"


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    program = "import sys, ambient_mri.cli, ambient_mri.doctor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(loaded.stdout.split()) & set(HEAVY)
