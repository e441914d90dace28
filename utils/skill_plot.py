"""Figures of what skills do, a colour each: lines over time, paths among walls. Every one as PDF and as PNG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.atomic import atomic_path
from utils.axes import plain

Floats = NDArray[np.float64]

COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
"""Ten that are told apart with any colour vision (Petroff 2021, "Accessible Color Sequences for Data Visualization").
After them come other strokes."""
STROKES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)))


X_OF_MAZE, Y_OF_MAZE = "x (sides of the maze)", "y (sides of the maze)"


class Written(NamedTuple):
    """Where a figure is."""

    pdf: Path
    png: Path


class Scene(NamedTuple):
    """A maze as it is drawn."""

    walls: Floats
    """(W, 2, 2): both ends of each."""
    start: Sequence[float]
    """(2,): where episodes begin."""


def lines_over_time(
    skills: Sequence[Sequence[Floats]],
    out: Path,
    *,
    title: str | None = None,
    ylabel: str = "x position (m)",
    xlabel: str = "Time step",
    limits: tuple[float, float] | None = None,
) -> Written:
    """Draw one quantity over time, all episodes of a skill in its colour, and write ``out.pdf`` and ``out.png``.

    On the right the skills are named, as near as there is room to where their episodes end on average.

    Args:
        skills: of N skills, E episodes each: (T,). T may differ.
        out: without an end.
        limits: of the vertical axis; None shows everything.

    Raises:
        ValueError: there is nothing to draw.
    """
    _check(skills)
    figure = _figure(7.0, 4.2)
    axes = figure.add_subplot()
    for number, episodes in enumerate(skills):
        for episode in episodes:
            axes.plot(np.arange(len(episode)), episode, linewidth=1.5, alpha=0.9, **_stroke(number))
            if len(episode):
                axes.plot(len(episode) - 1, episode[-1], "o", color=_colour(number), markersize=3.5)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if limits is not None:
        axes.set_ylim(*limits)
    axes.set_xlim(0, max(len(episode) for episodes in skills for episode in episodes))
    plain(axes)
    if title:
        axes.set_title(title, fontsize=12)
    _name_ends(axes, [[episode[-1] for episode in episodes if len(episode)] for episodes in skills])
    return _written(figure, out)


def paths_among_walls(
    skills: Sequence[Sequence[Floats]], scene: Scene, out: Path, *, title: str | None = None
) -> Written:
    """Draw the paths of skills in a maze, all episodes of a skill in its colour, and write ``out.pdf`` and ``out.png``.

    Every path ends in a dot with the number of its skill; a cross shows where they begin.

    Args:
        skills: of N skills, E episodes each: (T, 2), x and y in sides of the maze. T may differ.
        out: without an end.

    Raises:
        ValueError: there is nothing to draw.
    """
    figure, axes = _paths(skills)
    for number, episodes in enumerate(skills):  # above all lines
        for episode in episodes:
            if len(episode):
                axes.plot(*episode[-1], "o", color=_colour(number), markersize=8, markeredgecolor="white", zorder=4)
                form = {"fontsize": 6, "ha": "center", "va": "center_baseline", "color": _readable_on(_colour(number))}
                axes.annotate(str(number), episode[-1], zorder=4, **form)
    _draw(axes, scene)
    axes.set_xlabel(X_OF_MAZE)
    axes.set_ylabel(Y_OF_MAZE)
    _finish(figure, axes, len(skills), title)
    return _written(figure, out)


def paths_from_above(skills: Sequence[Sequence[Floats]], out: Path, *, title: str | None = None) -> Written:
    """Draw paths in the open, all episodes of a skill in its colour, and write ``out.pdf`` and ``out.png``.

    Every path ends in a dot; a cross is the world's origin.

    Args:
        skills: of N skills, E episodes each: (T, 2), x and y in m. T may differ.
        out: without an end.

    Raises:
        ValueError: there is nothing to draw.
    """
    figure, axes = _paths(skills)
    for number, episodes in enumerate(skills):
        for episode in episodes:
            if len(episode):
                axes.plot(*episode[-1], "o", color=_colour(number), markersize=4, zorder=4)
    axes.plot(0, 0, "x", color="black", markersize=8, markeredgewidth=2.2, zorder=5)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("x (m)")
    axes.set_ylabel("y (m)")
    plain(axes)
    _finish(figure, axes, len(skills), title)
    return _written(figure, out)


def _paths(skills: Sequence[Sequence[Floats]]) -> tuple[Any, Any]:
    """A figure and its axes with the paths of all episodes."""
    _check(skills)
    figure = _figure(5.9, 5.0)
    axes = figure.add_subplot()
    for number, episodes in enumerate(skills):
        for episode in episodes:
            axes.plot(*episode.T, linewidth=1.3, alpha=0.8, solid_joinstyle="round", **_stroke(number))
    return figure, axes


def scenes_side_by_side(scenes: Mapping[str, Scene], out: Path, columns: int = 4) -> Written:
    """Draw mazes by name, without any paths, and write ``out.pdf`` and ``out.png``."""
    rows = -(-len(scenes) // columns)
    figure = _figure(2.5 * columns, 2.75 * rows)
    for place, (name, scene) in enumerate(scenes.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        _draw(axes, scene)
        axes.set_title(name, fontsize=11)
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
        axes.tick_params(labelsize=8)
    figure.supxlabel(X_OF_MAZE, fontsize=9)
    figure.supylabel(Y_OF_MAZE, fontsize=9)
    return _written(figure, out)


def paths_side_by_side(
    skills: Sequence[Sequence[Floats]], scene: Scene, out: Path, *, title: str | None = None, columns: int = 5
) -> Written:
    """As :func:`paths_among_walls`, with a maze for each skill."""
    _check(skills)
    columns = min(columns, len(skills))
    rows = -(-len(skills) // columns)
    figure = _figure(1.9 * columns, 2.0 * rows + 0.3)
    for number, episodes in enumerate(skills):
        axes = figure.add_subplot(rows, columns, number + 1)
        for episode in episodes:
            axes.plot(*episode.T, linewidth=1.2, alpha=0.9, color=_colour(number))
            if len(episode):
                axes.plot(*episode[-1], "o", color=_colour(number), markersize=5, markeredgecolor="white", zorder=4)
        _draw(axes, scene)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"Skill {number}", fontsize=10)
    if title:
        figure.suptitle(title, fontsize=12)
    return _written(figure, out)


def _draw(axes: Any, scene: Scene) -> None:
    from matplotlib.collections import LineCollection

    walls = LineCollection(list(scene.walls), colors="0.15", linewidths=2.6, capstyle="round", zorder=3)
    axes.add_collection(walls)
    axes.plot(*scene.start, "x", color="black", markersize=8, markeredgewidth=2.2, zorder=5)
    low, high = scene.walls.min((0, 1)), scene.walls.max((0, 1))
    edge = 0.02 * (high - low).max()
    axes.set_xlim(low[0] - edge, high[0] + edge)
    axes.set_ylim(low[1] - edge, high[1] + edge)
    axes.set_aspect("equal")
    axes.spines[:].set_visible(False)


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(figure: Any, axes: Any, skills: int, title: str | None) -> None:
    """A legend beside the axes, and the title."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=3, **_stroke(number)) for number in range(skills)]
    columns = -(-skills // 20)
    names = [str(number) for number in range(skills)]
    place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "ncols": columns}
    axes.legend(handles, names, title="Skill", frameon=False, fontsize=9, title_fontsize=9, handlelength=2.6, **place)
    if title:
        axes.set_title(title, fontsize=12)


def _name_ends(axes: Any, ends: Sequence[Sequence[float]]) -> None:
    """Beside the axes, the number of each skill on its colour, near the mean of its ``ends``, without overlap."""
    low, high = axes.get_ylim()
    named = [number for number, values in enumerate(ends) if values]
    height = np.array([(np.mean(ends[number]) - low) / (high - low) for number in named])
    order = np.argsort(height)
    gap = 1.0 / max(20, len(named))
    form = {"transform": axes.transAxes, "fontsize": 8, "va": "center_baseline", "ha": "center"}
    spread = apart(np.clip(height[order], 0.0, 1.0), gap)
    spread = np.maximum(spread, gap * (np.arange(len(named)) + 0.5))  # within the axes
    spread = np.minimum(spread, 1.0 - gap * np.arange(len(named))[::-1])
    for place, y in zip(order, spread, strict=True):
        box = {"boxstyle": "round,pad=0.25,rounding_size=0.4", "facecolor": _colour(named[place]), "edgecolor": "none"}
        colour = _readable_on(_colour(named[place]))
        axes.text(1.035, y, str(named[place]), color=colour, bbox=box, **form)
    axes.text(1.035, spread[-1] + gap, "Skill", **form)


def apart(values: Floats, gap: float) -> Floats:
    """The nearest values, by squares, to ``values`` (N,) in ascending order, that are ``gap`` apart at least."""
    blocks: list[tuple[float, int]] = []  # mean and number of those that lie close
    for index, value in enumerate(values):
        mean, count = value - gap * index, 1
        while blocks and blocks[-1][0] > mean:
            before, number = blocks.pop()
            mean, count = (mean * count + before * number) / (count + number), count + number
        blocks.append((mean, count))
    return np.repeat([mean for mean, _ in blocks], [count for _, count in blocks]) + gap * np.arange(len(values))


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _readable_on(colour: str) -> str:
    """Black or white."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "black" if 0.3 * red + 0.6 * green + 0.1 * blue > 120 else "white"


def _stroke(number: int) -> dict[str, Any]:
    return {"color": _colour(number), "linestyle": STROKES[number // len(COLOURS) % len(STROKES)]}


def _check(skills: Sequence[Sequence[Floats]]) -> None:
    if not any(len(episode) for episodes in skills for episode in episodes):
        raise ValueError("There is nothing to draw: no episode has a step.")


def _written(figure: Any, out: Path) -> Written:
    """Both files, each of them whole or not at all."""
    from matplotlib import rc_context

    written = Written(*(out.with_name(f"{out.name}.{end}") for end in ("pdf", "png")))
    with rc_context({"pdf.fonttype": 42}):  # text that can be searched
        for path in written:
            with atomic_path(path) as temporary:
                metadata = {"CreationDate": None} if path.suffix == ".pdf" else None  # the same figure, the same file
                figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
    return written
