"""The pieces of the page: pictures, tables, sections. Each returns HTML in both languages."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Sequence
from typing import NamedTuple

from .words import Words, attribute, both

FOLDER = "pictures"  # beside index.html


class Album:
    """The PNGs of a report. A file is named after what is in it: a new report never writes over a picture of an old one."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def image(self, name: str, png: bytes, alt: Words, *, kind: str = "") -> str:
        """Keeps the PNG and returns its <img>. alt: what is to be seen in it. kind: a class of the style sheet."""
        width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")  # of a PNG's header
        file = f"{FOLDER}/{name}.{hashlib.sha256(png).hexdigest()[:10]}.png"
        self.files[file] = png
        shown = f' class="{kind}"' if kind else ""
        return f'<img{shown} src="{file}" width="{width}" height="{height}" {attribute("alt", alt)}>'


class Section(NamedTuple):
    """A part of the page, with a heading and a line in the contents."""

    anchor: str  # English, no spaces
    title: Words
    body: str  # HTML


def paragraph(words: Words, *, kind: str = "") -> str:
    """A paragraph; kind "note" is small print under a picture."""
    return f"<p{_kind(kind)}>{both(words)}</p>"


def _kind(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


# ---- pictures ------------------------------------------------------------------------------------------------------------
def card(images: str, *captions: Words, kind: str = "") -> str:
    """A small picture, or a few, with a caption of one line or more; the first one stands out."""
    lines = "".join(f"<div>{both(caption)}</div>" for caption in captions)
    return f'<figure class="card {kind}">{images}<figcaption>{lines}</figcaption></figure>'


def cards(every: Sequence[str], *, kind: str = "") -> str:
    """Cards side by side, as many as there is room for; of kind "wide" and "large" fewer."""
    return f'<div class="cards {kind}">{"".join(every)}</div>'


def chart(title: Words, x: Words, image: str, legend: Sequence[tuple[str, Words]]) -> str:
    """A chart whose PNG has no words: what goes upwards is said above it, what goes to the right below it.

    legend: (style of the line, what it is); the styles are the style sheet's line-train, line-test, line-faint.
    """
    keys = "".join(
        f'<li><span class="line line-{style}" aria-hidden="true"></span>{both(words)}</li>' for style, words in legend
    )
    return (
        f'<figure class="chart"><div class="what">{both(title)}</div>{image}<div class="along">{both(x)}</div>'
        f'<figcaption><ul class="legend">{keys}</ul></figcaption></figure>'
    )


def scrolled(inside: str, label: Words) -> str:
    """A frame for what may be wider than the page: it scrolls sideways, with the keyboard as well."""
    return f'<div class="scroll" tabindex="0" role="region" {attribute("aria-label", label)}>{inside}</div>'


def beside(left: str, right: str) -> str:
    """Two things next to each other where there is room, else one below the other."""
    return f'<div class="beside"><div>{left}</div><div>{right}</div></div>'


# ---- tables --------------------------------------------------------------------------------------------------------------
class Cell(NamedTuple):
    """A cell that is more than its text: a number at the right, a shade behind it (0 to 1), or a heading of its row."""

    words: Words
    right: bool = False
    shade: float | None = None
    heads_row: bool = False


def table(
    caption: Words, header: Sequence[Words | Cell], rows: Sequence[Sequence[Words | Cell]], *, kind: str = ""
) -> str:
    """A table in a frame that scrolls sideways where it is too wide, with the keyboard as well."""
    head = "".join(map(_column, header))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    inside = f"<caption>{both(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return scrolled(f"<table{_kind(kind)}>{inside}</table>", caption)


def _column(cell: Words | Cell) -> str:
    if isinstance(cell, Words):
        return f'<th scope="col">{both(cell)}</th>'
    return f'<th scope="col"{_kind("right" if cell.right else "")}>{both(cell.words)}</th>'


def _cell(cell: Words | Cell) -> str:
    if isinstance(cell, Words):
        return f"<td>{both(cell)}</td>"
    if cell.heads_row:
        return f'<th scope="row">{both(cell.words)}</th>'
    style = "" if cell.shade is None else f' style="background:{shade(cell.shade)[0]};color:{shade(cell.shade)[1]}"'
    return f"<td{_kind('right' if cell.right else '')}{style}>{both(cell.words)}</td>"


def shade(share: float) -> tuple[str, str]:
    """0 to 1 -> a background from white to dark blue, and the ink, black or white, that can be read better on it."""
    low, high = (255, 255, 255), (8, 64, 129)
    mixed = [round(a + (b - a) * min(max(share, 0.0), 1.0)) for a, b in zip(low, high, strict=True)]
    background = "#{:02x}{:02x}{:02x}".format(*mixed)
    dark = contrast(background, "#000000") < contrast(background, "#ffffff")
    return background, "#ffffff" if dark else "#000000"


def contrast(colour: str, other: str) -> float:
    """1 to 21, of two colours #rrggbb. WCAG 2.2, "contrast ratio"."""
    dark, light = sorted(map(_luminance, (colour, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def facts(rows: Sequence[tuple[Words, Words]]) -> str:
    """Names and what they are, one a line."""
    return f"<dl>{''.join(f'<div><dt>{both(name)}</dt><dd>{both(value)}</dd></div>' for name, value in rows)}</dl>"


def big_numbers(every: Sequence[tuple[Words, Words, Words]]) -> str:
    """(what, the number, a remark) each, large enough for the last row of a lecture hall."""
    return "".join(
        f'<div class="number"><p class="name">{both(name)}</p><p class="value">{both(value)}</p><p class="remark">{both(remark)}</p></div>'
        for name, value, remark in every
    )


def fold(summary: Words, body: str) -> str:
    """Something that is opened with a click or the Enter key."""
    return f"<details><summary>{both(summary)}</summary>{body}</details>"


def marked(text: str, label: Words) -> str:
    """A text as it stands, in the letters of a typewriter; wide lines scroll, with the keyboard as well."""
    return f'<pre tabindex="0" role="region" {attribute("aria-label", label)}>{html.escape(text)}</pre>'
