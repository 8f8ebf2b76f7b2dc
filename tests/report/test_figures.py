"""Pictures and charts that stand on their own."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree

import numpy as np
from PIL import Image

from ambient_mri.pictures import grey
from ambient_mri.report.curves import Line, line_chart
from ambient_mri.report.figures import Series, heat, interval_chart, png_uri
from ambient_mri.report.page import STYLE


def test_png_uri_holds_the_picture() -> None:
    picture = np.arange(17 * 11, dtype=np.uint8).reshape(17, 11)
    kind, _, data = png_uri(picture).partition(",")
    assert kind == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), picture)


def test_scales_end_where_they_say() -> None:
    values = np.array([[0.0, 1.0, 2.0, 5.0, np.nan]])
    assert grey(values, 2.0).tolist() == [[0, 128, 255, 255, 0]]
    assert heat(values, 2.0)[0, 0].tolist() == [0, 0, 0]
    assert heat(values, 2.0)[0, 2].tolist() == [255, 255, 255]
    assert heat(values, 2.0).shape == (1, 5, 3)


def test_an_empty_slice_is_black() -> None:
    assert not grey(np.zeros((4, 3)), 0.0).any()


def _heights(chart: str) -> list[float]:
    return [float(node.attrib["cy"]) for node in ElementTree.fromstring(chart).iter("circle")]


def test_chart_draws_higher_values_higher_and_says_them() -> None:
    chart = interval_chart("PSNR", "dB", ["R = 2", "R = 4"], [Series("a<b", [(30, 29, 31), (20, 19, 21)])])
    high, low, _ = _heights(chart)  # the third disc is the legend's
    assert high < low
    assert "a&lt;b, R = 2: 30 [29, 31] dB" in chart


def test_chart_copes_with_gaps_and_with_nothing() -> None:
    assert len(_heights(interval_chart("t", "dB", ["2", "4"], [Series("a", [None, (1, 1, 1)])]))) == 2
    assert interval_chart("t", "dB", ["2"], [Series("a", [None])]) == ""


def test_charts_are_as_wide_as_their_letters_need_and_slide_on_phones() -> None:
    for chart in (
        interval_chart("of PSNR", "dB", ["R = 2"], [Series("tv", [(1.0, 0.5, 1.5)])]),
        line_chart("of lines", "across", "up", [Line("one", (0.0, 1.0), (0.0, 1.0))]),
    ):
        assert chart.startswith('<div class="wide"><svg ')
        assert chart.endswith("</svg></div>")
    assert ".wide svg { min-width: 36rem; }" in STYLE
