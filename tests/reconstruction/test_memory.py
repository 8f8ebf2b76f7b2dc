"""How work is cut to a bound on memory; what does not fit is refused with what would; peaks stay below the bound."""

from __future__ import annotations

import importlib.util
import platform
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from ambient_mri.cli import main
from ambient_mri.cli.arguments import memory
from ambient_mri.errors import InputError
from ambient_mri.prior.network import architecture
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.memory import GIB, Plan, held_now, network_bytes, peak, plan

ROOT = Path(__file__).parents[2]
VOLUME = (150, 8, 320, 320)


def _benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("memory_benchmark", ROOT / "benchmarks" / "memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_more_memory_never_means_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient_mri.reconstruction.memory.held_now", lambda: GIB // 2)
    plans = [plan(VOLUME, architecture("base"), gib * GIB, samples=8) for gib in (2, 3, 4, 8, 16, 64)]
    for smaller, larger in pairwise(plans):
        assert smaller.slices <= larger.slices
        assert smaller.rows <= larger.rows
    assert plans[0].slices < plans[-1].slices
    assert plans[0].rows < plans[-1].rows
    assert plans[-1] == Plan(16, 32)
    assert plan(VOLUME, None, None) == Plan(5, 10), "usual sizes where nothing is stated"


def test_samples_that_need_derivatives_leave_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient_mri.reconstruction.memory.held_now", lambda: GIB // 2)
    network = architecture("small")
    plain, graph = (network_bytes(network, (320, 320), derivative=derivative) for derivative in (False, True))
    assert plain + 795 * 2**20 < graph < plain + 1.2 * 795 * 2**20, "MiB measured, float32"
    many = [plan(VOLUME, network, 6 * GIB, samples=8, derivative=derivative).rows for derivative in (False, True)]
    assert many[1] * graph < 6 * GIB < many[0] * graph
    assert plan(VOLUME, network, None, samples=8, derivative=True).rows == 2
    own = [plan((150, 32, 320, 320), network, 12 * GIB, samples=samples).rows for samples in (0, 1)]
    assert own[0] > own[1], "rows of a sampler hold their own k-space"


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient_mri.reconstruction.memory.held_now", lambda: GIB // 2)
    wide = (10, 64, 320, 640)
    with pytest.raises(InputError, match="one slice at a time") as caught:
        plan(wide, None, 4 * GIB, where="scan.h5")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "compress the coils" in sentence
    (needed,) = re.findall(r"Give --max-memory ([\d.]+)G", sentence)
    assert plan(wide, None, memory(f"{needed}G")).slices == 1
    with pytest.raises(InputError):
        plan(wide, None, memory(f"{float(needed) - 0.2}G"))


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 * GIB), ("4", 4 * GIB), ("1.5GiB", 3 * GIB // 2), ("512m", GIB // 2)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert memory(text) == size


def test_peak_is_at_least_what_is_held() -> None:
    assert 0 < held_now() <= peak() * 1.01


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what this C library does with freed memory is its own")
def test_what_was_freed_is_not_held() -> None:
    before = held_now()
    blocks = [np.ones(2**16, np.uint8) for _ in range(4096)]
    assert held_now() > before + 2**27
    last = blocks.pop()  # behind the others, so that they do not go back by themselves
    del blocks
    assert held_now() < before + 2**26 + last.nbytes


def test_the_peak_of_a_program_is_not_that_of_who_started_it() -> None:
    held = np.ones(GIB, np.uint8)  # imports alone take .3 GiB, .7 under Python 3.13
    program = "from ambient_mri.reconstruction.memory import peak; print(peak())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < held.nbytes


def test_a_small_bound_changes_batches_and_no_image(tmp_path: Path) -> None:
    scan = _benchmark().write_volume(tmp_path / "scan.h5", 5, 32, 2)
    images = []
    for bound in (None, held_now() + GIB // 16, 64 * GIB):
        out = tmp_path / str(bound)
        reconstruct(None, [scan], out, method="cg-sense", strength=0.01, formats=["hdf5"], max_memory=bound)
        with h5py.File(out / "scan.h5") as file:
            images.append(np.asarray(file["reconstruction"]))
    assert np.allclose(images[0], images[1], atol=1e-4 * images[0].max())
    assert np.allclose(images[0], images[2], atol=1e-4 * images[0].max())


def test_the_case_that_does_not_fit_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = _benchmark()
    small, large = module.write_volume(tmp_path / "a.h5", 1, 32, 2), tmp_path / "b.h5"
    with h5py.File(large, "w") as file:  # stated, not filled: nothing of it is read
        file.create_dataset("kspace", (400, 64, 640, 640), np.complex64, chunks=(1, 1, 640, 640))
        mask = np.zeros(640, np.float32)
        mask[310:330] = 1
        file["mask"] = mask
    limit = "8G"  # far below what the second needs, above what a process holds that ran all tests before this one
    words = ["--method", "tv", "--format", "nifti", "--max-memory", limit, "--out", str(tmp_path / "out")]
    assert main(["reconstruct", "none", str(small), str(large), *words]) == 3
    assert re.search(
        r"1 of 2 cases failed: .*b\.h5.*Give --max-memory [\d.]+G", capsys.readouterr().err.splitlines()[-1]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "slices"), [("cg-sense", 20), ("one-step", 4), ("a-dps", 2)])
def test_a_large_volume_stays_under_two_gib_and_the_model_is_loaded_once(
    tiny_bundle: Path, method: str, slices: int
) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "memory.py"), "--method", method, "--bundle", str(tiny_bundle)]
    command += ["--slices", str(slices), "--samples", "2", "--max-memory", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    cells = [cell.strip() for cell in done.stdout.splitlines()[-1].strip("|").split("|")]
    assert float(cells[4]) < 2
    assert int(cells[5]) == (method != "cg-sense")
    assert float(cells[1]) > 0.006 * slices - 0.01, "GiB of k-space"
