"""State coverage: how many cells of a coarse grid (of posture and speed, or of place) a set of states touches.

Works on stored states alone, float64 [qpos, qvel, act] as dm_control's ``physics.get_state()`` gives them; MuJoCo is
not imported. The grids are fixed, so counts of different runs on one body can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import UserError, unknown_value

States = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """One measured quantity and its ``count`` equal bins over [low, high); what lies outside is in the outermost."""

    name: str
    low: float
    high: float
    count: int

    def bins(self, values: States) -> NDArray[np.int64]:
        """Bin numbers 0 .. count - 1, (N,), of finite ``values`` (N,)."""
        # clipping before the cast: a huge value has no integer
        place = np.floor((values - self.low) / (self.high - self.low) * self.count)
        return np.clip(place, 0, self.count - 1).astype(np.int64)


@dataclass(frozen=True)
class Measure:
    """How the states of one body are binned. Another body is one more entry of :data:`MEASURES`."""

    size: int
    """Numbers in a state: qpos, qvel and activations."""
    axes: tuple[Axis, ...]
    quantities: Callable[[States], States]
    """States (N, size) -> one column per axis, (N, len(axes))."""

    @property
    def cells(self) -> int:
        """Cells of the grid: the largest coverage there can be (no body reaches them all)."""
        return int(np.prod([axis.count for axis in self.axes]))


WALKER_TORSO = 1.3
"""World height of the walker's torso at ``rootz = 0``, in m: its body position in the suite's walker.xml."""

QUADRUPED_QPOS = 23
"""Position coordinates of the quadruped: 3 + 4 of the torso's free joint, 16 of its legs; velocities follow."""


def walker(states: States) -> States:
    """(N, 18) -> torso height in m, pitch in rad in [-pi, pi) (positive forward), forward speed of the torso in m/s.

    The first coordinates are rootz (height above ``WALKER_TORSO``), rootx and rooty, their velocities come 9 later.
    """
    pitch = (states[:, 2] + np.pi) % (2 * np.pi) - np.pi
    return np.stack([WALKER_TORSO + states[:, 0], pitch, states[:, 10]], 1)


def quadruped(states: States) -> States:
    """(N, 57) -> torso height in m, angle from upright in rad within [0, pi], horizontal speed of the torso in m/s.

    The free joint's coordinates are those of the world: position, unit quaternion (w first), linear velocity.
    """
    _, x, y, _ = (states[:, 3:7] / np.linalg.norm(states[:, 3:7], axis=1, keepdims=True)).T
    angle = np.arccos(np.clip(1 - 2 * (x**2 + y**2), -1, 1))
    velocity = states[:, QUADRUPED_QPOS : QUADRUPED_QPOS + 2]
    return np.stack([states[:, 2], angle, np.hypot(*velocity.T)], 1)


JACO_LINKS: tuple[tuple[float, float, float, float], ...] = (
    (0.0, 0.4, 0.15675, 0.0),
    (0.0, 0.0016, -0.11875, 1.5 * np.pi),
    (0.0, -0.41, 0.0, 0.0),
    (0.0, 0.2073, -0.0114, 1.5 * np.pi),
    (0.0, -0.03703, -0.06414, 2 / 3 * np.pi),
    (0.0, -0.03703, -0.06414, 2 / 3 * np.pi),
)
"""The six moving links of the Jaco arm, base first, from dm_control's jaco_arm.xml: x, y, z of a link's origin in its
parent's frame (the first: in the world), in m; then its frame is half a turn about an axis in the parent's y-z plane,
given as twice its angle from y, in rad. A joint turns its link about the link's own z."""

JACO_TOOL = (0.015, 0.0024, -0.193)
"""The tool centre point in the frame of the last link, in m: pinch site of dm_control's jaco_hand.xml."""


def jaco(states: States) -> States:
    """(N, 31) -> x, y, z of the tool centre point in the world, in m.

    The first six coordinates are the angles of the arm's joints.
    """
    x, y, z = (np.full(len(states), value) for value in JACO_TOOL)
    for joint in reversed(range(len(JACO_LINKS))):
        right, forward, up, twice = JACO_LINKS[joint]
        cosine, sine = np.cos(states[:, joint]), np.sin(states[:, joint])
        x, y = cosine * x - sine * y, sine * x + cosine * y
        # half a turn about (0, cos a, sin a), with 2 a = twice
        y, z = np.cos(twice) * y + np.sin(twice) * z, np.sin(twice) * y - np.cos(twice) * z
        x, y, z = right - x, forward + y, up + z
    return np.stack([x, y, z], 1)


MEASURES: dict[str, Measure] = {
    # bins of 0.1 m, pi/8 and 0.5 m/s; the fastest task asks for 8 m/s
    "walker": Measure(
        18,
        (
            Axis("torso height", 0.0, 2.0, 20),
            Axis("torso pitch", -np.pi, np.pi, 16),
            Axis("forward speed", -8.0, 8.0, 32),
        ),
        walker,
    ),
    # bins of 0.1 m, pi/8 and 0.5 m/s; the fastest task asks for 5 m/s
    "quadruped": Measure(
        57,
        (
            Axis("torso height", 0.0, 2.0, 20),
            Axis("angle from upright", 0.0, np.pi, 8),
            Axis("horizontal speed", 0.0, 8.0, 16),
        ),
        quadruped,
    ),
    # Bins of 0.1 m over all that the arm can reach: a reward of 1 extends 0.05 m to all sides of the brick. The tasks
    # ask to bring this point somewhere; a grid over six joint angles would have too many cells to compare runs by.
    "jaco": Measure(
        31,
        (
            Axis("tool x", -1.0, 1.0, 20),
            Axis("tool y", -0.6, 1.4, 20),
            Axis("tool z", 0.0, 1.3, 13),
        ),
        jaco,
    ),
}


def measure(domain: str) -> Measure:
    """How ``domain`` is measured. Raises :class:`UserError` naming those that are, for any other."""
    if domain not in MEASURES:
        raise unknown_value("domain", domain, MEASURES)
    return MEASURES[domain]


def cells(domain: str, states: States) -> NDArray[np.int64]:
    """The cell of every state (N, S), as bin numbers per axis: (N', axes). States that are not finite are left out.

    Raises:
        UserError: the domain is not in :data:`MEASURES`, or its states have another size.
    """
    how = measure(domain)
    states = np.asarray(states, np.float64)
    if states.ndim != 2 or states.shape[1] != how.size:
        raise UserError(
            f"states of shape {states.shape} are not those of domain={domain}, which have {how.size} numbers each."
        )
    values = how.quantities(states[np.isfinite(states).all(1)])
    return np.stack([axis.bins(column) for axis, column in zip(how.axes, values.T, strict=True)], 1)


def coverage(domain: str, states: States) -> int:
    """The number of distinct cells among ``states`` (N, S) of ``domain``; 0 for no states. Raises as :func:`cells`."""
    return len(np.unique(cells(domain, states), axis=0))
