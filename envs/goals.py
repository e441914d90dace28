"""Goals that reaching tasks have: which there are, where they lie, and when one counts as reached."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GOALS = 50
"""In a set."""
PUBLISHED_SETS = 10
"""The sets 0 to 9 are those of the published evaluations."""

LOW = np.array([-0.1, 0.6, 0.02, -0.45, 0.3, 0.1], np.float32)
HIGH = np.array([0.1, 0.7, 0.02, 0.45, 0.9, 0.5], np.float32)
"""Bounds of puck (x, y, z) and goal (x, y, z), in m; in this precision, as published."""
APART = 0.15
"""From above, between puck and goal: at least so many m."""


class Goals(NamedTuple):
    """What is known of the goals of a domain."""

    reached_above: float | None
    """The return of an episode that has reached its goal is above this; None where returns do not tell."""
    in_sets: bool = False
    """Whether a task has the goals of a set, which ``goal_seed`` names."""
    poses: bool = False
    """Whether all tasks have the same, poses of the body: see :mod:`envs.poses`. Neither: every task is a goal."""


def reach_goals(number: int) -> NDArray[np.float64]:
    """Set ``number`` of goals for Meta-World's reach, (50, 6): the puck's x, y, z and the goal's, in m.

    Drawn uniformly within the bounds, puck and goal apart from each other, by ``RandomState(number)``: bit for bit the
    sets of Mazzaglia et al. (2023), "Choreographer", for the numbers 0 to 9.
    """
    random = np.random.RandomState(number)
    found: list[NDArray[np.float64]] = []
    while len(found) < GOALS:
        drawn = random.uniform(LOW, HIGH, 6)
        if np.hypot(*(drawn[:2] - drawn[3:5])) >= APART:
            found.append(drawn)
    return np.stack(found)
