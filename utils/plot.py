"""Learning curves as PNG, straight from the CSVs of runs."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.atomic import atomic_path
from utils.axes import plain
from utils.csv_log import read_columns
from utils.errors import UserError

_NAMES = {
    "frame": "Environment frames",
    "step": "Agent steps",
    "total_time": "Time (s)",
    "episode_reward": "Episode return",
    "episode_length": "Episode length (frames)",
}


def learning_curve(
    csv_paths: Sequence[Path],
    out_png: Path,
    x: str = "frame",
    y: str = "episode_reward",
    labels: Sequence[str] | None = None,
    title: str | None = None,
    reference: float | None = None,
    reference_label: str | None = None,
    smooth: int = 1,
) -> Path:
    """Draw column ``y`` over column ``x``, one curve per CSV, and write it atomically. Returns ``out_png``.

    Rows without a value are skipped. A file that also has ``<y>_std`` gets a band of +- one standard deviation.

    Args:
        csv_paths: train.csv or eval.csv files.
        labels: one per file, for the legend; without them several curves are named by their run folders.
        reference: height of a dashed horizontal line (an expert's score, a random policy's).
        reference_label: written at that line.
        smooth: rows per running mean (centred; fewer at the ends); the raw curve stays visible behind, without bands.

    Raises:
        UserError: a file is missing or lacks a column, or no file has a single value to draw.
        ValueError: not one label per file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import EngFormatter

    paths = [Path(path) for path in csv_paths]
    if labels is not None and len(labels) != len(paths):
        raise ValueError(f"{len(labels)} labels for {len(paths)} files")
    names = list(labels) if labels is not None else [path.parent.name or path.stem for path in paths]
    curves = [_load(path, x, y) for path in paths]
    if not any(len(xs) for xs, _, _ in curves):
        raise UserError(f"nothing to draw: no row of {', '.join(map(str, paths))} has a value in column {y!r}.")

    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    outside = len(curves) > 6  # a long legend would cover the curves
    figure = Figure(figsize=(9.5 if outside else 7.0, 4.2), dpi=150, layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    band = False
    for index, ((xs, ys, std), name) in enumerate(zip(curves, names, strict=True)):
        colour = f"C{index % 10}"
        style = ("-", "--", ":")[index // 10 % 3]  # ten colours, then other strokes
        marker = "o" if len(xs) <= 30 else None
        if smooth > 1:
            axes.plot(xs, ys, color=colour, alpha=0.25, linewidth=0.8)
            ys, marker = _running_mean(ys, smooth), None
        elif std is not None:
            band = True
            axes.fill_between(xs, ys - std, ys + std, color=colour, alpha=0.15, linewidth=0)
        axes.plot(xs, ys, style, color=colour, marker=marker, markersize=3.5, linewidth=1.6, label=name)
    if reference is not None:
        axes.axhline(reference, color="0.35", linestyle=(0, (5, 3)), linewidth=1.2, zorder=1)
        if reference_label:
            axes.annotate(
                reference_label,
                xy=(1.0, reference),
                xycoords=("axes fraction", "data"),
                xytext=(-4, 3),
                textcoords="offset points",
                ha="right",
                va="bottom",
                fontsize=9,
                color="0.35",
            )
            axes.margins(y=0.08)  # room for the words when the line is the highest thing

    axes.set_xlabel(_NAMES.get(x, _readable(x)))
    notes = [f"mean of {smooth} rows"] * (smooth > 1) + ["band: ± 1 std"] * band
    axes.set_ylabel(_NAMES.get(y, _readable(y)) + (f"  ({', '.join(notes)})" if notes else ""))
    axes.set_title(title or f"{_NAMES.get(y, _readable(y))}", fontsize=12)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 500k, 2M
    plain(axes)
    if len(curves) > 1 or labels is not None:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if outside else {"loc": "best"}
        axes.legend(frameon=not outside, framealpha=0.85, edgecolor="none", fontsize=9, **place)
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, format="png")
    return Path(out_png)


def panels(
    csv_paths: Sequence[Path],
    out_png: Path,
    x: str = "frame",
    y: str = "reward_mean",
    labels: Sequence[str] | None = None,
    columns: int = 3,
) -> Path:
    """Column ``y`` of every CSV in a panel of its own, for values that have no scale in common; atomic, as above.

    Args:
        csv_paths: train.csv or eval.csv files.
        labels: titles of the panels; by default the files' names.
        columns: panels side by side.

    Raises:
        UserError: a file is missing or lacks a column.
        ValueError: not one label per file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    paths = [Path(path) for path in csv_paths]
    titles = list(labels) if labels is not None else [path.stem for path in paths]
    if len(titles) != len(paths):
        raise ValueError(f"{len(titles)} labels for {len(paths)} files")
    rows = -(-len(paths) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.1 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (path, title) in enumerate(zip(paths, titles, strict=True), 1):
        xs, ys, _ = _load(path, x, y)
        axes = figure.add_subplot(rows, columns, place)
        axes.plot(xs, ys, marker="o" if len(xs) <= 30 else None, markersize=3, linewidth=1.4)
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(labelsize=8)
        axes.grid(True, color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(_NAMES.get(x, _readable(x)), fontsize=10)
    figure.supylabel(_NAMES.get(y, _readable(y)), fontsize=10)
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, format="png")
    return Path(out_png)


def _load(path: Path, x: str, y: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
    columns = read_columns(path)
    for key in (x, y):
        if key not in columns:
            raise UserError(f"{path}: no column {key!r}. It has: {', '.join(columns)}.")
    xs, ys = np.asarray(columns[x]), np.asarray(columns[y])
    there = np.isfinite(xs) & np.isfinite(ys)
    std = np.asarray(columns.get(f"{y}_std", [math.nan] * len(ys)))[there]
    return xs[there], ys[there], np.nan_to_num(std) if np.isfinite(std).any() else None


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over at most ``width`` neighbours around each value; no values are made up at the ends."""
    sums: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    start = np.maximum(index - (width - 1) // 2, 0)
    end = np.minimum(index + width // 2 + 1, len(values))
    return np.asarray((sums[end] - sums[start]) / (end - start), dtype=np.float64)


def _readable(key: str) -> str:
    return key.replace("_", " ").capitalize()
