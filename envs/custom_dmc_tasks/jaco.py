"""Jaco: reach for a brick with a Kinova arm and hand, made of dm_control's manipulation parts.

Two variants. The one of the Unsupervised RL Benchmark has a free brick, which the observation shows. In that of ExORL
(Yarats et al. 2022) a mark that nothing can touch and no observation shows takes its place, and the hand starts
anywhere around it; so the simulator's state is that of the arm alone.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

with warnings.catch_warnings():  # composer's import makes the whole process show every deprecation warning
    from dm_control import composer
    from dm_control.entities import props
    from dm_control.manipulation import reach as manipulation_reach
    from dm_control.manipulation.shared import arenas, observations, robots, workspaces

CONTROL_STEPS = 250  # per episode
CONTROL_TIMESTEP = 0.04  # seconds
TARGETS = {  # x and y of the brick at the start, in metres
    "top_left": (-0.09, 0.09),
    "top_right": (0.09, 0.09),
    "bottom_left": (-0.09, -0.09),
    "bottom_right": (0.09, -0.09),
}
DROP_HEIGHT = 0.001  # metres that the brick falls before it settles
HAND_BOX = workspaces.BoundingBox(lower=(-0.1, -0.1, 0.2), upper=(0.1, 0.1, 0.4))  # of the hand at the start, metres
EXORL_HAND_BOX = workspaces.BoundingBox(lower=(-0.2, -0.2, 0.02), upper=(0.2, 0.2, 0.4))  # the same in ExORL
ARM_OFFSET = (0.0, 0.4, 0.0)  # position of the arm's base, in metres
RESET_ATTEMPTS = 10  # of drawing a start in which nothing collides


def reach(corner: str, random: np.random.RandomState | int | None = None, exorl: bool = False) -> composer.Environment:
    """The task ``reach_<corner>``: 250 control steps of 0.04 s, never terminated early.

    Its observation is that of the suite's tasks in kind: named arrays, no images.

    Args:
        corner: one of ``TARGETS``.
        random: seed or random state that draws the initial pose of the hand and the brick's direction.
        exorl: the variant of ExORL.
    """
    task = Reach(corner, random, exorl)
    environment = composer.Environment(
        task,
        # Half a step early: rounding of the clock cannot add a step.
        time_limit=(CONTROL_STEPS - 0.5) * CONTROL_TIMESTEP,
        random_state=task.random,
        strip_singleton_obs_buffer_dim=True,
        max_reset_attempts=RESET_ATTEMPTS,
        # Nothing in the model varies, and a new simulation would leave the renderer with a dead one.
        recompile_mjcf_every_episode=False,
    )
    # The first reset compiles and draws for it, those that follow do not. With that one behind us, an episode follows
    # from the random state alone, whichever episode of this environment it is.
    before = task.random.get_state()
    environment.reset()
    task.random.set_state(before)
    return environment


class Workspace(NamedTuple):
    """Where things start, as ``manipulation.reach`` asks for it; boxes are drawn from uniformly."""

    target_bbox: workspaces.BoundingBox
    tcp_bbox: workspaces.BoundingBox
    arm_offset: tuple[float, float, float]


class Reach(manipulation_reach.Reach):
    """Bring the tool centre point (between the fingers) close to a free brick that lies at a fixed place.

    The reward is 1 within 0.05 m of the brick's frame; at a distance of d m it is 0.1^(((d - 0.05) / 0.05)^2). The hand
    starts at a uniform place of ``HAND_BOX``, pointing down, its fingers closed by a uniform part; the brick lies
    settled in a uniform direction.

    With ``exorl`` there is no brick: a visible mark is at its place, and the hand starts in ``EXORL_HAND_BOX``.

    Attributes:
        random: what draws the initial states, as the suite's tasks have it.
        workspace_target: x, y and z of the brick at the start, in m.
    """

    def __init__(self, corner: str, random: np.random.RandomState | int | None = None, exorl: bool = False):
        self.random = random if isinstance(random, np.random.RandomState) else np.random.RandomState(random)
        place = (*TARGETS[corner], DROP_HEIGHT)
        # The camera's observable is disabled here: it would render every control step.
        settings = observations.PERFECT_FEATURES
        brick = observations.make_options(settings, observations.FREEPROP_OBSERVABLES)
        super().__init__(
            arena=arenas.Standard(),
            arm=robots.make_arm(obs_settings=settings),
            hand=robots.make_hand(obs_settings=settings),
            prop=None if exorl else props.Duplo(observable_options=brick),
            obs_settings=settings,
            workspace=Workspace(
                workspaces.BoundingBox(place, place), EXORL_HAND_BOX if exorl else HAND_BOX, ARM_OFFSET
            ),
            control_timestep=CONTROL_TIMESTEP,
        )
        self._task_observables.pop("target_position", None)  # which dm_control shows of a mark
        self.workspace_target = np.array(place)

    @property
    def arm(self) -> Any:
        return self._arm

    @property
    def hand(self) -> Any:
        return self._hand

    def initialize_episode(self, physics, random_state: np.random.RandomState) -> None:
        """Draws the initial state; time 0 is when the brick has settled."""
        with _without_retries():
            super().initialize_episode(physics, random_state)
        # Some versions of dm_control leave the clock where settling ended, which would cost the episode a step or two.
        physics.data.time = 0.0


def put_hand(environment: composer.Environment, above: float) -> None:
    """Put the tool centre point ``above`` m above where the brick, or the mark, is at the start.

    Raises:
        RuntimeError: the arm cannot be brought there.
    """
    task, physics = environment.task, environment.physics
    corner = task.workspace_target
    with _without_retries():
        there = task.arm.set_site_to_xpos(
            physics=physics,
            random_state=np.random.RandomState(0),
            site=task.hand.tool_center_point,
            target_pos=np.array([*corner[:2], corner[2] + above]),
        )
    if not there:
        raise RuntimeError("inverse kinematics did not bring the hand to the goal")


@contextmanager
def _without_retries() -> Iterator[None]:
    """Keeps one warning off the console: inverse kinematics that did not converge, which then starts elsewhere.

    It happens in one of a hundred starts. A start that cannot be found at all is an exception, as before.
    """

    def keep(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Failed to converge after")

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
