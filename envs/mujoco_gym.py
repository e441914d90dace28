"""Gymnasium's five walking bodies of MuJoCo, with the positions in the observation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from envs.replayed import ReplayedEnv

STEPS = 1000
"""Of the longest episode, which is truncated then."""


class Body(NamedTuple):
    """What is known of a body before MuJoCo is imported."""

    env_id: str
    """Gymnasium's."""
    observed: int
    """Numbers in an observation, D: qpos, then qvel."""
    actions: int
    """Numbers in an action, A: torques, in units of what the motors take."""
    exclude: int
    """First columns of an observation that say where the body is: x, or x and y, in m."""
    falls: bool | None
    """Whether an unhealthy body ends the episode where nothing else is asked for; None: it is never unhealthy."""
    left_out: tuple[str, ...] = ()
    """Parts of Gymnasium's own observation that are not wanted: contact forces and the like are noise to a measure of
    novelty.
    """

    def keywords(self, terminate_when_unhealthy: bool | None = None) -> dict[str, Any]:
        """What ``gymnasium.make`` is called with."""
        given: dict[str, Any] = {f"include_{part}_in_observation": False for part in self.left_out}
        if self.falls is not None:
            asked = terminate_when_unhealthy
            given["terminate_when_unhealthy"] = self.falls if asked is None else asked
        return {"exclude_current_positions_from_observation": False, **given}


BODIES: Mapping[str, Body] = MappingProxyType(
    {
        "HalfCheetah": Body("HalfCheetah-v5", 18, 6, 1, None),
        "Hopper": Body("Hopper-v5", 12, 3, 1, True),
        "Walker2d": Body("Walker2d-v5", 18, 6, 1, True),
        "Ant": Body("Ant-v5", 29, 8, 2, False, ("cfrc_ext",)),
        "Humanoid": Body("Humanoid-v5", 47, 17, 2, True, ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")),
    }
)

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "halfcheetah": "HalfCheetah",
        "hopper": "Hopper",
        "walker": "Walker2d",
        "walker2d": "Walker2d",
        "ant": "Ant",
        "humanoid": "Humanoid",
        "hc-v4": "HalfCheetah",
        "ant-v4": "Ant",
        "humanoid-v4": "Humanoid",
    }
)
"""Names that published command lines use -> ours."""


class FloatObservation(gymnasium.ObservationWrapper):
    """Observations as float32."""

    def __init__(self, env: gymnasium.Env, exclude: int) -> None:
        super().__init__(env)
        box = env.observation_space
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, box.shape, np.float32)  # type: ignore[arg-type]
        self._exclude = exclude

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation.astype(np.float32)

    @property
    def place(self) -> np.ndarray:
        """Where the body is, x and y in m, float64 (2,); y = 0 for one that moves in a plane."""
        place = np.zeros(2)
        place[: self._exclude] = self.unwrapped.data.qpos[: self._exclude]  # type: ignore[attr-defined]
        return place


def make_body(name: str, seed: int, terminate_when_unhealthy: bool | None = None) -> ReplayedEnv:
    """The body ``name`` of :data:`BODIES`: float32 observations (D,), actions as they come.

    An action beyond what the motors take is passed on as it is: MuJoCo limits what it does, and the reward's control
    cost counts what was asked for. Imports MuJoCo: choose the GL backend before (:mod:`envs.gl`).

    Args:
        seed: decides every episode.
        terminate_when_unhealthy: None takes the body's own.
    """
    body = BODIES[name]
    env = gymnasium.make(body.env_id, disable_env_checker=True, **body.keywords(terminate_when_unhealthy))
    return ReplayedEnv(FloatObservation(env, body.exclude), seed)
