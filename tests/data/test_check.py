"""What `data check` says."""

from __future__ import annotations

import numpy as np
import pytest

from ambient_mri.data.check import check
from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError


def test_demo():
    lines = check(load_spec("brain_demo"))
    assert lines[0] == "600 scans of 600 patients, 600 slices, made on the fly"
    assert "train: 480 patients, 480 slices" in lines
    assert any("simulated k-space of 4 coils, noise 0.02" in line for line in lines)
    assert any("25.0%" in line for line in lines)


def test_clean_spec_warns(real_data):
    if not (real_data / "brain_bids").is_dir():
        pytest.skip("brain_bids is not there")
    assert any("saw clean images" in line for line in check(load_spec("brain_bids_clean")))


def test_absent_data():
    with pytest.raises(InputError, match="looked for"):
        check(load_spec("knee_fastmri"))


def test_acquired_files(tmp_path, write_fastmri, fastmri_spec):
    for i in range(3):
        write_fastmri(tmp_path / "files" / f"scan{i}.h5", i)
    lines = check(load_spec(str(fastmri_spec())))
    assert lines[0] == f"3 scans of 3 patients, 6 slices in {tmp_path / 'files'}"
    assert any(
        line.startswith("acquired k-space, coils as in the files, noise as the files state it") for line in lines
    )
    assert any("4 x 128 x 64 (3)" in line for line in lines)
    assert any("3 are fully sampled" in line for line in lines)
    assert not any(line.startswith("warning") for line in lines)


def test_slow_storage_and_mixed_masks_are_warned_of(tmp_path, write_fastmri, fastmri_spec):
    write_fastmri(tmp_path / "files" / "a.h5", compression="gzip")
    write_fastmri(tmp_path / "files" / "b.h5", chunks=(2, 4, 16, 16))
    write_fastmri(tmp_path / "files" / "c.h5", chunks=(1, 4, 128, 64), mask=np.arange(64) % 2)
    lines = check(load_spec(str(fastmri_spec())))
    warnings = [line for line in lines if line.startswith("warning")]
    assert len(warnings) == 2
    assert any("2 files are compressed or chunked across slices" in line for line in warnings)
    assert any("with and without masks" in line for line in warnings)


def test_files_without_masks_do_not_fit_a_law_of_their_masks(tmp_path, write_fastmri, fastmri_spec):
    for i in range(3):
        write_fastmri(tmp_path / "files" / f"scan{i}.h5", i)
    lines = check(load_spec(str(fastmri_spec(acquisition={"pattern": {"kind": "from_files"}}))))
    assert any(line.startswith("warning: 3 of 3 files bring no mask") for line in lines)
    assert not any("one from the law" in line for line in lines)


def test_files_that_were_simulated_are_not_called_acquired(tmp_path, fastmri_spec):
    files = simulate_files(load_spec("brain_demo"), out=tmp_path / "files", limit=3)
    (files / "truth").rename(tmp_path / "truth")
    for simulated in (False, True):
        lines = check(load_spec(str(fastmri_spec(source={"simulated": simulated}))))
        warned = [line for line in lines if "3 files say that their k-space was simulated" in line]
        assert [line.startswith("warning: ") for line in warned] == ([] if simulated else [True])


def test_empty_folder(tmp_path, fastmri_spec):
    (tmp_path / "files").mkdir()
    with pytest.raises(InputError, match=r"no files there fit \*\.h5"):
        check(load_spec(str(fastmri_spec())))
