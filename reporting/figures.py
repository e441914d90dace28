"""Figures as SVG within a page: ink is the page's own colour, so that they are fine in the light and in the dark."""

import itertools
import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reporting.page import Html, escaped
from utils.skill_plot import STROKES

COLOURS = ("#3f90da", "#f0960e", "#d9442f", "#9b63e0", "#2e9e6b", "#b0785f", "#e06aa8", "#a39a3a", "#15a3b5", "#6b8e23")
"""Of middling lightness, so that they are told from white and from black."""
MARKERS = "o^sDvP*X<>"
"""A skill has its own, for those who do not tell colours."""

INK = "#010203"
"""Stands for ``currentColor`` while a figure is drawn."""

GREY = "#8b94a3"
"""Of what skills are compared with: told from both grounds."""

WIDTH, HEIGHT = 5.0, 3.1
"""Inches; a phone shows a figure at about that size, so its text can be read there."""

SMALL = 2.5, 1.8
"""Of one of many, two of which stand beside each other on a phone; what is drawn is said below it."""

_number = itertools.count()


class Line(NamedTuple):
    """A curve, and perhaps a band around it."""

    name: str
    x: ArrayLike
    y: NDArray[Any]
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    colour: str | None = None
    dashed: bool = False


def drawn(draw: Callable[[Any], None], alt: str, width: float = WIDTH, height: float = HEIGHT) -> Html:
    """What ``draw`` puts on axes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    ink = ("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(ink, INK) | {"svg.fonttype": "none", "svg.hashsalt": "report"}
    out = StringIO()
    with rc_context(settings | {"font.size": 9.5}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.grid(True, color=INK, alpha=0.13, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        draw(axes)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, dpi=160)
    return _inline(out.getvalue(), alt)


def _inline(svg: str, alt: str) -> Html:
    inner = svg[svg.index("<svg") :].replace(INK, "currentColor")
    inner = re.sub(r"<metadata>.*?</metadata>\s*", "", inner, flags=re.DOTALL)
    inner = re.sub(r"\s*<defs>\s*<style[^>]*>(.*?)</style>\s*</defs>", "", inner, flags=re.DOTALL)
    # what several figures on a page would both call figure_1 or axes_1
    own = f"f{next(_number)}-"
    inner = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\1{own}", inner)
    box = re.search(r'viewBox="[^"]*"', inner)
    assert box is not None
    tag = f'<svg {box[0]} xmlns:xlink="http://www.w3.org/1999/xlink" role="img" aria-label="{escaped(alt)}"'
    return Html(re.sub(r"<svg[^>]*>", lambda _: f'{tag} stroke-linejoin="round">', inner, count=1))


def lines(shown: Sequence[Line], alt: str, x: str, y: str, *, small: bool = False, zero: bool = False) -> Html:
    """Curves over frames, steps, ...; of more than one the names are in a legend above."""

    def draw(axes: Any) -> None:
        from matplotlib.ticker import EngFormatter

        for number, line in enumerate(shown):
            colour = line.colour or COLOURS[number % len(COLOURS)]
            marker = "o" if len(line.y) <= 30 else None
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
            style: Any = "--" if line.dashed else STROKES[number // len(COLOURS) % len(STROKES)]
            axes.plot(line.x, line.y, color=colour, linestyle=style, marker=marker, markersize=3.5, label=line.name)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel(x)
        if small:
            axes.locator_params(nbins=4)
        else:
            axes.set_ylabel(y)
        if zero:
            axes.set_ylim(bottom=0)
        if len(shown) > 1:
            _legend(axes, len(shown))

    return drawn(draw, alt, *(SMALL if small else (WIDTH, HEIGHT)))


def scatter(points: Sequence[tuple[str, NDArray[np.float64]]], alt: str, x: str, y: str) -> Html:
    """Clouds of points (N, 2) by name; the first is what the others are compared with. Pixels within the SVG."""

    def draw(axes: Any) -> None:
        for number, (name, cloud) in enumerate(points):
            colour = COLOURS[(number - 1) % len(COLOURS)] if number else GREY
            marker = MARKERS[(number - 1) % len(MARKERS)] if number else "o"
            axes.scatter(
                *cloud.T,
                s=9 if number else 5,
                c=colour,
                marker=marker,
                alpha=0.7,
                linewidths=0,
                rasterized=True,
                label=name,
            )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.set_xticklabels([])
        axes.set_yticklabels([])
        _legend(axes, len(points), markerscale=1.8)

    return drawn(draw, alt, WIDTH, 4.3)


def paths(
    skills: Sequence[Sequence[NDArray[np.float64]]], walls: NDArray[np.float64], alt: str, axes_names: tuple[str, str]
) -> Html:
    """Ways (T, 2) of N skills, an end each with the skill's number; ``walls`` (W, 2, 2) may be none."""

    def draw(axes: Any) -> None:
        from matplotlib.collections import LineCollection

        for number, episodes in enumerate(skills):
            colour = COLOURS[number % len(COLOURS)]
            for way in episodes:
                axes.plot(*way.T, color=colour, linewidth=1.2, alpha=0.85)
                axes.plot(*way[-1], "o", color=colour, markersize=6)
            axes.annotate(str(number), episodes[0][-1], xytext=(5, 3), textcoords="offset points", fontsize=9)
        if len(walls):
            axes.add_collection(LineCollection(list(walls), colors=INK, linewidths=2.2, capstyle="round"))
            axes.set_aspect("equal")
            axes.grid(False)
        axes.set_xlabel(axes_names[0])
        axes.set_ylabel(axes_names[1])

    return drawn(draw, alt, WIDTH, 4.6 if len(walls) else HEIGHT)


def _legend(axes: Any, count: int, **more: Any) -> None:
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": min(count, 3), "columnspacing": 1.2}
    axes.legend(frameon=False, fontsize=8.5, handlelength=1.6, **place, **more)
