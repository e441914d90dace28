"""How many of the published goals can be reached at all, and how many by chance; nothing is drawn.

``pytest tests/envs/test_goals_reached.py -m "" -s`` prints a line per set.
"""

from collections.abc import Callable

import numpy as np
import pytest

from envs import gl
from envs.goals import GOALS, PUBLISHED_SETS, reach_goals

REACHED = (40, 43, 44, 45, 47, 43, 45, 41, 44, 46)
"""By a proportional controller in 500 control steps, of every set."""


def successes(number: int, act: Callable) -> int:
    """The goals of a set that an episode of actions ``act(environment)`` reaches."""
    from envs.metaworld import Reach

    env = Reach(2, reach_goals(number))
    found = 0
    for goal in range(GOALS):
        env.aim(goal)
        env.reset(seed=0)
        for _ in range(env.max_episode_steps):
            if env.step(act(env))[1]:
                found += 1
                break
    return found


def test_a_controller_reaches_every_goal_of_a_few_but_those_beyond_the_hands_box():
    gl.without_pictures()
    from envs.metaworld import Reach

    env = Reach(2, reach_goals(0))
    reached = []
    for goal in range(8):
        env.aim(goal)
        env.reset(seed=0)
        reached.append(any(env.step(env.towards_goal())[1] for _ in range(60)))
    assert reached == [bool(y >= 0.35) for y in reach_goals(0)[:8, 4]]


@pytest.mark.long
def test_a_controller_reaches_as_many_of_each_set_as_others_found():
    gl.without_pictures()
    found = tuple(successes(number, lambda env: env.towards_goal()) for number in range(PUBLISHED_SETS))
    print(f"\nproportional controller: {found}, {sum(found)} of {PUBLISHED_SETS * GOALS}")
    assert found == REACHED
    assert 0.85 <= sum(found) / (PUBLISHED_SETS * GOALS) <= 0.9


@pytest.mark.long
def test_random_actions_reach_next_to_none():
    gl.without_pictures()
    random = np.random.default_rng(0)
    act = lambda env: random.uniform(-1, 1, 4)  # noqa: E731
    found = tuple(successes(number, act) for number in range(PUBLISHED_SETS))
    print(f"\nrandom actions: {found}, {sum(found)} of {PUBLISHED_SETS * GOALS}")
    assert 0.005 <= sum(found) / (PUBLISHED_SETS * GOALS) <= 0.04
