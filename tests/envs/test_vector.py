"""Several environments at once: seeds, partial resets, save and restore."""

from functools import partial

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.make import make
from envs.vector import env_seed, get_states, make_vector, set_states
from utils.errors import UserError


def random_actions(venv, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *venv.action_space.shape)).astype(np.float32)


def assert_same_steps(first, second, actions):
    for action in actions:
        one, two = first.step(action), second.step(action)
        np.testing.assert_array_equal(one[0]["observation"], two[0]["observation"])
        for a, b in zip(one[1:4], two[1:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(one[4]["physics"], two[4]["physics"])


def finish(venv):
    """Steps until some environment reaches its time limit; gives which."""
    truncated = np.zeros(venv.num_envs, bool)
    while not truncated.any():
        _, _, _, truncated, _ = venv.step(np.zeros(venv.action_space.shape, np.float32))
    return truncated


def test_env_i_is_the_single_environment_of_its_seed():
    venv = make_vector("walker_walk", 3, obs_type="states", seed=7)
    singles = [make("walker_walk", obs_type="states", seed=env_seed(7, i)) for i in range(3)]
    observation, info = venv.reset()
    np.testing.assert_array_equal(observation["observation"], [env.reset()[0]["observation"] for env in singles])
    assert info["physics"].shape == (3, 18) and info["physics"].dtype == np.float64
    for action in random_actions(venv, 5):
        observation, reward, terminated, truncated, info = venv.step(action)
        steps = [env.step(part) for env, part in zip(singles, action, strict=True)]
        np.testing.assert_array_equal(observation["observation"], [step[0]["observation"] for step in steps])
        np.testing.assert_array_equal(reward, [step[1] for step in steps])
        np.testing.assert_array_equal(info["physics"], [step[4]["physics"] for step in steps])
        np.testing.assert_array_equal(info["frames"], 2)
        assert not terminated.any() and not truncated.any()


def test_seeds_of_neighbouring_runs_do_not_overlap():
    seeds = {env_seed(seed, index) for seed in range(50) for index in range(8)}
    assert len(seeds) == 400
    assert env_seed(1, 0) not in (0, 1)
    assert all(type(seed) is int and 0 <= seed < 2**32 for seed in seeds)


def test_only_masked_environments_are_reset():
    venv = make_vector("walker_walk", 3, obs_type="states")
    venv.reset()
    venv.step(random_actions(venv, 1)[0])
    before = get_states(venv)
    shown = np.stack([env.last_observation()["observation"] for env in venv.envs])
    observation, _ = venv.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(observation["observation"][[0, 2]], shown[[0, 2]])
    assert not np.array_equal(observation["observation"][1], shown[1])
    lengths = [len(state["actions"]) for state in get_states(venv)]
    assert lengths == [1, 0, 1] and [len(state["actions"]) for state in before] == [1, 1, 1]


def test_no_environment_resets_itself():
    venv = make_vector("walker_walk", 2, obs_type="states")
    assert venv.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    venv.reset()
    assert finish(venv).all()
    assert [state["running"] for state in get_states(venv)] == [False, False]
    with pytest.raises(AssertionError):
        venv.step(np.zeros(venv.action_space.shape, np.float32))
    venv.reset(options={"reset_mask": np.array([True, True])})
    venv.step(np.zeros(venv.action_space.shape, np.float32))


@pytest.mark.parametrize("obs_type", ["states", "pixels"])
def test_restored_environments_go_on_identically(obs_type):
    settings = {"obs_type": obs_type, "render_quality": "lite"}
    venv = make_vector("quadruped_walk", 2, seed=1, **settings)
    venv.reset()
    for action in random_actions(venv, 3):
        venv.step(action)
    venv.reset(options={"reset_mask": np.array([True, False])})  # the two are at different times
    for action in random_actions(venv, 4, seed=1):
        observation, *_ = venv.step(action)
    states = get_states(venv)

    other = make_vector("quadruped_walk", 2, seed=2, **settings)
    restored = set_states(other, states)
    np.testing.assert_array_equal(restored["observation"], observation["observation"])
    mask = {"reset_mask": np.array([False, True])}
    one, _ = venv.reset(options=dict(mask))
    two, _ = other.reset(options=dict(mask))
    np.testing.assert_array_equal(one["observation"], two["observation"])
    np.testing.assert_array_equal(one["observation"][0], observation["observation"][0])
    assert_same_steps(venv, other, random_actions(venv, 5, seed=2))
    np.testing.assert_array_equal(venv.reset()[0]["observation"], other.reset()[0]["observation"])


def test_restore_clears_and_keeps_ends_of_episodes():
    venv = make_vector("walker_walk", 2, obs_type="states")
    venv.reset()
    for action in random_actions(venv, 3):
        venv.step(action)
    venv.reset(options={"reset_mask": np.array([False, True])})
    running = get_states(venv)
    assert finish(venv).tolist() == [True, False]
    ended = get_states(venv)
    assert [state["running"] for state in ended] == [False, True]
    set_states(venv, running)
    venv.step(random_actions(venv, 1)[0])  # possible although environment 0 had ended

    other = make_vector("walker_walk", 2, obs_type="states", seed=8)
    observation = set_states(other, ended)["observation"]
    assert not observation[0].any() and observation[1].any()
    after, _ = other.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(after["observation"][1], observation[1])
    other.step(random_actions(other, 1)[0])


def test_worker_processes_restore_alike():
    serial = make_vector("walker_walk", 2, obs_type="states", seed=3)
    serial.reset()
    for action in random_actions(serial, 3):
        serial.step(action)
    makers = [partial(make, "walker_walk", obs_type="states", seed=seed) for seed in (5, 6)]
    workers = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED, context="spawn")
    try:
        set_states(workers, get_states(serial))
        assert_same_steps(serial, workers, random_actions(serial, 3, seed=1))
        for a, b in zip(get_states(serial), get_states(workers), strict=True):
            np.testing.assert_array_equal(a["actions"], b["actions"])
    finally:
        workers.close()


def test_bad_input():
    with pytest.raises(UserError, match="num_envs=0"):
        make_vector("walker_walk", 0, obs_type="states")
    with pytest.raises(UserError, match="task=walker_wlk"):
        make_vector("walker_wlk", 1)
    venv = make_vector("walker_walk", 2, obs_type="states")
    with pytest.raises(ValueError, match="1 states for 2 environments"):
        set_states(venv, get_states(venv)[:1])
