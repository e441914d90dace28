"""Task names, and environments made from them."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium

from envs import contract, gl, own
from envs.checks import (
    check_floor,
    check_image_size,
    check_obs_type,
    check_positive,
    check_render_quality,
    check_seed,
)
from envs.goals import GOALS, Goals, reach_goals
from envs.suite_tasks import CONTROL_STEPS, LEFT_OUT, SUITE_TASKS, Body, bodies, long_name
from utils.errors import UserError, unknown_value


def _dmc(domain: str, name: str, **settings) -> gymnasium.Env:
    from envs.dmc import DMCEnv  # imports MuJoCo, so not before the GL backend is chosen

    return DMCEnv(domain, name, **settings)


def _metaworld(domain: str, name: str, **settings) -> gymnasium.Env:
    from envs.metaworld import make_reach  # imports MuJoCo, too

    return make_reach(domain, name, **settings)


@dataclass(frozen=True)
class Domain:
    """A family of tasks on one body, or on bodies that differ little. A new domain is one more entry of ``DOMAINS``."""

    bodies: Mapping[str, Body]  # of the tasks, by name without the domain
    primal: str  # the task whose environment pre-training uses
    control_steps: int  # length of an episode
    exorl: Mapping[str, Body] | None = None  # the bodies in data of ExORL, where they are others
    factory: Callable[..., gymnasium.Env] = _dmc  # (domain, name, **the other settings of ``make``) -> environment
    goals: Goals | None = None  # of tasks that are to reach something
    extra: str | None = None  # the optional package that it needs, which is also the extra of pyproject.toml

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, without the domain."""
        return tuple(self.bodies)


_CORNERS = ("reach_top_left", "reach_top_right", "reach_bottom_left", "reach_bottom_right")

DOMAINS: dict[str, Domain] = {
    "walker": Domain(
        bodies(6, 18, 24, "stand", "walk", "run", "flip"),
        primal="stand",
        control_steps=1000,
        goals=Goals(reached_above=None, poses=True),
    ),
    "quadruped": Domain(
        {**bodies(12, 57, 78, "walk", "run", "stand", "jump"), **bodies(12, 70, 90, "fetch")},
        primal="walk",
        control_steps=1000,
    ),
    "jaco": Domain(
        bodies(9, 31, 55, *_CORNERS),
        primal="reach_top_left",
        control_steps=250,
        exorl=bodies(9, 18, 42, *_CORNERS),
        goals=Goals(reached_above=1e-4),  # a touch within 0.15 m of the brick
    ),
    "mw": Domain(
        bodies(4, None, 39, "reach"),
        primal="reach",
        control_steps=500,
        factory=_metaworld,
        goals=Goals(reached_above=0.0, in_sets=True),
        extra="metaworld",
    ),
    **{domain: Domain(tasks, next(iter(tasks)), CONTROL_STEPS) for domain, tasks in SUITE_TASKS.items()},
}
TASKS: dict[str, tuple[str, ...]] = {
    domain: tuple(f"{domain}_{name}" for name in entry.names) for domain, entry in DOMAINS.items()
}
GOAL_KEYS = ("goal_seed", "task_id")
"""Settings of tasks whose goals are in sets."""
PRIMAL_TASKS: dict[str, str] = {domain: f"{domain}_{entry.primal}" for domain, entry in DOMAINS.items()}


@dataclass(frozen=True)
class EnvSettings:
    """What an environment is made from.

    Of several that are wrong, the first in this order is named.
    """

    task: str
    """``<domain>_<name>``, e.g. ``walker_run`` or ``ball_in_cup_catch``: see ``TASKS``."""
    obs_type: str = "pixels"
    """``pixels``: uint8 (3, image_size, image_size); ``states``: float32 (D,)."""
    action_repeat: int = 2
    """Control steps per agent step; divides the control steps of an episode."""
    seed: int = 1
    """In [0, 2**32), drives all of the environment's randomness."""
    image_size: int = 64
    """Side of the frame in pixels, at least 16."""
    render_quality: str = "full"
    """``full`` is the suite's own image, ``lite`` is faster."""
    env_factory: str | None = None
    """Import path of a function that makes another environment: see :mod:`envs.contract`. ``task`` is a name of its
    own then, and the control steps of an episode are its affair.
    """
    goal_seed: int | None = None
    """Of tasks whose goals are in sets: which set, in [0, 2**32); None is that of ``seed``."""
    task_id: int | None = None
    """Of them: the goal of all episodes, 0 to 49; None draws one for each."""
    exorl: bool = False
    """The variant in which ExORL collected its data, where the domain has one: jaco reaches for a mark, not a brick."""
    floor: str = "default"
    """``gradient``: colours that tell places apart, on tasks of the suite: see :mod:`envs.floor`."""

    def check(self) -> None:
        """Checks all values, without building anything.

        Raises:
            UserError: a value is unknown or out of range.
        """
        if self.env_factory is None:
            validate_task(self.task)
        check_obs_type(self.obs_type)
        check_render_quality(self.render_quality)
        check_floor(self.floor)
        check_positive("action_repeat", self.action_repeat)
        check_image_size(self.image_size)
        check_seed(self.seed)
        if not self.has_sets:
            self._no_sets()
        if self.floor != "default" and not self._of_suite:
            what = f"task={self.task}" if self.env_factory is None else f"env_factory={self.env_factory}"
            raise UserError(f"floor={self.floor}: {what} is none of the suite's. Set floor=default.")
        if self.env_factory is not None:
            return
        domain, _ = validate_task(self.task)
        length = DOMAINS[domain].control_steps
        if length % self.action_repeat:
            divisors = ", ".join(str(d) for d in range(1, 21) if length % d == 0)
            raise UserError(
                f"action_repeat={self.action_repeat} does not divide the {length} control steps of a {domain} episode. "
                f"Set it to a divisor, e.g. one of {divisors}."
            )

    def _no_sets(self) -> None:
        for key in GOAL_KEYS:
            if (value := getattr(self, key)) is not None:
                what = f"task={self.task}" if self.env_factory is None else f"env_factory={self.env_factory}"
                raise UserError(
                    f"{key}={value}: {what} has no sets of goals. Set domain=mw task=mw_reach, or leave {key} and "
                    "configs=mw_pixels out."
                )

    def given(self) -> dict[str, Any]:
        """What a factory is called with, besides the task."""
        left_out = {"task", "env_factory"}
        if not self.has_sets:
            left_out |= set(GOAL_KEYS)
        if self.env_factory is not None or DOMAINS[validate_task(self.task)[0]].exorl is None:
            left_out.add("exorl")
        if not self._of_suite:
            left_out.add("floor")
        return {key: value for key, value in asdict(self).items() if key not in left_out}

    @property
    def _of_suite(self) -> bool:
        return self.env_factory is None and DOMAINS[validate_task(self.task)[0]].factory is _dmc

    @property
    def has_sets(self) -> bool:
        """Whether the task has the goals of a set."""
        goals = goals_of(self.task, self.env_factory)
        return goals is not None and goals.in_sets


def make(task: str, obs_type: str = "pixels", **settings: Any) -> gymnasium.Env:
    """The environment of ``task``; chooses the GL backend first if it has to render.

    Args:
        task, obs_type, settings: the fields of :class:`EnvSettings`.

    Raises:
        UserError: a value is unknown or out of range, nothing can render here, or ``env_factory`` makes no environment.
    """
    wanted = EnvSettings(task, obs_type, **settings)
    wanted.check()
    if wanted.env_factory is not None:
        return own.build(wanted.env_factory, task, **wanted.given())
    prepare(wanted.obs_type)
    domain, name = validate_task(task)
    return DOMAINS[domain].factory(domain, name, **wanted.given())


def sizes(settings: EnvSettings) -> contract.Sizes:
    """Sizes of the environment of checked ``settings``, for what is planned before it is made.

    Those of the tasks here are known without loading the simulator; another environment is made for it, looked at and
    closed, once in a process.

    Raises:
        UserError: there is no such task, or the environment breaks the contract.
    """
    if settings.env_factory is not None:
        return contract.sizes(settings.env_factory, settings.task, **settings.given())
    domain, _ = validate_task(settings.task)
    moved = body(settings.task, settings.exorl)
    return contract.Sizes(moved.actions, moved.state, DOMAINS[domain].control_steps // settings.action_repeat)


def observation_shape(settings: EnvSettings) -> tuple[int, ...]:
    """Shape of an observation, before the environment is made: (3, image_size, image_size) of images, (D,) of states.

    Raises:
        UserError: as :func:`sizes`.
    """
    if settings.obs_type == "pixels":
        return (3, settings.image_size, settings.image_size)
    if settings.env_factory is not None:
        return contract.observation_shape(settings.env_factory, settings.task, **settings.given())
    return (body(settings.task, settings.exorl).observed,)


def validate_task(task: str) -> tuple[str, str]:
    """Splits ``<domain>_<name>`` after the domain, which may hold underscores itself: ``humanoid_CMU``, ``run``.

    Raises:
        UserError: there is no such task; suggests the nearest.
    """
    for domain, tasks in TASKS.items():
        if task in tasks:
            return domain, task.removeprefix(f"{domain}_")
    raise _unknown_task(task)


def canonical_task(name: str) -> str:
    """The full task name of ``name``, which may be written as other code bases do: with a prefix ``dmc_``, and ``cup``
    for ``ball_in_cup``. A task's own name is returned as it is.

    Raises:
        UserError: there is no such task; suggests the nearest.
    """
    task = long_name(name)
    validate_task(task)
    return task


def body(task: str, exorl: bool = False) -> Body:
    """Sizes of the task's actions, simulator states and observations of states, known without loading the simulator;
    with ``exorl`` those of the data of ExORL.

    Raises:
        UserError: there is no such task; suggests the nearest.
    """
    domain, name = validate_task(task)
    entry = DOMAINS[domain]
    return (entry.exorl if exorl and entry.exorl is not None else entry.bodies)[name]


def goals_of(task: str, env_factory: str | None = None) -> Goals | None:
    """The goals that the task is to reach; None for one that is to do something else, or is of ``env_factory``.

    Raises:
        UserError: there is no such task; suggests the nearest.
    """
    return None if env_factory is not None else DOMAINS[validate_task(task)[0]].goals


def places(settings: EnvSettings) -> list[tuple[int, tuple[float, float, float]]]:
    """The goals that episodes of checked ``settings`` have, by their numbers: x, y and z in m; of poses, of the torso.

    Where a task is one goal, its number is 0. Imports MuJoCo for that.

    Raises:
        UserError: the task has no goals.
    """
    _, name = validate_task(settings.task)
    goals = goals_of(settings.task)
    if goals is None:
        raise UserError(f"task={settings.task} has no goals. Choose one of {', '.join(with_goals())}.")
    if goals.in_sets:
        drawn = reach_goals(settings.seed if settings.goal_seed is None else settings.goal_seed)[:, 3:]
        numbers = range(GOALS) if settings.task_id is None else [settings.task_id]
        return [(number, tuple(drawn[number].tolist())) for number in numbers]
    if goals.poses:
        from envs.poses import heights

        return [(number, (0.0, 0.0, height)) for number, height in enumerate(heights())]
    from envs.custom_dmc_tasks.jaco import DROP_HEIGHT, TARGETS

    return [(0, (*TARGETS[name.removeprefix("reach_")], DROP_HEIGHT))]


def with_goals() -> list[str]:
    """The tasks that have goals."""
    return [task for domain, tasks in TASKS.items() if DOMAINS[domain].goals is not None for task in tasks]


def _unknown_task(task: str) -> UserError:
    """Names the tasks of the domain that ``task`` begins with, the longest one, or else the domains."""
    task = str(task)
    if task in LEFT_OUT:
        return UserError(f"task={task} is not offered: {LEFT_OUT[task]}. Choose another task.")
    begun = [domain for domain in DOMAINS if f"{task}_".startswith(f"{domain}_")]
    if begun:
        return unknown_value("task", task, TASKS[max(begun, key=len)])
    near = difflib.get_close_matches(task, [known for tasks in TASKS.values() for known in tasks], n=1)
    hint = f" Did you mean task={near[0]}?" if near else ""
    return UserError(f"task={task} is not known. Allowed: tasks of the domains {', '.join(sorted(DOMAINS))}.{hint}")


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
    if task in LEFT_OUT:
        raise _unknown_task(task)
    raise unknown_value("task", task, TASKS[domain])


def prepare(obs_type: str) -> None:
    """Settles the GL backend, which has to happen before this process imports MuJoCo.

    Raises:
        UserError: ``obs_type`` is pixels and nothing can render here.
    """
    if obs_type == "pixels":
        gl.choose_backend()
    else:
        gl.without_pictures()
