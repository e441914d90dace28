"""Save and restore by replaying actions, and the adapters around it."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from own_kit import LONGEST, Drift

from envs.adapters import PixelObservation, RepeatedActions, ScaledActions, StateObservation, adapt, longest_episode
from envs.contract import check_env
from envs.replayed import ReplayedEnv
from utils.errors import UserError


def actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)


def replayed(seed=0, **settings):
    return ReplayedEnv(ScaledActions(Drift(**settings)), seed)


def course(env, moves):
    """Everything that happens on the way."""
    found = []
    for move in moves:
        observation, reward, terminated, truncated, _ = env.step(move)
        found.append([*np.ravel(observation), reward, terminated, truncated])
    return found


def test_a_saved_episode_goes_on_in_another_instance_bit_for_bit():
    one, two = replayed(seed=5), replayed(seed=9)
    one.reset()
    course(one, actions(3))
    one.reset()  # the episode before was broken off, which counts
    course(one, actions(4, seed=1))
    state = one.get_state()
    assert state["actions"].shape == (4, 2) and (state["seed"], state["episode"], state["running"]) == (5, 1, True)
    present = two.set_state(state)
    assert np.array_equal(present, one.unwrapped.place)
    rest = actions(LONGEST - 4, seed=2)
    assert course(one, rest) == course(two, rest)
    assert np.array_equal(one.reset()[0], two.reset()[0])


def test_a_state_is_not_changed_by_what_comes_after_it():
    env = replayed()
    env.reset()
    course(env, actions(2))
    state = env.get_state()
    copy = state["actions"].copy()
    after = course(env, actions(3, seed=1))
    assert np.array_equal(state["actions"], copy)
    env.set_state(state)
    assert course(env, actions(3, seed=1)) == after


@pytest.mark.parametrize("steps", [0, LONGEST])
def test_between_episodes_the_next_one_is_restored(steps):
    one, two = replayed(seed=3), replayed(seed=4)
    if steps:
        one.reset()
        course(one, actions(steps))
    state = one.get_state()
    assert not state["running"] and len(state["actions"]) == 0 and state["episode"] == (1 if steps else 0)
    assert two.set_state(state) is None
    with pytest.raises(ResetNeeded):
        two.step(actions(1)[0])
    assert np.array_equal(one.reset()[0], two.reset()[0])


def test_episodes_differ_and_a_seed_begins_them_anew():
    env = replayed(seed=1)
    first, second = env.reset()[0], env.reset()[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(env.reset(seed=1)[0], first) and np.array_equal(env.reset()[0], second)
    assert not np.array_equal(replayed(seed=2).reset()[0], first)


def test_states_that_do_not_fit_are_refused():
    env = replayed()
    env.reset()
    state = env.get_state()
    with pytest.raises(ValueError, match="3"):
        env.set_state(state | {"actions": np.zeros((2, 3), np.float32)})
    with pytest.raises(ValueError, match=f"{LONGEST + 1}"):
        env.set_state(state | {"actions": np.zeros((LONGEST + 1, 2), np.float32)})


def test_actions_are_scaled_and_clipped():
    env = ScaledActions(Drift())
    env.reset()
    assert env.action(np.array([-1, 1], np.float32)).tolist() == [0, 10]
    assert env.action(np.array([0, 0.5], np.float32)).tolist() == [5, 7.5]
    assert env.action(np.array([-3, 3], np.float32)).tolist() == [0, 10]
    endless = Drift()
    endless.action_space = spaces.Box(-np.inf, np.inf, (2,))
    for space in (endless.action_space, spaces.Discrete(3)):
        endless.action_space = space
        with pytest.raises(UserError, match="action space"):
            ScaledActions(endless)


def test_a_repeated_action_sums_rewards_and_stops_with_the_episode():
    once, env = Drift(), RepeatedActions(Drift(), 5, max_episode_steps=LONGEST)
    assert env.max_episode_steps == 3 == longest_episode(env)  # 5 + 5 + 2
    once.reset(seed=0)
    env.reset(seed=0)
    for expected in (5, 5, 2):
        rewards = [once.step(np.ones(2))[1] for _ in range(expected)]
        _, reward, _, truncated, _ = env.step(np.ones(2))
        assert reward == pytest.approx(sum(rewards), abs=0)
        assert truncated == (expected == 2)


def test_pictures_are_drawn_for_the_agent_and_once_after_a_restore():
    env = adapt(Drift(), action_repeat=2, image_size=20, max_episode_steps=LONGEST)
    assert isinstance(env, PixelObservation)
    observation, _ = env.reset()
    for move in actions(4):
        observation, *_ = env.step(move)
    image = observation["observation"]
    assert image.shape == (3, 20, 20) and image.dtype == np.uint8
    assert (image[2] == 8).all()  # the colour that counts control steps
    assert env.unwrapped.drawn == 5
    seen = env.set_state(env.get_state())
    assert np.array_equal(seen["observation"], image) and env.unwrapped.drawn == 6
    assert (check_env(env)) == (2, None, LONGEST // 2)


def test_states_are_flat_float32():
    env = adapt(Drift(), obs_type="states", max_episode_steps=LONGEST)
    assert isinstance(env, StateObservation)
    observation, _ = env.reset()
    assert observation["observation"].dtype == np.float32 and observation["observation"].shape == (2,)
    assert np.array_equal(observation["observation"], env.unwrapped.place.astype(np.float32))
    assert env.set_state(env.get_state())["observation"].dtype == np.float32


def test_what_cannot_be_adapted_is_refused():
    blind = Drift()
    blind.render_mode = None
    with pytest.raises(UserError, match="render_mode=None"):
        adapt(blind)
    for settings, key in (({"obs_type": "pixel"}, "obs_type=pixel"), ({"action_repeat": 0}, "action_repeat=0")):
        with pytest.raises(UserError, match=key):
            adapt(Drift(), **settings)
    with pytest.raises(UserError, match="image_size=8"):
        adapt(Drift(), image_size=8)


def test_a_stock_environment_keeps_the_contract_after_adapt():
    def made(seed):
        return adapt(gymnasium.make("Pendulum-v1"), obs_type="states", action_repeat=2, seed=seed)

    assert check_env(made(3), made(3)) == (1, None, 100)
    with pytest.raises(UserError, match="same seed"):
        check_env(made(3), made(4))
