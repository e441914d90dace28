"""Learning curves of groups of runs: what they have in common, at which frames, with bands over seeds."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.grouping import ended, from_scratch, grouped
from analysis.results import Result
from utils.band_plot import Curve
from utils.statistics import Interval, Statistic, iqm, stratified_bootstrap

MOST_POINTS = 100
"""Of a curve; more are not drawn, as each has a bootstrap of its own."""

Kind = Literal["iqm", "mean"]


def statistic_of(kind: Kind) -> Statistic:
    """What is made of the runs of a group."""
    return iqm if kind == "iqm" else lambda values: np.asarray(values).mean(-1)


class Averaged(NamedTuple):
    """The curve of a group in a panel."""

    name: str
    frames: Sequence[float]
    points: Sequence[Interval]
    runs: int
    scratch: bool
    notes: Sequence[str]
    """What a reader has to know."""

    def curve(self, *, dashed: bool = False) -> Curve:
        """As it is drawn."""
        value, low, high = zip(*self.points, strict=True)
        return Curve(self.name, self.frames, value, low, high, dashed=dashed)


def averaged(name: str, runs: Sequence[Result], kind: Kind = "iqm") -> Averaged:
    """The curve of ``runs``, resampled within their tasks.

    It goes from the frame at which all of them have begun to the one that all have reached, so that every point is of
    the same runs. Where they were evaluated at the same frames, these are its points; else all of theirs, or
    :data:`MOST_POINTS` even ones, and values between two evaluations of a run lie on the line between them.
    """
    begin, end = max(min(one.curve) for one in runs), min(one.last for one in runs)
    notes = []
    if end < max(one.last for one in runs):
        longest = max(one.last for one in runs)
        notes.append(
            f"{name} is drawn up to frame {end:,.0f}, where {ended(runs, end)}; others of its {len(runs)} runs go on "
            f"to {longest:,.0f}: at={longest:.0f} leaves out what has not come so far"
        )
    if begin > end:
        return Averaged(name, [], [], len(runs), from_scratch(runs), [f"{name}: its runs have no frame in common"])
    own = [{frame for frame in one.curve if begin <= frame <= end} for one in runs]
    frames = sorted(set.union(*own))
    if any(frames != sorted(one) for one in own):
        notes.append(f"{name}: runs were evaluated at different frames; values in between lie on straight lines")
    if len(frames) > MOST_POINTS:
        frames = [float(frame) for frame in np.linspace(begin, end, MOST_POINTS)]
    tables = [
        np.stack([_at(one.curve, frames) for one in task]) for task in grouped(runs, lambda one: one.task).values()
    ]
    statistic = statistic_of(kind)
    points = [stratified_bootstrap([table[:, i] for table in tables], statistic) for i in range(len(frames))]
    return Averaged(name, frames, points, len(runs), from_scratch(runs), notes)


def panel_curves(groups: Mapping[str, Sequence[Result]], kind: Kind = "iqm") -> list[Averaged]:
    """A curve per group that has one."""
    return [averaged(name, runs, kind) for name, runs in groups.items()]


def _at(curve: Mapping[float, float], frames: Sequence[float]) -> NDArray[np.float64]:
    known = sorted(curve)
    return np.interp(frames, known, [curve[frame] for frame in known])
