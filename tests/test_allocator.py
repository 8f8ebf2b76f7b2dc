"""The program keeps freed memory, in its own process only, unless the environment says otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from ambient_mri.cli.allocator import STATED

FAULTS = """
import resource, sys
from ambient_mri.cli.allocator import keep_freed_memory
raised = sys.argv[1] == "raise" and keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = b"\\1" * (40 << 20)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(raised, faults())
"""


def _run(what: str, environment: dict[str, str]) -> tuple[bool, int]:
    clean = {name: value for name, value in os.environ.items() if name not in STATED}
    command = [sys.executable, "-c", FAULTS, what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean | environment)
    raised, faults = done.stdout.split()
    return raised == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other allocators")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    raised, faults = _run("raise", {})
    assert raised
    assert faults < 0.1 * _run("leave", {})[1]


def test_what_the_environment_states_stays() -> None:
    assert not _run("raise", {"MALLOC_TRIM_THRESHOLD_": "131072"})[0]
    assert not _run("raise", {"MALLOC_MMAP_THRESHOLD_": "131072"})[0]
