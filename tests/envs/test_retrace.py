"""Going through the episodes of a run again: what it shows is what the run's environments would have shown."""

import numpy as np
import pytest

from envs.make import make
from envs.retrace import Retrace
from envs.vector import env_seed, make_vector
from utils.errors import UserError

SEED = 11


def played(env, steps, rng):
    """An episode of random actions: observations, states, actions, row 0 the reset's."""
    observation, info = env.reset()
    shown, states, actions = [observation["observation"]], [info["physics"]], [np.zeros(env.action_space.shape)]
    for _ in range(steps):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, _, _, _, info = env.step(action)
        shown.append(observation["observation"])
        states.append(info["physics"])
        actions.append(action)
    return tuple(np.stack(part).astype(part[-1].dtype) for part in (shown, states, actions))


@pytest.mark.parametrize(
    "task, repeat", [("walker_run", 2), ("quadruped_walk", 1), ("jaco_reach_top_left", 1), ("reacher_easy", 2)]
)
def test_states_with_their_sensors_and_targets(task, repeat):
    rng = np.random.default_rng(0)
    env = make(task, obs_type="states", action_repeat=repeat, seed=env_seed(SEED, 1))
    episodes = [played(env, 12, rng) for _ in range(4)]
    again = Retrace(task, seed=SEED, index=1, action_repeat=repeat, obs_type="pixels")
    for number, resets in ((0, 0), (2, 5), (3, 0)):  # one is not stored
        shown, states, actions = episodes[number]
        found = again.episode(states, actions, resets)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, shown)
    again.close()


def test_images_and_states_are_of_the_same_episode():
    settings = {"action_repeat": 10, "image_size": 16, "render_quality": "lite"}
    envs = make_vector("walker_run", 2, seed=SEED, obs_type="pixels", **settings)
    rng = np.random.default_rng(0)
    _, info = envs.reset()
    states, actions = [info["physics"]], [np.zeros((2, 6))]
    for _ in range(10):
        actions.append(rng.uniform(-1, 1, (2, 6)).astype(np.float32))
        states.append(envs.step(actions[-1])[-1]["physics"])
    envs.close()
    for index in range(2):
        again = Retrace("walker_run", seed=SEED, index=index, obs_type="pixels", **settings)
        found = again.episode(np.stack(states)[:, index], np.stack(actions)[:, index], 0)
        assert found.shape == (11, 24)


def test_an_environment_that_goes_another_way():
    rng = np.random.default_rng(0)
    shown, states, actions = played(make("walker_run", "states", seed=env_seed(SEED, 0)), 8, rng)
    with pytest.raises(UserError, match="walker_run.*environment 1"):
        Retrace("walker_run", seed=SEED, index=1).episode(states, actions, 3)
    actions[5] = 0
    with pytest.raises(UserError, match="step 5"):
        Retrace("walker_run", seed=SEED, index=0).episode(states, actions, 0)
