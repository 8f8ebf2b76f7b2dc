"""Results to text, JSON and pages. Nothing here computes a figure of merit."""

from ambient_mri.report.calibration import calibration_page, calibration_text
from ambient_mri.report.page import evaluation_page, tables_page
from ambient_mri.report.table import evaluation_markdown, evaluation_text, tables_markdown

__all__ = [
    "calibration_page", "calibration_text", "evaluation_markdown", "evaluation_page", "evaluation_text",
    "tables_markdown", "tables_page",
]  # fmt: skip
