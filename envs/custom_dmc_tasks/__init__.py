"""Tasks that the Unsupervised RL Benchmark adds to the DeepMind Control suite, on the suite's own models."""

from dm_control import suite
from dm_control.rl import control

from envs.custom_dmc_tasks import quadruped, walker

CUSTOM_TASKS = {
    ("walker", "flip"): walker.flip,
    ("quadruped", "stand"): quadruped.stand,
    ("quadruped", "jump"): quadruped.jump,
}


def load(domain: str, task: str, seed: int) -> control.Environment:
    """The environment of ``task`` in ``domain``, custom or stock.

    Args:
        domain: name of a suite domain, e.g. ``walker``.
        task: name of the task without its domain, e.g. ``flip``.
        seed: seeds the task's own random state, which draws every initial state.

    Raises:
        ValueError: the suite knows no such domain or task.
    """
    if (domain, task) in CUSTOM_TASKS:
        return CUSTOM_TASKS[domain, task](random=seed)
    return suite.load(domain, task, task_kwargs={"random": seed})
