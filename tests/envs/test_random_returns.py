"""Returns of the uniform random policy against the benchmark's, measured on its own environments.

30 episodes each, environment seed 1, actions uniform in [-1, 1] held for 2 control steps.
"""

import numpy as np
import pytest

from envs.custom_dmc_tasks import load
from envs.make import make, validate_task

EPISODES = 30
REFERENCE = {  # mean and standard deviation of the return
    "walker_stand": (136.5, 15.6),
    "walker_walk": (40.0, 7.7),
    "walker_run": (25.0, 2.4),
    "walker_flip": (57.6, 6.5),
    "quadruped_walk": (105.0, 195.0),
    "quadruped_run": (106.0, 194.0),
    "quadruped_stand": (211.0, 388.0),
    "quadruped_jump": (160.0, 293.0),
    "jaco_reach_top_left": (2.3, 7.8),
    "jaco_reach_top_right": (7.1, 16.1),
    "jaco_reach_bottom_left": (1.9, 7.4),
    "jaco_reach_bottom_right": (2.2, 11.8),
}


def assert_agrees(task, returns):
    mean, std = REFERENCE[task]
    error = np.hypot(std, np.std(returns, ddof=1)) / np.sqrt(EPISODES)
    print(
        f"{task}: {np.mean(returns):.1f} +- {np.std(returns):.1f} (median {np.median(returns):.1f}, max "
        f"{np.max(returns):.0f}); reference {mean} +- {std}; {(np.mean(returns) - mean) / error:+.2f} standard errors"
    )
    assert abs(np.mean(returns) - mean) < 3 * error


@pytest.mark.parametrize("domain", ["walker", pytest.param("quadruped", marks=pytest.mark.long)])
def test_random_returns(domain):
    """One simulation per domain, scored by all of its tasks: their physics and initial states are the same."""
    names = [task for task in REFERENCE if task.startswith(domain)]
    env = make(names[0], obs_type="states", seed=1, action_repeat=1)
    scorers = {task: load(*validate_task(task), seed=0).task for task in names}
    rng = np.random.default_rng(0)
    returns = {task: np.zeros(EPISODES) for task in names}
    for episode in range(EPISODES):
        env.reset()
        for step in range(1000):
            if step % 2 == 0:
                action = rng.uniform(-1, 1, env.action_space.shape)
            env.step(action)
            for task, scorer in scorers.items():
                returns[task][episode] += scorer.get_reward(env.physics)
    for task in names:
        assert_agrees(task, returns[task])


@pytest.mark.long
@pytest.mark.parametrize("task", REFERENCE)
def test_random_returns_of_each_environment(task):
    env = make(task, obs_type="states", seed=1)
    rng = np.random.default_rng(0)
    returns = []
    for _ in range(EPISODES):
        env.reset()
        total, truncated = 0.0, False
        while not truncated:
            _, reward, _, truncated, _ = env.step(rng.uniform(-1, 1, env.action_space.shape))
            total += reward
        returns.append(total)
    assert_agrees(task, returns)
