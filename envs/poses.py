"""Poses of the walker as goals: what is to be observed in each, and when one is reached."""

from functools import partial
from typing import Any, NamedTuple

import dm_env
import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from envs.custom_dmc_tasks import load

HEIGHT = 1.3
"""Of the torso in m where ``rootz`` is 0, in the suite's walker.xml."""

TOLERANCE = 0.5
"""A pose is reached by a state of which no angle is further from it than this, in rad, nor the torso's height, in m."""

FLOOR = "floor"


class Pose(NamedTuple):
    """Angles in degrees; positive pitch leans forward, positive hips raise a thigh to the front, knees bend below 0."""

    name: str
    pitch: float
    right: tuple[float, float, float]
    """Hip, knee, ankle."""
    left: tuple[float, float, float]


POSES = (
    Pose("standing", 0, (0, 0, 0), (0, 0, 0)),
    Pose("kneeling", 0, (20, -110, 0), (20, -110, 0)),
    Pose("sitting", 0, (90, 0, 0), (90, 0, 0)),
    Pose("lying on the back", -90, (0, 0, 0), (0, 0, 0)),
    Pose("lying on the front", 90, (0, 0, 0), (0, 0, 0)),
    Pose("on the head", 180, (0, 0, 0), (0, 0, 0)),
    Pose("one leg up", 0, (90, -90, 0), (0, 0, 0)),
    Pose("a long step", 0, (60, -30, 0), (-20, -30, 0)),
)
"""The goals of every task of walker, ours."""


def joints(pose: Pose) -> NDArray[np.float64]:
    """Pitch and the angles of right and left leg, (7,) in rad."""
    return np.deg2rad(np.array([pose.pitch, *pose.right, *pose.left], np.float64))


def put(environment: dm_env.Environment, pose: Pose) -> None:
    """Put the walker into ``pose``, still, its lowest point on the floor."""
    physics: Any = environment.physics  # type: ignore[attr-defined]
    physics.reset()
    physics.data.qpos[:] = 0
    physics.data.qpos[2:] = joints(pose)
    physics.forward()
    physics.data.qpos[0] -= _lowest(physics)
    physics.forward()


def _lowest(physics: Any) -> float:
    """Height in m of the lowest point of the body, which is made of capsules."""
    ends = []
    for geom in range(physics.model.ngeom):
        if physics.model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            radius, half = physics.model.geom_size[geom][:2]
            up = abs(physics.data.geom_xmat[geom].reshape(3, 3)[2, 2])
            ends.append(physics.data.geom_xpos[geom][2] - half * up - radius)
    floor = physics.named.data.geom_xpos[FLOOR, "z"]
    return float(min(ends) - floor)


def heights() -> list[float]:
    """Of the torso in each of the poses, in m."""
    environment = load("walker", "stand", seed=0)
    found = []
    for pose in POSES:
        put(environment, pose)
        found.append(HEIGHT + float(environment.physics.data.qpos[0]))
    return found


def at_pose(env: gymnasium.Env, goal: int) -> NDArray[Any]:
    """What is to be observed in the pose of this number, a step without moving after it was taken.

    ``env`` is one of walker's tasks, kept for this.
    """
    body: Any = env.unwrapped
    env.reset(seed=0)
    return np.asarray(body.changed(partial(put, pose=POSES[goal]))["observation"])


def distances(states: NDArray[np.float64], goal: int, height: float) -> NDArray[np.float64]:
    """How far ``states`` (T, 18) are from the pose of this number, whose torso is at ``height``: (T,), the largest
    difference of an angle in rad, the shorter way around, or of the height in m. Where the walker is does not count.
    """
    turned = np.abs(states[:, 2:9] - joints(POSES[goal])) % (2 * np.pi)
    angles = np.minimum(turned, 2 * np.pi - turned).max(1)
    return np.maximum(angles, np.abs(HEIGHT + states[:, 0] - height))
