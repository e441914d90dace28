"""Curves with bands, a panel each for what has no scale in common: as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from utils.atomic import atomic_path
from utils.axes import plain

FORMATS = ("png", "svg")


class Curve(NamedTuple):
    """A line and the band around it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    dashed: bool = False
    """What the others are compared with."""


class Panel(NamedTuple):
    """One pair of axes."""

    title: str
    curves: Sequence[Curve]


def bands(panels: Sequence[Panel], out: Path, x: str, y: str, columns: int = 2) -> list[Path]:
    """Draw ``panels`` and write them atomically beside ``out``, with its name and the endings of :data:`FORMATS`.

    A curve of the same name has the same colour in all panels. Returns the files.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, MaxNLocator

    curves = [curve for panel in panels for curve in panel.curves]
    names = list(dict.fromkeys(curve.name for curve in curves))
    kinds = {dashed: list(dict.fromkeys(c.name for c in curves if c.dashed == dashed)) for dashed in (False, True)}
    frames = [frame for curve in curves for frame in curve.x]
    begin, end = min(frames, default=0), max(frames, default=1)
    columns = min(columns, len(panels))
    rows, beside = -(-len(panels) // columns), max(2, columns)
    size = (4.4 * columns + 0.4, 3.1 * rows + 0.3 * -(-len(names) // beside) + 0.3)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    shown: dict[str, Line2D] = {}
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, place)
        alpha = 0.15 if len(panel.curves) <= 5 else 0.07  # many bands above each other would hide the curves
        for curve in panel.curves:
            number = kinds[curve.dashed].index(curve.name)
            colour = str(0.25 + 0.25 * (number % 3)) if curve.dashed else f"C{number % 10}"
            style = "--" if curve.dashed else ("-", "-.", ":")[number // 10 % 3]
            marker = "o" if len(curve.x) <= 30 else None
            axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=alpha, linewidth=0)
            [line] = axes.plot(curve.x, curve.y, style, color=colour, marker=marker, markersize=3, linewidth=1.5)
            shown.setdefault(curve.name, line)
        axes.set_title(panel.title, fontsize=10)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelsize=8)
        plain(axes)
        if len({frame for curve in panel.curves for frame in curve.x}) == 1:  # it has no scale of its own
            margin = 0.05 * (end - begin)
            axes.set_xlim(begin - margin - (not margin), end + margin + (not margin))
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if place > len(panels) - columns:  # not one for the whole figure: that would be written over the legend
            axes.set_xlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=10)
    figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=min(beside, max(1, len(shown))),
        fontsize=8,
        frameon=False,
    )
    made = []
    for ending in FORMATS:
        path = out.with_name(f"{out.name}.{ending}")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=ending)
        made.append(path)
    return made
