"""HTML by hand: escaped text, tables that scroll within themselves, figures with words for who does not see them."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import NamedTuple

STYLE = Path(__file__).with_name("style.css")

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="under">$under</p>
$tiles
</header>
<nav aria-label="Sections">$links</nav>
<main>
$sections
</main>
<footer>$footer</footer>
</body>
</html>
"""
)


class Html(str):
    """Markup. Whatever else is a text is escaped before it becomes part of a page."""


class Tile(NamedTuple):
    """A number that is shown large."""

    name: str
    value: str
    about: str = ""


class Part(NamedTuple):
    """A section of the page."""

    key: str
    title: str
    body: Html


def escaped(text: object) -> Html:
    """``text`` as markup, unless it is that already."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def joined(*parts: Html) -> Html:
    """Several after each other."""
    return Html("\n".join(part for part in parts if part))


def code(text: object) -> Html:
    """What one types, or a path."""
    return Html(f"<code>{escaped(text)}</code>")


def paragraph(text: object, kind: str = "") -> Html:
    """One paragraph; ``kind`` is ``note`` or ``failed``."""
    return Html(f"<p{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{escaped(text)}</p>")


def facts(rows: Mapping[str, object]) -> Html:
    """Names and what they are."""
    inner = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in rows.items())
    return Html(f'<dl class="facts">{inner}</dl>')


def tiles(shown: Iterable[Tile]) -> Html:
    """Large numbers side by side."""
    inner = "".join(
        f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}{about and f'<small>{escaped(about)}</small>'}</dd></div>"
        for name, value, about in shown
    )
    return Html(f'<dl class="tiles">{inner}</dl>')


def table(
    head: Sequence[object],
    rows: Sequence[Sequence[object]],
    caption: str,
    *,
    words: Sequence[int] = (),
    shaded: Sequence[Sequence[float | None]] | None = None,
    most: Iterable[tuple[int, int]] = (),
) -> Html:
    """A table whose first column names the rows.

    Args:
        words: columns of text, which may be broken into lines.
        shaded: for every cell but a row's first, a part in [0, 1] that its ground is coloured by, or None.
        most: cells (row, column) in bold.
    """
    bold = set(most)

    def cell(row: int, column: int, value: object) -> str:
        if not column:
            return f'<th scope="row">{escaped(value)}</th>'
        part = None if shaded is None else shaded[row][column - 1]
        kinds = ["words"] * (column in words) + ["shade"] * (part is not None) + ["most"] * ((row, column) in bold)
        named = f' class="{" ".join(kinds)}"' if kinds else ""
        style = "" if part is None else f' style="--part:{min(max(part, 0.0), 1.0):.3f}"'
        return f"<td{named}{style}>{escaped(value)}</td>"

    left = ['<th scope="col" class="words">' if column in words else '<th scope="col">' for column in range(len(head))]
    top = "".join(f"{tag}{escaped(name)}</th>" for tag, name in zip(left, head, strict=True))
    body = "".join(
        f"<tr>{''.join(cell(r, c, value) for c, value in enumerate(row))}</tr>\n" for r, row in enumerate(rows)
    )
    return Html(
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}"><table><caption>'
        f"{escaped(caption)}</caption><thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def figure(inner: Html, caption: object, size: str = "") -> Html:
    """Something to look at; ``size`` may be ``wide``."""
    named = f' class="{size}"' if size else ""
    return Html(f"<figure{named}>{inner}<figcaption>{escaped(caption)}</figcaption></figure>")


def row(*figures: Html, kind: str = "row") -> Html:
    """Figures side by side, where there is room; small ones of one size with the ``kind`` ``many``."""
    return Html(f'<div class="{kind}">{joined(*figures)}</div>')


def data_uri(content: bytes, kind: str) -> str:
    """``content`` as a part of the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def image(content: bytes, kind: str, alt: str, *, own_size: bool = False) -> Html:
    """A picture, as wide as there is room; with ``own_size`` no wider than it is."""
    return Html(f'<img{" class=own" if own_size else ""} src="{data_uri(content, kind)}" alt="{escaped(alt)}">')


def page(title: str, under: object, numbers: Iterable[Tile], parts: Sequence[Part], footer: object) -> str:
    """The whole page."""
    return PAGE.substitute(
        title=escaped(title),
        style=STYLE.read_text(encoding="utf-8"),
        under=escaped(under),
        tiles=tiles(numbers),
        links="".join(f'<a href="#{part.key}">{escaped(part.title)}</a>' for part in parts),
        sections="\n".join(
            f'<section id="{part.key}">\n<h2>{escaped(part.title)}</h2>\n{part.body}\n</section>' for part in parts
        ),
        footer=escaped(footer),
    )
