"""The page of a batch: complete, self-contained, safe, and honest about what failed."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import numpy as np
import pytest

from ambient_mri.cli import main
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.manifest import Manifest
from ambient_mri.report.gallery import gallery_page, write_gallery

PICTURES = {
    "edges": "RLAP", "slices": [2, 7, 12], "count": 15, "size": [64, 80], "deviation_white": 0.04,
    "files": {"input": "gallery/a_input.png", "image": "gallery/a_image.png", "deviation": "gallery/a_deviation.png"},
}  # fmt: skip
ENTRY: dict[str, Any] = {
    "method": "a-fill", "acceleration": 3.7, "noise_std": 0.02, "slices": 15, "matrix": [80, 64], "seconds": 4.2,
    "model_trained_on": "demo", "model_trained_on_simulated_scans": True, "outputs": ["a.nii.gz", "a.png"],
    "warnings": [], "flags": [], "pictures": PICTURES,
    "quality": {"chi2_per_component": 0.97, "structure": 0.1, "withheld_nmse": 0.05, "coverage": 0.88},
}  # fmt: skip


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.targets: list[str] = []
        self.articles: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert not any(name.startswith("on") for name in given), "no script in attributes"
        if tag == "img":
            assert given.get("alt")
        if tag == "input":
            assert given.get("type") == "radio" or given.get("aria-label")
        if tag == "article":
            self.articles.append(given["class"] or "")
        self.targets += [value for name in ("src", "href") if (value := given.get(name))]
        if tag not in {"meta", "img", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _text(entries: dict[str, Any], failures: list[dict[str, str]] | None = None) -> str:
    return gallery_page(entries, failures or [], set(entries))


def test_page_is_well_formed_and_fetches_nothing_from_elsewhere() -> None:
    text = _text({"<a>": ENTRY}, [{"source": "<b>.h5", "reason": "1 < 2 & damaged"}])
    page = _Page(text)
    assert all(not re.match(r"\w+:|//|/", target) for target in page.targets), "relative paths only"
    assert "<a>" not in text
    assert "&lt;a&gt;" in text
    assert "1 &lt; 2 &amp; damaged" in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text, "the policy allows this script and no other"
    assert "default-src 'none'" in text


@pytest.mark.parametrize("name", ["scan #1", "what?", "100%", "20%20", "a:b", 'it\'s "q" <b>&amp;', "M\udcfcller"])
def test_whatever_files_are_called_links_lead_to_them(name: str) -> None:
    pictures = PICTURES | {"files": {"image": f"gallery/{name}_image.png"}}
    page = _Page(_text({name: ENTRY | {"pictures": pictures, "outputs": [f"{name}.nii.gz"]}}))
    base = "file:///patients/index.html"
    led = [urlsplit(urljoin(base, target)) for target in page.targets]
    assert {(one.scheme, one.query, one.fragment) for one in led} == {("file", "", "")}
    paths = [unquote(one.path, errors="surrogateescape") for one in led]
    assert paths == [f"/patients/gallery/{name}_image.png", f"/patients/{name}.nii.gz"]


def test_failures_come_first_then_flags_then_the_rest() -> None:
    flagged = ENTRY | {"flags": ["line 3 stands out"], "warnings": ["the scan has R = 8"]}
    text = _text({"a": ENTRY, "b": flagged}, [{"source": "c.h5", "reason": "truncated"}])
    assert _Page(text).articles == ["failed", "flagged", "ok"]
    for words in (
        "line 3 stands out",
        "the scan has R = 8",
        "truncated",
        "to be looked at (1)",
        "failed (1)",
        "all (3)",
        "trained on demo (simulated scans)",
        "residual χ²/N 0.97",
        "coverage of 90 % intervals 88%",
        "white: 4% of the image's white",
        "Not for diagnostic use",
        'data-slices="3 8 13"',
        "slice 8 of 15",
    ):
        assert words in text  # fmt: skip
    assert text.count('<b class="l">R</b>') == 6, "edges are labelled in each picture"


def test_old_manifests_missing_pictures_and_unknown_orientation_are_said() -> None:
    old = {"method": "tv", "warnings": [], "outputs": [], "seconds": 1.0}
    assert "pictures are not here" in _text({"a": old})
    turned = ENTRY | {"pictures": PICTURES | {"edges": ""}}
    text = _text({"a": turned})
    assert "orientation not stated" in text
    assert "<b class" not in text
    _Page(text)
    assert _text({"a": ENTRY}) == _text({"a": dict(ENTRY)})


def test_size_stays_sane_for_two_hundred_cases() -> None:
    assert len(_text({f"case{n:03d}": ENTRY for n in range(200)})) < 1_000_000


def test_command_line_writes_the_page_also_when_cases_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.hypot(*np.mgrid[-20:20, -16:16]).astype(np.float32)[None].repeat(3, 0)
    image[1, 10:14, 8:12] = np.nan
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    folder = tmp_path / "Zebrafish^Name"
    folder.mkdir()
    write_nifti(folder / "good.nii.gz", image, affine=affine)
    write_nifti(folder / "whole.nii.gz", np.nan_to_num(image), affine=affine)
    (folder / "text.nii").write_text("no image")
    out = tmp_path / "out"
    inputs = [str(path) for path in sorted(folder.iterdir())]
    words = ["--out", str(out), "--method", "biharmonic", "--missing", "nan", "--format", "nifti"]
    assert main(["reconstruct", "none", *inputs, *words]) == 3
    assert str(out / "index.html") in capsys.readouterr().err
    text = (out / "index.html").read_text("utf-8")
    page = _Page(text)
    assert page.articles == ["failed", "failed", "ok"]
    assert all((out / target).exists() for target in page.targets)
    assert "no pixel is missing: there is nothing to restore" in text
    assert "input, missing pixels black" in text
    for path in ("index.html", "manifest.json"):
        assert "Zebrafish" not in (out / path).read_text("utf-8"), "folders may be called after patients"
    write_nifti(folder / "whole.nii.gz", image, affine=affine)  # mended: its failure is forgotten, the other stays
    assert main(["reconstruct", "none", str(folder / "whole.nii.gz"), *words]) == 0
    assert [one["source"] for one in Manifest(out).failures] == ["text.nii"]
    (out / "gallery" / "good_image.png").unlink()
    assert "pictures are not here" in write_gallery(out).read_text("utf-8")
