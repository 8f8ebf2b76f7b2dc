"""What MkDocs writes into pages when the site is built: the options of the program, from the program."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from ambient_mri.cli import parser
from ambient_mri.cli.reference import markdown

MARK = "<!-- options of every command -->"


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The mark gives way to the options."""
    return text.replace(MARK, markdown(parser()))
