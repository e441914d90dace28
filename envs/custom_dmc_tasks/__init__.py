"""Tasks that the Unsupervised RL Benchmark adds to the DeepMind Control suite, on dm_control's own models."""

from collections.abc import Callable
from functools import partial

import dm_env
from dm_control import suite

from envs.custom_dmc_tasks import jaco, quadruped, walker

CUSTOM_TASKS: dict[tuple[str, str], Callable[..., dm_env.Environment]] = {
    ("walker", "flip"): walker.flip,
    ("quadruped", "stand"): quadruped.stand,
    ("quadruped", "jump"): quadruped.jump,
    **{("jaco", f"reach_{corner}"): partial(jaco.reach, corner) for corner in jaco.TARGETS},
}

EXORL_TASKS: dict[tuple[str, str], Callable[..., dm_env.Environment]] = {
    ("jaco", f"reach_{corner}"): partial(jaco.reach, corner, exorl=True) for corner in jaco.TARGETS
}
"""Tasks whose body was another one when ExORL collected its data."""


def load(domain: str, task: str, seed: int, exorl: bool = False) -> dm_env.Environment:
    """The environment of ``task`` in ``domain``, custom or stock.

    Besides what dm_env asks for it has dm_control's ``physics``, ``control_timestep()`` and a ``task`` whose ``random``
    draws every initial state.

    Args:
        domain: name of a domain, e.g. ``walker``.
        task: name of the task without its domain, e.g. ``flip``.
        seed: seeds the task's own random state.
        exorl: the variant in which ExORL collected its data, where there is one.

    Raises:
        ValueError: the suite knows no such domain or task.
    """
    if exorl and (domain, task) in EXORL_TASKS:
        return EXORL_TASKS[domain, task](random=seed)
    if (domain, task) in CUSTOM_TASKS:
        return CUSTOM_TASKS[domain, task](random=seed)
    return suite.load(domain, task, task_kwargs={"random": seed})
