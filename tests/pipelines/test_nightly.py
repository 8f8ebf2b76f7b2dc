"""The night job against Orthanc: run twice it does nothing twice, and no name leaves the images."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pacs import servers
from tests.reconstruction.test_no_identity_leaks import DATE, SENTINEL, UID, _plant

pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[servers.Orthanc]:
    (tmp_path / "orthanc").mkdir()
    with servers.orthanc(tmp_path / "orthanc") as running:
        yield running


@pytest.fixture(scope="module")
def run() -> Callable[[list[str]], int]:
    spec = importlib.util.spec_from_file_location("nightly_pacs", ROOT / "pipelines" / "nightly_pacs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main


def _leaks(work: Path) -> list[str]:
    """Names of files that hold a sentinel, and files other than DICOM that do inside."""
    found = []
    for path in work.rglob("*"):
        content = path.read_bytes() if path.is_file() and path.suffix != ".dcm" else b""
        for sign in (SENTINEL, DATE, UID):
            if sign in str(path.relative_to(work)) or sign.encode() in content:
                found.append(f"{path.relative_to(work)}: {sign}")
    return found


@pytest.mark.parametrize("by", ["dicom", "web"])
def test_a_night_and_the_same_night_again(
    orthanc: servers.Orthanc, run: Callable[[list[str]], int], by: str, real_data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    from ambient_mri.pacs.address import open_archive
    from ambient_mri.pacs.transfer import push

    caplog.set_level("DEBUG")  # of every library
    planted = tmp_path / "planted"
    planted.mkdir()
    sources = sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))
    for number, source in enumerate(sources):
        _plant(source, planted / f"{number}.dcm", number)
    archive = open_archive(orthanc.dicom if by == "dicom" else orthanc.web)
    assert push(archive, [planted]).new == len(sources)
    work = tmp_path / "work"
    words = [str(archive), "--work", str(work), "--method", "biharmonic", "--missing", "-999",
             "--study-date", f"{DATE}..{DATE}"]  # fmt: skip
    assert run(words) == 0
    (study,) = orthanc.ask("/studies")
    series = [orthanc.ask(f"/series/{one}") for one in orthanc.ask(f"/studies/{study}")["Series"]]
    made = [one for one in series if one["MainDicomTags"]["SeriesDescription"].startswith("RESEARCH")]
    assert [len(one["Instances"]) for one in made] == [len(sources)], "filed with the study it came from"
    assert "12 instances stored, 0 were there" in (work / "summary.md").read_text()

    count = len(orthanc.ask("/instances"))
    assert run(words) == 0
    assert len(orthanc.ask("/instances")) == count
    summary = (work / "summary.md").read_text()
    assert "1 series: 0 instances pulled, 12 were here; 1 series of derived images left out" in summary
    assert "0 instances stored, 12 were there" in summary

    assert run([*words[:-1], "19000101"]) == 0, "a night on which nothing matches is no failure"
    said = capsys.readouterr()
    everything = said.out + said.err + "\n".join(record.getMessage() for record in caplog.records)
    assert "were there" in everything
    for sign in (SENTINEL, UID):
        assert sign not in everything
    assert _leaks(work) == []


def test_an_address_that_is_none_is_told_before_any_work(
    run: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["dicom://PACS@127.0.0.1:104", "--work", str(tmp_path / "work"), "--method", "tv"]
    assert run([*words, "--study-date", "yesterday", "--push-to", "nonsense"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nightly_pacs: error: 'nonsense': not the address of an archive")
    assert not (tmp_path / "work").exists()


def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    run: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(["dicom://PACS@127.0.0.1:104", "--work", str(tmp_path / "file" / "work")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nightly_pacs: error: ")


def test_what_fails_is_named_and_the_rest_of_the_night_goes_on(
    run: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with servers.silent_port() as port:
        words = [f"dicom://PACS@127.0.0.1:{port}", "--work", str(tmp_path), "--method", "tv"]
        assert run([*words, "--study-date", "yesterday"]) == 2
    assert "no connection" in (tmp_path / "summary.md").read_text()
    assert "no connection" in capsys.readouterr().err
