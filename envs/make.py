"""Task names, and environments made from them."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import gymnasium

from envs import gl
from utils.errors import UserError, unknown_value

OBS_TYPES = ("pixels", "states")
RENDER_QUALITIES = ("full", "lite")


def _dmc(domain: str, name: str, **settings) -> gymnasium.Env:
    from envs.dmc import DMCEnv  # imports MuJoCo, so not before the GL backend is chosen

    return DMCEnv(domain, name, **settings)


@dataclass(frozen=True)
class Domain:
    """A family of tasks on one body. A new domain is one more entry of ``DOMAINS``."""

    names: tuple[str, ...]  # of the tasks, without the domain
    primal: str  # the task whose environment pre-training uses
    control_steps: int  # length of an episode
    factory: Callable[..., gymnasium.Env] = _dmc  # (domain, name, **settings of ``make``) -> environment


DOMAINS: dict[str, Domain] = {
    "walker": Domain(("stand", "walk", "run", "flip"), primal="stand", control_steps=1000),
    "quadruped": Domain(("walk", "run", "stand", "jump"), primal="walk", control_steps=1000),
    "jaco": Domain(
        ("reach_top_left", "reach_top_right", "reach_bottom_left", "reach_bottom_right"),
        primal="reach_top_left",
        control_steps=250,
    ),
}
TASKS: dict[str, tuple[str, ...]] = {
    domain: tuple(f"{domain}_{name}" for name in entry.names) for domain, entry in DOMAINS.items()
}
PRIMAL_TASKS: dict[str, str] = {domain: f"{domain}_{entry.primal}" for domain, entry in DOMAINS.items()}


def make(
    task: str,
    obs_type: str = "pixels",
    action_repeat: int = 2,
    seed: int = 1,
    image_size: int = 64,
    render_quality: str = "full",
) -> gymnasium.Env:
    """The environment of ``task``; chooses the GL backend first if it has to render.

    Args:
        task: ``<domain>_<name>``, e.g. ``walker_run``: see ``TASKS``.
        obs_type: ``pixels``: uint8 (3, image_size, image_size); ``states``: float32 (D,).
        action_repeat: control steps per agent step; divides the control steps of an episode.
        seed: in [0, 2**32), drives all of the environment's randomness.
        image_size: side of the frame in pixels.
        render_quality: ``full`` is the suite's own image, ``lite`` is faster.

    Raises:
        UserError: a value is unknown or out of range, or nothing can render here.
    """
    domain, name = check_settings(task, obs_type, action_repeat, seed, image_size, render_quality)
    prepare(obs_type)
    return DOMAINS[domain].factory(
        domain,
        name,
        obs_type=obs_type,
        action_repeat=action_repeat,
        seed=seed,
        image_size=image_size,
        render_quality=render_quality,
    )


def validate_task(task: str) -> tuple[str, str]:
    """Splits ``<domain>_<name>`` at the first underscore.

    Raises:
        UserError: there is no such task; suggests the nearest.
    """
    known = [known for tasks in TASKS.values() for known in tasks]
    if task not in known:
        raise unknown_value("task", task, known)
    domain, _, name = task.partition("_")
    return domain, name


def resolve_task(domain: str, task: str | None) -> str:
    """The full task name for ``domain``: ``task`` itself, or the domain's primal task for None or ``none``.

    Raises:
        UserError: the domain or the task is unknown, or the task belongs to another domain.
    """
    if domain not in DOMAINS:
        raise unknown_value("domain", domain, DOMAINS)
    if task is None or task == "none":
        return PRIMAL_TASKS[domain]
    if task in TASKS[domain]:
        return task
    owner = next((other for other, tasks in TASKS.items() if task in tasks), None)
    if owner is not None:
        raise UserError(
            f"task={task} is not a task of domain={domain}. Set domain={owner}, or task to one of "
            f"{', '.join(TASKS[domain])}."
        )
    raise unknown_value("task", task, TASKS[domain])


def check_settings(
    task: str,
    obs_type: str = "pixels",
    action_repeat: int = 2,
    seed: int = 1,
    image_size: int = 64,
    render_quality: str = "full",
) -> tuple[str, str]:
    """Checks what ``make`` is given, without building anything; gives the domain and the task's name in it.

    Raises:
        UserError: a value is unknown or out of range.
    """
    domain, name = validate_task(task)
    if obs_type not in OBS_TYPES:
        raise unknown_value("obs_type", obs_type, OBS_TYPES)
    if render_quality not in RENDER_QUALITIES:
        raise unknown_value("render.quality", render_quality, RENDER_QUALITIES)
    check_positive("action_repeat", action_repeat)
    check_positive("image_size", image_size)
    if not _is_whole(seed) or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed} is not possible. Set it to a whole number from 0 to {2**32 - 1}.")
    length = DOMAINS[domain].control_steps
    if length % action_repeat:
        divisors = ", ".join(str(d) for d in range(1, 21) if length % d == 0)
        raise UserError(
            f"action_repeat={action_repeat} does not divide the {length} control steps of a {domain} episode. "
            f"Set it to a divisor, e.g. one of {divisors}."
        )
    return domain, name


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_positive(key: str, value: int) -> None:
    """Raises UserError unless ``value`` is a whole number above 0."""
    if not _is_whole(value) or value <= 0:
        raise UserError(f"{key}={value} is not possible. Set it to a whole number above 0.")


def prepare(obs_type: str) -> None:
    """Settles the GL backend, which has to happen before this process imports MuJoCo.

    Raises:
        UserError: ``obs_type`` is pixels and nothing can render here.
    """
    if obs_type == "pixels":
        gl.choose_backend()
    else:
        gl.without_rendering()
