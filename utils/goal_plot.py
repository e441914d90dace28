"""A map of goals: which were reached, and how often."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.atomic import atomic_path
from utils.axes import plain

NEVER = "#bd1f01"
COLOURS = "viridis"


def goal_map(
    places: NDArray[np.float64], shares: NDArray[np.float64], out_png: Path, *, names: Sequence[int], title: str
) -> Path:
    """Draw goals from above and from the front, and write the picture atomically. Returns ``out_png``.

    A goal that was never reached is an empty red circle with its number, another one is filled by how often it was.

    Args:
        places: x, y and z of G goals in m, (G, 3).
        shares: of the episodes of each that reached it, (G,).
        names: numbers of the goals, G.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 5.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    reached = shares > 0
    for place, (up, view) in enumerate(((1, "from above"), (2, "from the front")), 1):
        axes = figure.add_subplot(1, 2, place)
        across, along = places[:, 0], places[:, up]
        axes.plot(across[~reached], along[~reached], "o", mfc="none", mec=NEVER, markersize=9, label="never reached")
        axes.scatter(
            *(across[reached], along[reached]),
            c=shares[reached],
            vmin=0,
            vmax=1,
            cmap=COLOURS,
            s=85,
            edgecolors="black",
            linewidths=0.6,
            label="reached",
        )
        for name, x, y in zip(names, across, along, strict=True):
            axes.annotate(str(name), (x, y), xytext=(6, 5), textcoords="offset points", fontsize=7, color="0.3")
        axes.set_title(f"goals {view}", fontsize=11)
        axes.set_xlabel("x (m)")
        axes.set_ylabel(f"{'xyz'[up]} (m)")
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.15)
        plain(axes)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    shown = ScalarMappable(Normalize(0, 1), COLOURS)
    figure.colorbar(shown, ax=figure.axes, label="share of episodes that reached it", shrink=0.85)
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, format="png")
    return Path(out_png)


def goal_bars(names: Sequence[str], shares: NDArray[np.float64], out_png: Path, *, title: str) -> Path:
    """Draw how many episodes of each of G goals that are no places reached it, and write the picture atomically.

    Args:
        names: of the goals, G.
        shares: of the episodes of each that reached it, (G,).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.4 * len(names) + 1.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    axes = figure.add_subplot()
    rows = np.arange(len(names))[::-1]
    axes.barh(rows, shares, color="#3f90da", height=0.7)
    for row, share in zip(rows, shares, strict=True):
        axes.annotate(f"{share:.0%}", (share, row), xytext=(4, -3), textcoords="offset points", fontsize=8)
    axes.set_yticks(rows, names)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("share of episodes")
    plain(axes)
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, format="png")
    return out_png
