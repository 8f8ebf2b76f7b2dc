"""`index.html` of a folder of reconstructions: what went in, what came out, how sure, what to look at, what failed.

One page that works from file:// without a network. Pictures lie beside it; filters need no script, the slider has one
of a few lines, which the page's policy names by its hash. It is made of the manifest alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ambient_mri import files
from ambient_mri.reconstruction.manifest import Manifest
from ambient_mri.report.page import STYLE

NAME = "index.html"
SCRIPT = """
for (const slider of document.querySelectorAll("input[type=range]")) {
  const card = slider.closest("article"), label = card.querySelector("output");
  const numbers = slider.dataset.slices.split(" ");
  const show = () => {
    card.style.setProperty("--n", slider.value);
    label.textContent = "slice " + numbers[slider.value] + " of " + slider.dataset.count;
    slider.setAttribute("aria-valuetext", label.textContent);
  };
  slider.addEventListener("input", show);
  show();
}
"""
LOOKS = """
body { max-width: 76rem; } main { display: grid; gap: 1.25rem; }
article { border: 1px solid var(--line); border-radius: .5rem; padding: .9rem 1rem 1rem; }
article h2 { margin: 0; font-size: 1.05rem; overflow-wrap: anywhere; } article p { margin: .3rem 0; }
article.flagged { border-left: 6px solid #d55e00; } article.failed { border-left: 6px solid #1a1d21; }
article.ok { border-left: 6px solid #009e73; }
.views { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  align-items: end; max-width: 61.5rem; margin: .6rem 0 .3rem; }
.views figure { max-width: 20rem; width: 100%; }
.tile { position: relative; overflow: hidden; background: #000; }
.tile img { position: absolute; left: 0; width: 100%; top: calc(var(--n) * -100%); image-rendering: auto; }
.tile b { position: absolute; color: #ffe08a; font: 600 .75rem system-ui, sans-serif; text-shadow: 0 0 3px #000; }
.tile .l { left: 4px; top: calc(50% - .6em); } .tile .r { right: 4px; top: calc(50% - .6em); }
.tile .t { top: 2px; left: calc(50% - .35em); } .tile .b { bottom: 2px; left: calc(50% - .35em); }
.slide { display: flex; gap: .75rem; align-items: center; max-width: 61.5rem; }
.slide input { flex: 1; min-width: 8rem; }
.slide output { min-width: 9em; font-variant-numeric: tabular-nums; }
.facts { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; margin: .5rem 0; padding: 0; list-style: none;
  font-size: .9rem; }
.flags { margin: .4rem 0; padding-left: 1.2rem; } .flags li { margin: .2rem 0; }
.flags li.flag { color: #8a3b00; font-weight: 600; }
.state { font-size: .8rem; font-weight: 600; border-radius: 1rem; padding: .1rem .6rem; margin-left: .5rem;
  white-space: nowrap; }
.flagged .state { background: #fde9dc; color: #8a3b00; } .failed .state { background: #1a1d21; color: #fff; }
.ok .state { background: #eaf4ec; color: #0b5d43; }
.filter { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; } .filter label { cursor: pointer; }
.notice { border: 2px solid #d55e00; border-radius: .4rem; padding: .4rem .8rem; max-width: none; font-weight: 600; }
body:has(#show-flagged:checked) article:not(.flagged), body:has(#show-failed:checked) article:not(.failed),
body:has(#show-ok:checked) article:not(.ok) { display: none; }
input:focus-visible, a:focus-visible, summary:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
@media print { .filter, .slide input { display: none; } article { break-inside: avoid; }
  .tile { max-width: 5.5cm; print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
FIGURES = (
    ("chi2_per_component", "residual χ²/N {:.2f}"), ("structure", "structure {:.2f}"),
    ("unexplained", "unexplained {:.2%}"), ("worst_line_ratio", "worst line {:.1f}×"),
    ("withheld_nmse", "error on kept-back data {:.3f}"), ("coverage", "coverage of 90 % intervals {:.0%}"),
)  # fmt: skip
TITLES = {"input": "input, zero-filled", "image": "reconstruction", "deviation": "standard deviation"}
Entry = Mapping[str, Any]


def write_gallery(folder: Path | str) -> Path:
    """Write the page of the manifest in `folder`; returns its path.

    Raises
    ------
    InputError
        If the manifest is none, or the page cannot be written.
    """
    folder = Path(folder)
    manifest = Manifest(folder)
    there = {
        name for name, entry in manifest.entries.items()
        if all((folder / path).is_file() for path in entry.get("pictures", {}).get("files", {"": ""}).values())
    }  # fmt: skip
    return files.write(folder / NAME, gallery_page(manifest.entries, manifest.failures, there))


def gallery_page(entries: Mapping[str, Entry], failures: Sequence[Mapping[str, str]], pictured: set[str]) -> str:
    """The page as text: failures first, then what is flagged, then the rest. Equal manifests give equal bytes.

    Parameters
    ----------
    entries, failures
        As in the manifest.
    pictured
        Names of the cases whose pictures are there.
    """
    flagged = {name: entry for name, entry in entries.items() if entry.get("flags")}
    fine = {name: entry for name, entry in entries.items() if not entry.get("flags")}
    cases = [_failed(one) for one in failures]
    for chosen in (flagged, fine):
        cases += [_case(name, entry, name in pictured) for name, entry in sorted(chosen.items())]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f"<title>Reconstructions: {len(entries)} done, {len(failures)} failed</title>",
        f"<style>{STYLE}{LOOKS}</style>\n</head>\n<body>",
        *_head(entries, failures, flagged, fine),
        "<main>", *cases, "</main>", *_reading(),
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n",
    ])  # fmt: skip


def _head(
    entries: Mapping[str, Entry], failures: Sequence[Any], flagged: Mapping[str, Entry], fine: Mapping[str, Entry]
) -> list[str]:
    made = sorted({str(entry.get("method", "")) for entry in entries.values()} - {""})
    models = sorted({(str(entry["model_trained_on"]), bool(entry.get("model_trained_on_simulated_scans")))
                     for entry in entries.values() if entry.get("model_trained_on")})  # fmt: skip
    told = [f"method {escape(', '.join(made))}"] if made else []
    told += [
        f"model trained on {escape(data)}{' (simulated scans)' if simulated else ''}" for data, simulated in models
    ]
    choices = (("all", "all", len(entries) + len(failures)), ("flagged", "to be looked at", len(flagged)),
               ("failed", "failed", len(failures)), ("ok", "without flags", len(fine)))  # fmt: skip
    radios = [
        f'<label><input type="radio" name="show" id="show-{key}"{" checked" if key == "all" else ""}> '
        f"{label} ({count})</label>" for key, label, count in choices
    ]  # fmt: skip
    return [
        "<header>\n<h1>Reconstructions</h1>",
        f'<p class="soft">{len(entries)} done, of which {len(flagged)} to be looked at; {len(failures)} failed'
        f"{''.join(f'; {one}' for one in told)}.</p>",
        '<p class="notice">Research. Not for diagnostic use. No flag does not mean that an image is right.</p>',
        f'<fieldset class="filter"><legend>Show</legend>{"".join(radios)}</fieldset>\n</header>',
    ]


def _failed(failure: Mapping[str, str]) -> str:
    return (
        f'<article class="failed"><h2>{escape(failure["source"])}<span class="state">failed</span></h2>\n'
        f"<p>{escape(failure['reason'])}</p></article>"
    )


def _case(name: str, entry: Entry, pictured: bool) -> str:
    flags, warnings = list(entry.get("flags", ())), list(entry.get("warnings", ()))
    kind, state = ("flagged", f"{len(flags)} to look at") if flags else ("ok", "no flags")
    said = [f'<li class="flag">{escape(flag)}</li>' for flag in flags]
    said += [f"<li>{escape(warning)}</li>" for warning in warnings]
    pictures = entry.get("pictures")
    middle = len(pictures["slices"]) // 2 if pictures else 0
    links = ", ".join(f'<a href="{_link(path)}">{escape(path)}</a>' for path in entry.get("outputs", ()))
    return "\n".join([
        f'<article class="{kind}" style="--n:{middle}"><h2>{escape(name)}<span class="state">{state}</span></h2>',
        *(_views(name, pictures, "missing_pixels" in entry) if pictures and pictured
          else ['<p class="soft">Its pictures are not here.</p>']),
        *(['<ul class="flags">', *said, "</ul>"] if said else []),
        f'<ul class="facts">{"".join(f"<li>{fact}</li>" for fact in _facts(entry))}</ul>',
        f"<details><summary>Files</summary><p>{links}</p></details></article>",
    ])  # fmt: skip


def _link(path: str) -> str:
    """A relative path as an address: #, ? and % mean something else there, and so do colons."""
    return escape(quote(path, errors="surrogateescape"))


def _views(name: str, pictures: Mapping[str, Any], restored: bool) -> list[str]:
    width, height = pictures["size"]
    edges = pictures["edges"]
    letters = "".join(f'<b class="{side}">{letter}</b>' for side, letter in zip("lrtb", edges, strict=bool(edges)))
    lines = ['<div class="views">']
    for kind, path in pictures["files"].items():
        title = "input, missing pixels black" if restored and kind == "input" else TITLES[kind]
        if kind == "deviation":
            title += f" (white: {pictures['deviation_white']:.0%} of the image's white)"
        lines.append(
            f'<figure><figcaption>{title}</figcaption><div class="tile" style="aspect-ratio:{width}/{height}">'
            f'<img loading="lazy" src="{_link(path)}" alt="{escape(f"{title} of {name}")}">{letters}</div></figure>'
        )
    numbers = [index + 1 for index in pictures["slices"]]
    plain = len(numbers) == 1
    middle = len(numbers) // 2
    where = "radiological view" if edges else "orientation not stated by the input: rows and columns as in the file"
    return [
        *lines, "</div>",
        f'<div class="slide"><input type="range" min="0" max="{len(numbers) - 1}" value="{middle}" '
        f'data-slices="{" ".join(map(str, numbers))}" data-count="{pictures["count"]}" '
        f'aria-label="Slice of {escape(name)}"{" hidden" if plain else ""}>'
        f"<output>slice {numbers[middle]} of {pictures['count']}</output></div>",
        f'<p class="soft"><small>{where}; white at the 99.5 % quantile of the reconstruction</small></p>',
    ]  # fmt: skip


def _facts(entry: Entry) -> list[str]:
    size = " × ".join(str(n) for n in entry.get("matrix", ()))
    count = entry.get("slices", 0)
    found = [f"{count} slice{'s' * (count != 1)}" + (f" of {size}" if size else "")]
    if "missing_pixels" in entry:
        found.append(f"{entry['missing_pixels']} pixels estimated")
    elif "acceleration" in entry:
        found.append(f"R = {entry['acceleration']:.2f}")
    if "noise_std" in entry:
        found.append(f"noise σ {entry['noise_std']:.3g} (units of the file)")
    quality = entry.get("quality", {})
    found += [text.format(quality[key]) for key, text in FIGURES if key in quality]
    return [*found, f"{entry.get('seconds', 0):.1f} s"]


def _reading() -> list[str]:
    return [
        "<footer>\n<h2>How to read this</h2>\n<dl>",
        "<dt>Residual χ²/N</dt><dd>Squared difference between measurement and reconstruction, in units of the noise, "
        "over the N real components measured. About 1 or somewhat below is noise; far above 1, something is not "
        "explained.</dd>",
        "<dt>Structure</dt><dd>Moran's I of the residual inside the object: near 0 the residual is noise, towards 1 it "
        "looks like the object.</dd>",
        "<dt>Worst line</dt><dd>The phase-encode line whose residual stands out most from its neighbours'.</dd>",
        "<dt>Error on kept-back data</dt><dd>Part of the measurement was kept back once and predicted by an image made "
        "without it: 0 is perfect, 1 no better than an empty image.</dd>",
        "<dt>Standard deviation</dt><dd>Of posterior samples, pixel by pixel, on a grey scale of its own. Bright: the "
        "method is unsure. Dark is no proof.</dd>\n</dl>\n</footer>",
    ]
