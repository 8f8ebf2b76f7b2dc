"""What all pages share: the frame, the style, tables. Self-contained: no script, nothing fetched, prints well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #1a1d21; --soft: #5b636c; --line: #d7dbe0; --win: #eaf4ec; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p, dd { max-width: 46rem; } .soft, figcaption, small { color: var(--soft); }
.wide { overflow-x: auto; } .wide svg { min-width: 36rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; max-width: calc(100vw - 2.5rem); }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th[scope=row], th[scope=rowgroup], thead th:first-child { text-align: left; font-weight: 500; }
td.left, th.left { text-align: left; white-space: normal; }
thead th { font-weight: 600; border-bottom: 2px solid var(--ink); white-space: normal; vertical-align: bottom; }
tbody.rate th[scope=rowgroup] { padding-top: .9rem; font-weight: 600; border-bottom: 1px solid var(--soft); }
td.win { background: var(--win); font-weight: 700; } td.win::before { content: "★ "; font-size: .75em; }
td small { display: block; font-weight: 400; font-size: .85em; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .grid { stroke: var(--line); }
.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1.25rem; }
figure { margin: 0; flex: 1 1 8rem; max-width: 11.5rem; }
figure img { display: block; width: 100%; background: #000; image-rendering: pixelated; }
figure img + img { margin-top: 2px; } figcaption { font-size: .82rem; line-height: 1.3; padding-bottom: .15rem; }
code { font: .88em ui-monospace, "DejaVu Sans Mono", monospace; background: #f3f5f7; padding: .1em .3em; }
code { overflow-wrap: anywhere; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin-left: 0; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2, h3 { break-after: avoid; }
  .wide { overflow: visible; } .wide svg { min-width: 0; } table { font-size: 8pt; } th, td { padding: .2rem .35rem; }
  tbody, section { break-inside: avoid; } figure { max-width: 7rem; } td.win { print-color-adjust: exact; } }
"""


def document(title: str, body: Sequence[str], style: str = "") -> str:
    """A whole page around `body`: no script may run in it and nothing is fetched."""
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>",
        *body,
        "</main>\n</body>\n</html>\n",
    ])  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (), caption: str = "") -> str:
    """A table of cells that are HTML already; the first cell of a row is its heading, columns in `left` hold words."""

    def cell(html: str, column: int, tag: str, scope: str = "") -> str:
        words = ' class="left"' if column in left else ""
        return f"<{tag}{scope}{words}>{html}</{tag}>"

    heads = "".join(cell(html, column, "th", ' scope="col"') for column, html in enumerate(head))
    lines = [
        cell(first, 0, "th", ' scope="row"') + "".join(cell(html, column, "td") for column, html in enumerate(rest, 1))
        for first, *rest in rows
    ]
    about = f"<caption>{caption}</caption>" if caption else ""
    top = f"<thead><tr>{heads}</tr></thead>" if head else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{about}{top}<tbody>{body}</tbody></table></div>'
