"""What a pipeline leaves in its folder: results.json, results.html and results.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ambient_mri import files
from ambient_mri.evaluation.results import Evaluation
from ambient_mri.report.evaluation_page import evaluation_page, tables_page
from ambient_mri.report.table import evaluation_markdown, tables_markdown


def write_evaluation(out: Path, evaluation: Evaluation) -> tuple[Path, ...]:
    """One data set."""
    return _written(out, evaluation.to_json(), evaluation_page(evaluation), evaluation_markdown(evaluation))


def write_tables(out: Path, title: str, evaluations: Sequence[Evaluation]) -> tuple[Path, ...]:
    """Several data sets under one title."""
    document = json.dumps([one.to_dict() for one in evaluations], indent=2) + "\n"
    return _written(out, document, tables_page(title, evaluations), tables_markdown(title, evaluations))


def _written(out: Path, document: str, page: str, markdown: str) -> tuple[Path, ...]:
    texts = {"json": document, "html": page, "md": markdown}
    return tuple(files.write(out / f"results.{kind}", text) for kind, text in texts.items())
