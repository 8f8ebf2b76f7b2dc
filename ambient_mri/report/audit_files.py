"""What an audit leaves in its folder."""

from __future__ import annotations

from pathlib import Path

from ambient_mri import files
from ambient_mri.audit.annex import Annex
from ambient_mri.audit.results import AuditResult
from ambient_mri.report.annex_page import annex_page
from ambient_mri.report.audit_page import audit_page


def write_audit(out: Path, result: AuditResult, annex: Annex) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write annex.html and annex_key.csv, which only their owner can read, report.html and, last, audit.json.

    Returns the paths of what anybody may see, and of what is restricted.
    """
    restricted = (
        files.write_restricted(out / "annex.html", annex_page(result, annex)),
        files.write_restricted(out / "annex_key.csv", "".join(f"{who},{scan}\n" for who, scan in annex.key)),
    )
    report = files.write(out / "report.html", audit_page(result))
    return (files.write(out / "audit.json", result.to_json()), report), restricted
