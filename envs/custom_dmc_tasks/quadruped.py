"""Quadruped: stand upright, and jump."""

import numpy as np
from dm_control.rl import control
from dm_control.suite import common, quadruped

TIME_LIMIT = 20.0  # seconds
CONTROL_TIMESTEP = 0.02  # seconds
FLOOR_SIZE = 10  # half the floor's side in metres, as in the suite's walk task, so that the pictures agree
JUMP_HEIGHT = 1.0  # height of the centre of mass, in metres, at which the jumping part of the reward is full


def stand(random: np.random.RandomState | int | None = None) -> control.Environment:
    """The stand task: 1000 control steps of 0.02 s, never terminated early.

    Args:
        random: seed or random state that draws the initial orientation.
    """
    return _environment(Stand(random=random))


def jump(random: np.random.RandomState | int | None = None) -> control.Environment:
    """The jump task: 1000 control steps of 0.02 s, never terminated early.

    Args:
        random: seed or random state that draws the initial orientation.
    """
    return _environment(Jump(random=random))


def _environment(task: "Stand") -> control.Environment:
    physics = quadruped.Physics.from_xml_string(quadruped.make_model(floor_size=FLOOR_SIZE), common.ASSETS)
    return control.Environment(physics, task, time_limit=TIME_LIMIT, control_timestep=CONTROL_TIMESTEP)


class Stand(quadruped.Move):
    """Keep the torso's z axis pointing up. Initial states and observations are those of the suite's walk task."""

    def __init__(self, random: np.random.RandomState | int | None = None):
        super().__init__(desired_speed=0.0, random=random)

    def get_reward(self, physics: quadruped.Physics) -> float:
        """U = clip((1 + zz) / 2, 0, 1), with zz the dot product of torso z and world z."""
        return float(np.clip((1.0 + physics.torso_upright()) / 2.0, 0.0, 1.0))


class Jump(Stand):
    """Lift the centre of mass, upright."""

    def get_reward(self, physics: quadruped.Physics) -> float:
        """U clip(0.5 + 0.5 z, 0, 1), with z the height of the centre of mass in metres (target: 1 m)."""
        height = physics.named.data.sensordata["center_of_mass"][2]
        return super().get_reward(physics) * float(np.clip(0.5 + 0.5 * height / JUMP_HEIGHT, 0.0, 1.0))
