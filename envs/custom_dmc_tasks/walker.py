"""Walker: turn somersaults."""

import numpy as np
from dm_control.rl import control
from dm_control.suite import walker

TIME_LIMIT = 25.0  # seconds
CONTROL_TIMESTEP = 0.025  # seconds
FLIP_MOMENTUM = 5.0  # angular momentum of the whole body at which the spinning part of the reward is full


def flip(random: np.random.RandomState | int | None = None) -> control.Environment:
    """The flip task: 1000 control steps of 0.025 s, never terminated early.

    Args:
        random: seed or random state that draws the initial joint angles.
    """
    physics = walker.Physics.from_xml_string(*walker.get_model_and_assets())
    return control.Environment(physics, Flip(random=random), time_limit=TIME_LIMIT, control_timestep=CONTROL_TIMESTEP)


class Flip(walker.PlanarWalker):
    """Spin about the sideways axis, with the torso high and upright when it can be."""

    def __init__(self, random: np.random.RandomState | int | None = None):
        # A target speed of 0 makes the parent's reward the standing reward S.
        super().__init__(move_speed=0, random=random)

    def get_reward(self, physics: walker.Physics) -> float:
        """S (5 F + 1) / 6 in [0, 1], with F = clip(L_y / 5, 0, 1).

        L_y is the y component of the torso subtree's angular momentum about its centre of mass. MuJoCo keeps it up to
        date only because the model has a subtree velocity sensor.
        """
        standing = super().get_reward(physics)
        spinning = np.clip(physics.named.data.subtree_angmom["torso", "y"] / FLIP_MOMENTUM, 0.0, 1.0)
        return float(standing * (5.0 * spinning + 1.0) / 6.0)
