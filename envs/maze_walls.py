"""Walls that stop a point, and whether they close."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MARGIN = 1e-3
"""How near a point comes to the line of a wall, which is that thick on every side and at its ends."""
_SHORT = 1.0 - 1e-9
"""Of the way to a wall: rounding must not put the point into it."""


class Walls:
    """Straight walls as rectangles of half-width ``MARGIN`` about their lines.

    A point that is outside of all of them stays outside, whatever it does: every move is cut where its path enters the
    first rectangle, and one that would still end inside, by rounding, is not made at all. Rectangles reach beyond the
    ends of their lines, so that corners are tight.

    Every number is made of single sums and products, so it does not depend on how many points are moved at once.

    Args:
        segments: (W, 2, 2), the two ends (x, y) of each.
    """

    def __init__(self, segments: Floats) -> None:
        self.segments = np.array(segments, np.float64)
        begin, along = self.segments[:, 0], self.segments[:, 1] - self.segments[:, 0]
        length = _length(along)
        along = along / length[:, None]
        across = np.stack([-along[:, 1], along[:, 0]], 1)
        # every wall has two slabs: where a point is along it, and where across
        self._x, self._y = np.stack([along, across], 1).transpose(2, 0, 1)  # (W, 2) each
        place = self._x * begin[:, :1] + self._y * begin[:, 1:]
        self._low = place - MARGIN
        self._high = place + np.stack([length + MARGIN, np.full(len(length), MARGIN)], 1)

    def clear(self, place: Floats) -> NDArray[np.bool_]:
        """Whether the points ``place`` (n, 2) are outside of all walls, (n,)."""
        at = self._seen(place)
        return ((at <= self._low) | (at >= self._high)).any(2).all(1)

    def share(self, place: Floats, step: Floats) -> Floats:
        """The part of ``step`` (n, 2) that can be gone from ``place`` (n, 2) before the first wall, in [0, 1], (n,)."""
        at, speed = self._seen(place), self._seen(step)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            one, two = (self._low - at) / speed, (self._high - at) / speed
        within = (self._low < at) & (at < self._high)
        rests = speed == 0.0  # in a slab for good, or never
        enter = np.where(rests, np.where(within, -np.inf, np.inf), np.minimum(one, two)).max(2)
        leave = np.where(rests, np.where(within, np.inf, -np.inf), np.maximum(one, two)).min(2)
        met = (enter < leave) & (leave > 0.0)
        return np.where(met, np.clip(enter, 0.0, 1.0), 1.0).min(1)

    def moved(self, place: Floats, step: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Where the points ``place`` (n, 2), all of them clear, get by ``step`` (n, 2); which were stopped, (n,)."""
        share = self.share(place, step)
        stopped = share < 1.0
        new = place + (share * np.where(stopped, _SHORT, 1.0))[:, None] * step
        inside = ~self.clear(new)
        return np.where(inside[:, None], place, new), stopped | inside

    def distance(self, point: Floats) -> float:
        """From ``point`` (2,) to the nearest line of a wall."""
        return float(_length(_nearest(self.segments, point) - point).min())

    def enclose(self, point: Floats) -> bool:
        """Whether a point that begins at ``point`` (2,), which is on no wall, can never get out.

        That is so just if one can walk once around it without leaving the walls. So: from wall to wall that touch,
        adding up by how much the direction from ``point`` turns. Where two ways to one wall differ, they enclose it.
        """
        ends = self.segments - point
        turned: dict[int, float] = {}
        for root in range(len(ends)):
            if root in turned:
                continue
            turned[root] = 0.0
            waiting = [root]
            while waiting:
                here = waiting.pop()
                for other, turn in zip(*_touching(ends[here], ends), strict=True):
                    if other not in turned:
                        turned[other] = turned[here] + turn
                        waiting.append(other)
                    elif abs(turned[here] + turn - turned[other]) > np.pi:
                        return True
        return False

    def loose_ends(self) -> Floats:
        """The ends that touch no other wall, (K, 2)."""
        found = []
        for index, pair in enumerate(self.segments):
            others = np.delete(self.segments, index, 0)
            for end in pair:
                if not (_length(_nearest(others, end) - end) <= MARGIN).any():
                    found.append(end)
        return np.array(found).reshape(-1, 2)

    def _seen(self, vectors: Floats) -> Floats:
        """``vectors`` (n, 2) along and across every wall, (n, W, 2)."""
        return vectors[:, :1, None] * self._x + vectors[:, 1:, None] * self._y


def _nearest(segments: Floats, point: Floats) -> Floats:
    """The point of each segment (W, 2, 2) that is nearest to ``point`` (2,) or to each of (W, 2): (W, 2)."""
    begin, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    share = ((point - begin) * along).sum(1) / (along**2).sum(1)
    return begin + np.clip(share, 0.0, 1.0)[:, None] * along


def _touching(wall: Floats, walls: Floats) -> tuple[list[int], list[float]]:
    """Which of ``walls`` (W, 2, 2) touch ``wall`` (2, 2), and how far the direction from the origin turns on the way
    from the begin of that one to theirs: along it, over to the other, along the other.
    """
    mine = np.broadcast_to(wall, walls.shape)
    here, there = _contacts(mine, walls)
    turn = _turn(mine[:, 0], here) + _turn(here, there) + _turn(there, walls[:, 0])
    found = np.flatnonzero(_length(here - there) <= MARGIN)
    return found.tolist(), turn[found].tolist()


def _contacts(one: Floats, two: Floats) -> tuple[Floats, Floats]:
    """The points of the segments (W, 2, 2) that are nearest to those of the others: the same where they cross."""
    candidates = [(_nearest(one, two[:, end]), two[:, end]) for end in (0, 1)]
    candidates += [(one[:, end], _nearest(two, one[:, end])) for end in (0, 1)]
    a, b = one[:, 1] - one[:, 0], two[:, 1] - two[:, 0]
    gap, area = two[:, 0] - one[:, 0], _cross(a, b)
    area = np.where(area == 0.0, 1.0, area)
    # where the lines cross, or, of lines that are all but the same, anywhere on the segments
    s, t = (np.clip(_cross(gap, other) / area, 0.0, 1.0)[:, None] for other in (b, a))
    candidates.append((one[:, 0] + s * a, two[:, 0] + t * b))
    here, there = (np.stack(side) for side in zip(*candidates, strict=True))  # (5, W, 2)
    best = _length(here - there).argmin(0), np.arange(len(one))
    return here[best], there[best]


def _turn(one: Floats, two: Floats) -> Floats:
    """The angles in [-pi, pi] by which the direction from the origin turns on the straight ways (W, 2) to (W, 2)."""
    return np.arctan2(_cross(one, two), (one * two).sum(1))


def _cross(one: Floats, two: Floats) -> Floats:
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]


def _length(vectors: Floats) -> Floats:
    return np.sqrt((vectors**2).sum(-1))
