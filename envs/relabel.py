"""Rewards of any task of a domain, computed from the simulator's states that another task's data hold."""

from collections.abc import Callable

import numpy as np

from envs.make import DOMAINS, TASKS, body, prepare, validate_task
from utils.errors import UserError, unknown_value

HIDDEN_DOMAINS = ("dog", "manipulator", "mw", "reacher", "stacker", "swimmer")
HIDDEN_TASKS = ("finger_turn_easy", "finger_turn_hard", "fish_swim")
"""Whose reward depends on what is drawn at a reset and lies outside the simulator's state, e.g. a target's place."""


def check_relabel(domain: str, task: str) -> None:
    """Raise :class:`UserError` unless the reward of ``task`` can be computed from states of ``domain``."""
    if domain not in DOMAINS:
        raise unknown_value("domain", domain, DOMAINS)
    if task not in TASKS[domain]:
        raise unknown_value("relabel_task", task, TASKS[domain])
    if domain in HIDDEN_DOMAINS or task in HIDDEN_TASKS:
        raise UserError(
            f"relabel_task={task} is not possible: its reward depends on what is drawn at a reset, which simulator "
            "states do not hold. Choose another task, or leave it out for the stored reward."
        )


def relabeller(task: str, exorl: bool = True) -> Callable[[np.ndarray], np.ndarray]:
    """A function of simulator states float64 (L, P) -> rewards of ``task``, float32 (L,), one of every state.

    A state is set with no action acting, and positions, velocities and sensors of both are computed from it: the
    rewards are those of ExORL (Yarats et al. 2022), which sets states in a reset. That is exact where they follow from
    the state alone. Some tasks add a term for small actions (cartpole but ``_sparse``, hopper stand, humanoid); theirs
    is the reward of the action 0 then.

    Args:
        exorl: states are those of ExORL's variant of the domain, where there is one.

    Raises:
        UserError: there is no such task, or it is none that :func:`check_relabel` takes; the function, when states are
            of another size.
    """
    domain, name = validate_task(task)
    check_relabel(domain, task)
    prepare("states")
    import mujoco  # not before the GL backend is chosen

    from envs.custom_dmc_tasks import load

    env = load(domain, name, 0, exorl)
    env.reset()  # some tasks look at their model then
    physics, size = env.physics, body(task, exorl).state

    def rewards(states: np.ndarray) -> np.ndarray:
        if states.ndim != 2 or states.shape[1] != size:
            raise UserError(
                f"relabel_task={task}: its simulator's states have {size} numbers, and these have the shape "
                f"{states.shape}. They are of another body."
            )
        found = np.empty(len(states), np.float32)
        with physics.reset_context():  # no action, time 0
            for row, state in enumerate(states):
                physics.set_state(state)
                # what a step ends with: no forces, which cost most and reward nothing
                mujoco.mj_step1(physics.model.ptr, physics.data.ptr)
                found[row] = env.task.get_reward(physics)
        return found

    return rewards
