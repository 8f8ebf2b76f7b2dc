"""The law of every page: whole, and nothing fetched."""

from __future__ import annotations

from html.parser import HTMLParser


class Balance(HTMLParser):
    """Opening and closing tags match, and images say what they show."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img":
            assert given.get("alt")
        for name in ("src", "href"):
            assert (given.get(name) or "data:").startswith("data:"), "nothing may be fetched"
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
