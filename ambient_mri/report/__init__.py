"""Results to text, JSON and pages. Nothing here computes a figure of merit."""

from ambient_mri.report.annex_page import annex_page
from ambient_mri.report.audit_comparison import comparison_page, comparison_text
from ambient_mri.report.audit_files import write_audit
from ambient_mri.report.audit_page import audit_page
from ambient_mri.report.audit_text import audit_text
from ambient_mri.report.calibration import calibration_page, calibration_text
from ambient_mri.report.evaluation_files import write_evaluation, write_tables
from ambient_mri.report.evaluation_page import evaluation_page, tables_page
from ambient_mri.report.gallery import gallery_page, write_gallery
from ambient_mri.report.lesions import lesions_markdown, lesions_page, write_lesions
from ambient_mri.report.table import evaluation_markdown, evaluation_text, tables_markdown

__all__ = [
    "annex_page", "audit_page", "audit_text", "calibration_page", "calibration_text", "comparison_page",
    "comparison_text", "evaluation_markdown", "evaluation_page", "evaluation_text", "gallery_page", "lesions_markdown",
    "lesions_page", "tables_markdown", "tables_page", "write_audit", "write_evaluation", "write_gallery",
    "write_lesions", "write_tables",
]  # fmt: skip
