"""The tasks of dm_control's suite, as a table: known before MuJoCo, which loads a renderer, may be imported.

A test holds every line to ``dm_control.suite`` itself: names, sizes, and the length of an episode.
"""

from typing import NamedTuple

CONTROL_STEPS = 1000
"""Of an episode, whatever the task: time limit (10 to 40 s) over control timestep (0.01 to 0.04 s)."""


class Body(NamedTuple):
    """Sizes of what a task moves."""

    actions: int
    """Numbers in an action."""
    state: int | None
    """Numbers in the simulator's state: positions, velocities and activations (``info["physics"]``); None where that is
    not enough to say where the body is."""
    observed: int
    """Numbers in an observation of ``obs_type=states``."""


def bodies(actions: int, state: int | None, observed: int, *names: str) -> dict[str, Body]:
    """The same body for all tasks ``names``."""
    return dict.fromkeys(names, Body(actions, state, observed))


SUITE_TASKS: dict[str, dict[str, Body]] = {
    "acrobot": bodies(1, 4, 6, "swingup", "swingup_sparse"),
    "ball_in_cup": bodies(2, 8, 8, "catch"),
    "cartpole": {
        **bodies(1, 4, 5, "swingup", "swingup_sparse", "balance", "balance_sparse"),
        **bodies(1, 6, 8, "two_poles"),
        **bodies(1, 8, 11, "three_poles"),
    },
    "cheetah": bodies(6, 18, 17, "run"),
    "dog": {**bodies(38, 197, 223, "stand", "walk", "trot", "run"), **bodies(38, 210, 232, "fetch")},
    "finger": {**bodies(2, 6, 9, "spin"), **bodies(2, 6, 12, "turn_easy", "turn_hard")},
    "fish": {**bodies(5, 27, 21, "upright"), **bodies(5, 27, 24, "swim")},
    "hopper": bodies(4, 14, 15, "stand", "hop"),
    "humanoid": {**bodies(21, 55, 67, "stand", "walk", "run"), **bodies(21, 55, 55, "run_pure_state")},
    "humanoid_CMU": bodies(56, 125, 137, "stand", "walk", "run"),
    "manipulator": bodies(5, 22, 44, "bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": bodies(1, 2, 3, "swingup"),
    "point_mass": bodies(2, 4, 4, "easy", "hard"),
    "reacher": bodies(2, 4, 6, "easy", "hard"),
    "stacker": {**bodies(5, 28, 49, "stack_2"), **bodies(5, 40, 63, "stack_4")},
    "swimmer": {**bodies(5, 16, 25, "swimmer6"), **bodies(14, 34, 61, "swimmer15")},
}
"""Domain -> task, without its domain -> body. The first task is the domain's primal one, in which pre-training runs:
what a body learns first (stand before run, one prop before two), and of a cartpole the swing-up, as balancing starts
upright.

Not here are walker and quadruped, whose tasks are listed in ``envs.make`` beside the custom ones.
"""

LEFT_OUT: dict[str, str] = {
    "lqr_lqr_2_1": "its episodes have no time limit",
    "lqr_lqr_6_2": "its episodes have no time limit",
    "quadruped_escape": "it needs a renderer even to observe states, and sets that up before its quality can be chosen",
}
"""Tasks of the suite that are not offered -> why."""

PREFIX = "dmc_"
SHORT_DOMAINS = {"cup": "ball_in_cup"}
"""Domain as other code bases shorten it -> its name in the suite."""


def long_name(task: str) -> str:
    """The suite's name for a task as other code bases write it: ``dmc_cup_catch`` and ``cup_catch`` are
    ``ball_in_cup_catch``. Other names, known or not, are returned without the prefix ``dmc_``.
    """
    task = task.removeprefix(PREFIX)
    for short, domain in SHORT_DOMAINS.items():
        if task.startswith(f"{short}_"):
            return domain + task.removeprefix(short)
    return task
