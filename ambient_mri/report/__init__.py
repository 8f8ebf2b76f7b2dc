"""Results to text, JSON and pages. Nothing here computes a figure of merit."""

from ambient_mri.report.gallery import gallery_page, write_gallery
from ambient_mri.report.page import evaluation_page
from ambient_mri.report.table import evaluation_markdown, evaluation_text

__all__ = ["evaluation_markdown", "evaluation_page", "evaluation_text", "gallery_page", "write_gallery"]
