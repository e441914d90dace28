"""Figures of a scorecard: intervals of aggregates, performance profiles, who beats whom. As PNG and SVG.

``grey`` are the names of groups that others are compared with.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from utils.atomic import atomic_path
from utils.axes import plain
from utils.band_plot import FORMATS
from utils.scores import Profile
from utils.statistics import Interval

MOST_SHADED = 5
"""Profiles that are drawn with their bands: more would hide each other."""


def intervals(
    by_measure: Mapping[str, Mapping[str, Interval]],
    out: Path,
    grey: Collection[str] = (),
    less_is_better: Collection[str] = (),
) -> list[Path]:
    """A panel per measure with a line per group: the interval, and a mark at the value. Returns the files."""
    names = list(dict.fromkeys(name for table in by_measure.values() for name in table))
    colours = _colours(names, grey)
    figure = _figure(1.6 + 0.075 * _longest(names) + 2.1 * len(by_measure), 0.9 + 0.34 * len(names))
    for place, (measure, table) in enumerate(by_measure.items(), 1):
        axes = figure.add_subplot(1, len(by_measure), place)
        for row, name in enumerate(names):
            if name not in table:
                continue
            value, low, high = table[name]
            axes.barh(row, high - low, left=low, height=0.55, color=colours[name], alpha=0.3, linewidth=0)
            axes.plot([value, value], [row - 0.28, row + 0.28], color=colours[name], linewidth=2)
        axes.use_sticky_edges = False  # else a bar would begin at the very edge
        axes.margins(x=0.08)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_yticks(range(len(names)), names if place == 1 else [""] * len(names), fontsize=9)
        axes.set_title(measure + (" (less is better)" if measure in less_is_better else ""), fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
        plain(axes)
        axes.grid(False, axis="y")
    figure.supxlabel("Normalised score, 95 % intervals", fontsize=9)
    return _saved(figure, out)


def profiles(
    found: Mapping[str, Profile], thresholds: Sequence[float], out: Path, grey: Collection[str] = ()
) -> list[Path]:
    """The share of runs above each normalised score. Returns the files."""
    beside = 7 + 0.08 * _longest(found)
    figure = _figure(beside, max(3.6, 0.6 + 0.24 * len(found)))
    axes = figure.add_subplot()
    colours = _colours(list(found), grey)
    for number, (name, one) in enumerate(found.items()):
        style = "--" if name in grey else ("-", "-.", ":")[(number - len(grey)) // 10 % 3]
        axes.plot(thresholds, one.value, style, color=colours[name], linewidth=1.6, label=name)
        if len(found) <= MOST_SHADED:
            axes.fill_between(thresholds, one.low, one.high, color=colours[name], alpha=0.15, linewidth=0)
    axes.set_xlabel("Normalised score s", fontsize=9)
    axes.set_ylabel("Share of runs above s", fontsize=9)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(float(thresholds[0]), float(thresholds[-1]))
    axes.tick_params(labelsize=8)
    plain(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=8)
    return _saved(figure, out)


def duels(
    found: Mapping[tuple[str, str], Interval], names: Sequence[str], out: Path, bold: Collection[tuple[str, str]] = ()
) -> list[Path]:
    """How likely the group of a row beats that of a column; in ``bold`` what is sure. Returns the files."""
    table = np.full((len(names), len(names)), np.nan)
    for (one, other), interval in found.items():
        table[names.index(one), names.index(other)] = interval.value
    side = 0.62 * len(names) + 0.08 * _longest(names)
    figure = _figure(side + 1.4, side + 0.6)
    axes = figure.add_subplot()
    shown = axes.imshow(table, cmap="RdBu", vmin=0, vmax=1, alpha=0.75)
    for (one, other), interval in found.items():
        place = (names.index(other), names.index(one))
        weight = "bold" if (one, other) in bold else "normal"
        colour = "black" if 0.15 < interval.value < 0.85 else "white"
        text = f"{interval.value:.2f}"
        axes.text(*place, text, ha="center", va="center", fontsize=8, fontweight=weight, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("P(run of the row beats run of the column)", fontsize=9)
    figure.colorbar(shown, ax=axes, shrink=0.7).ax.tick_params(labelsize=8)
    return _saved(figure, out)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _saved(figure: Any, out: Path) -> list[Path]:
    made = []
    for ending in FORMATS:
        path = out.with_name(f"{out.name}.{ending}")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=ending)
        made.append(path)
    return made


def _longest(names: Sequence[str] | Mapping[str, Any]) -> int:
    return max(map(len, names), default=0)


def _colours(names: Sequence[str], grey: Collection[str]) -> dict[str, str]:
    """Those that the groups have in their learning curves."""
    others = [name for name in names if name not in grey]
    return {name: "0.25" if name in grey else f"C{others.index(name) % 10}" for name in names}
