"""One picture of a pre-trained agent: where its skills lead, and what they were worth for a task."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from utils.atomic import atomic_path
from utils.axes import plain


class Runs(NamedTuple):
    """Mean returns over frames of one run, or of several at the same frames."""

    frames: Sequence[int]
    """(K,)."""
    returns: Sequence[Sequence[float]]
    """(S, K): a row per run."""
    label: str

    def at(self, frame: int) -> list[float]:
        """Every run's return at the last of the frames up to ``frame``."""
        last = max(k for k, at in enumerate(self.frames) if at <= frame)
        return [row[last] for row in self.returns]


def poster(
    stills: NDArray[np.uint8],
    captions: Sequence[str],
    learned: Runs,
    scratch: Runs,
    out_png: Path,
    *,
    title: str,
    about: tuple[str, str],
) -> Path:
    """Draw the ends of episodes, a column per skill, beside the curves, and write it atomically. Returns ``out_png``.

    Several runs of a curve are drawn as their median within a band from the least to the most.

    Args:
        stills: (N, E, S, S, 3), E pictures of each of N skills.
        captions: N, each above its skill's pictures.
        learned: the run that started from the skills.
        scratch: the runs that it is compared with.
        title: of the whole.
        about: a sentence above the pictures, and one above the curves.

    Raises:
        ValueError: not one caption per skill.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display
    from matplotlib.figure import Figure

    skills, episodes = stills.shape[:2]
    if len(captions) != skills:
        raise ValueError(f"{len(captions)} captions for {skills} skills")
    tall, wide = 1.25 * episodes, 1.2 * skills
    figure = Figure(figsize=(wide + 6.2, max(tall + 1.2, 4.6)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=15, fontweight="bold")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(wide, 6.2), wspace=0.04)[0]
    left.suptitle(_wrapped(about[0], wide), fontsize=10)
    grid = left.subplots(episodes, skills, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.02})
    for column, (pictures, caption) in enumerate(zip(stills, captions, strict=True)):
        grid[0, column].set_title(caption, fontsize=9)
        for axes, picture in zip(grid[:, column], pictures, strict=True):
            axes.imshow(picture, interpolation="lanczos")
            axes.set_axis_off()
    right.suptitle(_wrapped(about[1], 6.2), fontsize=10)
    _curves(right.subplots(), learned, scratch)
    with atomic_path(out_png) as temporary:
        figure.savefig(temporary, format="png")
    return Path(out_png)


def _curves(axes, learned: Runs, scratch: Runs) -> None:  # type: ignore[no-untyped-def]  # matplotlib's Axes
    from matplotlib.ticker import EngFormatter

    for curve, colour in ((scratch, "0.45"), (learned, "C0")):
        rows = np.asarray(curve.returns, dtype=np.float64)
        axes.plot(curve.frames, np.median(rows, axis=0), color=colour, marker="o", linewidth=2.2, label=curve.label)
        if len(rows) > 1:
            axes.fill_between(curve.frames, rows.min(0), rows.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("Environment frames of the task")
    axes.set_ylabel("Return (at most 1000)")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    plain(axes)
    axes.legend(frameon=False, fontsize=9.5, loc="upper left")


def _wrapped(sentence: str, inches: float) -> str:
    return "\n".join(textwrap.wrap(sentence, int(13 * inches)))
