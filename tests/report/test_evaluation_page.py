"""The evaluation page: complete, self-contained, honest about who wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from ambient_mri.evaluation.metrics import Interval
from ambient_mri.evaluation.results import Evaluation, Example, Gain, Row
from ambient_mri.report import evaluation_markdown, evaluation_page, evaluation_text
from ambient_mri.report.table import COLUMNS, gain_sentence, winners
from tests.laws.markup import Balance


def _interval(mean: float, half: float = 0.5) -> Interval:
    return Interval(mean, mean - half, mean + half)


def _row(method: str, rate: float, psnr: float, nmse: float) -> Row:
    error = _interval(nmse, 0.001)
    return Row(method, rate, _interval(psnr), _interval(psnr / 40, 0.01), error, error, 1, 0.01, 0.003)


@pytest.fixture
def evaluation() -> Evaluation:
    rng = np.random.default_rng(0)
    truth = rng.random((9, 7), dtype=np.float32)
    images: Mapping[str, np.ndarray] = {"one-step": truth + 0.1, "tv": truth * 0.5}
    return Evaluation(
        data="a<b>", data_sha256="0" * 64, bundle="runs/x/bundle", bundle_sha256="1" * 64, simulated=True,
        domain="kspace", noise_std=0.02, split="test", slices=8, volumes=4, patients=4, tuning_slices=6, seed=0,
        command="ambient-mri evaluate runs/x/bundle --data demo",
        rows=(
            _row("one-step", 4, 30, 0.02), _row("tv", 4, 25, 0.05),
            _row("tv", 2, 31, 0.01), _row("one-step", 2, 29, 0.03),
        ),
        gains=(Gain(4, "one-step", "tv", _interval(5.0), _interval(0.1), _interval(-0.03), _interval(-0.2)),),
        examples=(Example(4, "scan/0", truth, images),),
    )  # fmt: skip


def test_page_is_well_formed_and_self_contained(evaluation: Evaluation) -> None:
    page = evaluation_page(evaluation)
    checker = Balance()
    checker.feed(page)
    assert checker.open == []
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "a&lt;b&gt;" in page
    assert "a<b>" not in page


def test_page_holds_everything(evaluation: Evaluation) -> None:
    page = evaluation_page(evaluation)
    for text in ("30.00", "29.50 to 30.50", "R = 2", "simulated k-space, noise 0.02", evaluation.command, "scan/0"):
        assert text in page
    assert page.count("<img") == 1 + 2 * 2  # truth, and image and error of both methods


def test_one_patient_has_no_interval(evaluation: Evaluation) -> None:
    row, one = evaluation.rows[0], Interval(30.0, 30.0, 30.0)
    alone = replace(evaluation, rows=(replace(row, psnr=one, ssim=one, nmse=one, features=one),), gains=())
    for said in (evaluation_page(alone), evaluation_markdown(alone), evaluation_text(alone)):
        assert "no interval" in said
        assert "30.00 to 30.00" not in said
        assert "30.00, 30.00" not in said


def test_rivals_are_marked_where_they_win(evaluation: Evaluation) -> None:
    page = evaluation_page(evaluation)
    wins = re.findall(r'<th scope="row">([\w-]+)</th><td class="win">', page)
    assert wins == ["tv", "one-step"]  # R = 2 first
    assert "31.00*" in evaluation_text(evaluation)
    assert "29.00*" not in evaluation_text(evaluation)


def test_lower_nmse_wins_and_printed_ties_are_shared() -> None:
    rows = [_row("a", 4, 30.001, 0.02), _row("b", 4, 30.002, 0.01), _row("c", 4, float("nan"), float("nan"))]
    psnr, _, nmse, _ = COLUMNS
    assert winners(rows, psnr) == {"a", "b"}
    assert winners(rows, nmse) == {"b"}


@pytest.mark.parametrize(
    ("psnr", "expected"),
    [
        (Interval(5, 4.5, 5.5), "5.00 dB ahead of tv (95 % interval 4.50 to 5.50)"),
        (Interval(-1, -1.5, -0.5), "1.00 dB behind tv (95 % interval 0.50 to 1.50)"),
        (Interval(0.1, -0.3, 0.5), "interval -0.30 to +0.50, which leaves open who is ahead"),
    ],
)
def test_gains_are_said_as_they_are(psnr: Interval, expected: str) -> None:
    assert expected in gain_sentence(Gain(4, "one-step", "tv", psnr, *[_interval(0)] * 3))


def test_equal_results_give_equal_bytes_and_few_results_a_page(evaluation: Evaluation) -> None:
    assert evaluation_page(evaluation) == evaluation_page(replace(evaluation))
    bare = replace(evaluation, rows=evaluation.rows[:1], gains=(), examples=(), bundle="", noise_std=None)
    checker = Balance()
    checker.feed(evaluation_page(bare))
    assert checker.open == []


def test_markdown_holds_every_figure_and_marks_winners(evaluation: Evaluation) -> None:
    lines = evaluation_markdown(evaluation).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert [line.split(" | ")[:2] for line in table[2:]] == [
        ["| 2", "tv"], ["| 2", "one-step"], ["| 4", "one-step"], ["| 4", "tv"],
    ]  # fmt: skip
    assert "| **31.00** (30.50 to 31.50) |" in table[2]
    assert "**" not in table[3]
    assert "- R = 4: one-step is 5.00 dB ahead of tv" in evaluation_markdown(evaluation)
