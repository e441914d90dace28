"""Rows as a table that fits the terminal."""

import shutil
import textwrap
from collections.abc import Mapping

from doctoring.row import Row

TITLES = ("check", "status", "found", "fix")
NARROWEST = 24  # characters of the two text columns


def table(rows: Mapping[str, Row], width: int | None = None) -> str:
    """Columns check, status, found, fix; long texts wrapped to ``width`` characters (default: the terminal's)."""
    if width is None:
        width = shutil.get_terminal_size(fallback=(120, 24)).columns
    first = max(len(name) for name in (TITLES[0], *rows))
    rest = max(width - first - len(TITLES[1]) - 6, 2 * NARROWEST)
    found = max(NARROWEST, min(rest // 2, max(len(row.found) for row in rows.values())))
    widths = (first, len(TITLES[1]), found, rest - found)
    lines = _cells(TITLES, widths) + _cells(tuple("-" * len(title) for title in TITLES), widths)
    for name, row in rows.items():
        lines += _cells((name, row.status.value, row.found, row.fix), widths)
    return "\n".join(lines)


def _cells(texts: tuple[str, ...], widths: tuple[int, ...]) -> list[str]:
    """The lines of one row."""
    columns = [
        [part for line in text.splitlines() for part in textwrap.wrap(line, width, break_on_hyphens=False)]
        for text, width in zip(texts, widths, strict=True)
    ]
    height = max(len(column) for column in columns)
    padded = [column + [""] * (height - len(column)) for column in columns]
    return [
        "  ".join(f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)).rstrip()
        for parts in zip(*padded, strict=True)
    ]
