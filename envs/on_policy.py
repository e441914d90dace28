"""The environments of ReST by their names: what is known of one beforehand, and n of them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from envs import maze_layout, mujoco_gym
from envs.autoreset import AutoresetVector, SerialVector
from envs.checks import check_image_size, check_positive, check_render_quality, check_seed
from envs.make import prepare
from envs.vector import env_seed
from utils.errors import unknown_value

NAMES = (*mujoco_gym.BODIES, *maze_layout.MAZES)
ALIASES = {**mujoco_gym.ALIASES, **maze_layout.ALIASES}


class Known(NamedTuple):
    """What is planned with before an environment is made."""

    name: str
    """One of :data:`NAMES`, or the path of a maze's file."""
    observed: int
    """Numbers in an observation, D."""
    actions: int
    """Numbers in an action, A."""
    exclude: int
    """First columns of an observation that a policy does not see: where a body is."""
    axes: int
    """Of a position, that count: 1 (x) or 2 (x and y)."""
    steps: int
    """Of the longest episode."""
    maze: maze_layout.Layout | None
    """Where the walls are; None: no maze."""


def known(env: str, stored: Mapping[str, Any] | None = None) -> Known:
    """What is known of ``env``: a body, a maze, a published name of either, or the path of a maze file.

    Args:
        stored: what ``known(env).maze.plain()`` was when a run began. Its maze is taken, whatever became of the file.

    Raises:
        UserError: the name is unknown (suggests the nearest), or the file holds no closed maze.
    """
    name = ALIASES.get(env, env)
    if name in mujoco_gym.BODIES:
        body = mujoco_gym.BODIES[name]
        return Known(name, body.observed, body.actions, body.exclude, body.exclude, mujoco_gym.STEPS, None)
    if name in maze_layout.MAZES or maze_layout.is_file(env):
        found = maze_layout.layout(name) if stored is None else maze_layout.checked(stored, f"env={env}")
        return Known(name, 4, 2, 0, 2, found.steps, found)
    raise unknown_value("env", env, NAMES)


def make_rollouts(
    env: str | Known,
    num_envs: int,
    *,
    seed: int = 1,
    terminate_when_unhealthy: bool | None = None,
    pictures: bool = False,
    image_size: int = 256,
    render_quality: str = "full",
) -> AutoresetVector:
    """``num_envs`` environments ``env``, which reset themselves, in this process.

    Args:
        env: as for :func:`known`, or what that gave.
        seed: in [0, 2**32). Environment i is seeded with ``env_seed(seed, i)``.
        terminate_when_unhealthy: whether falling ends an episode. None takes the body's own: Hopper, Walker2d and
            Humanoid end, Ant does not. HalfCheetah and points in mazes cannot fall.
        pictures: ``render()`` will be called: looks for a GL backend now, before MuJoCo is imported. Mazes need none.
        image_size: side of a picture in pixels.
        render_quality: ``full`` or ``lite``.

    Raises:
        UserError: a value is unknown or out of range, or pictures are asked for and nothing can render here.
    """
    found = known(env) if isinstance(env, str) else env
    check_positive("num_envs", num_envs)
    check_seed(seed)
    check_image_size(image_size)
    check_render_quality(render_quality)
    if found.maze is not None:
        from envs.mazes import MazeVector

        return MazeVector(found.maze, num_envs, seed, image_size)
    prepare("pixels" if pictures else "states")
    from envs.body_camera import BodyCamera  # imports MuJoCo, so not before the GL backend is chosen

    bodies = [
        mujoco_gym.make_body(found.name, env_seed(seed, index), terminate_when_unhealthy) for index in range(num_envs)
    ]
    return SerialVector(bodies, found.name, BodyCamera(image_size, render_quality))
