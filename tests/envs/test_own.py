"""Environments of ``env_factory=`` as the loop uses them: observations, ends, pictures, vectors, worker processes."""

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check
from own_kit import LONGEST, Drift

from envs.adapters import adapt, resized
from envs.make import make
from envs.own import OwnEnv
from envs.vector import get_states, make_vector, set_states

OWN = {"env_factory": "own_kit.make", "image_size": 32}


def moves(count, *shape):
    return np.random.default_rng(0).uniform(-1, 1, (count, *shape, 2)).astype(np.float32)


def drift(physics=False):
    return OwnEnv(adapt(Drift(None, physics), max_episode_steps=4, image_size=16))


def test_an_episode_ends_after_the_stated_steps_also_across_a_restore():
    env, other = drift(), drift()
    for start in (0, 2):
        env.reset()
        ends = []
        for step, move in enumerate(moves(4)):
            if step == start:
                shown = env.last_observation()["observation"]
                assert np.array_equal(other.set_state(env.get_state())["observation"], shown)
            ends.append(env.step(move)[2:4])
        assert ends == [(False, False)] * 3 + [(False, True)]
        assert [other.step(move)[3] for move in moves(4)[start:]] == [False] * (3 - start) + [True]
        ended = env.get_state()
        assert not ended["running"] and other.set_state(ended) is None
        assert not other.last_observation()["observation"].any()
        assert np.array_equal(env.reset()[0]["observation"], other.reset()[0]["observation"])


def test_only_what_the_loop_reads_comes_through():
    env = drift(physics=True)
    observation, info = env.reset()
    assert list(observation) == ["observation"] and list(info) == ["physics"]
    observation, reward, terminated, truncated, info = env.step(moves(1)[0])
    assert np.array_equal(info["physics"], env.unwrapped.place)
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert drift().reset()[1] == {}


def test_gymnasium_finds_nothing_wrong():
    gymnasium_check(make("", **OWN), skip_render_check=True)


def test_pictures_of_any_size():
    env = make("", **OWN)
    env.reset()
    large, small = env.render_at(96), env.render_at(16)
    assert large.shape == (96, 96, 3) and small.shape == (16, 16, 3)
    assert np.array_equal(large[::3, ::3], env.render())  # every pixel of 32 x 32 three times


def test_resizing():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = 100
    picture[0, 0] = 200
    assert resized(picture, 2)[..., 0].tolist() == [[125, 0], [0, 0]]  # means of the area
    assert np.array_equal(resized(picture, 8)[::2, ::2], picture)
    same = resized(picture, 4)
    assert np.array_equal(same, picture) and same is not picture


@pytest.mark.parametrize("workers", [False, True])
def test_several_at_once_are_saved_and_restored(workers):
    venv, other = make_vector("", 2, seed=1, workers=workers, **OWN), make_vector("", 2, seed=2, **OWN)
    try:
        venv.reset()
        for move in moves(3, 2):
            venv.step(move)
        venv.reset(options={"reset_mask": np.array([True, False])})
        for move in moves(LONGEST - 3, 2):
            seen, _, _, truncated, info = venv.step(move)
        assert truncated.tolist() == [False, True] and info == {}
        states = get_states(venv)
        assert [state["running"] for state in states] == [True, False]
        restored = set_states(other, states)["observation"]
        assert np.array_equal(restored[0], seen["observation"][0]) and not restored[1].any()
        ended = {"reset_mask": np.array([False, True])}
        one, _ = venv.reset(options=dict(ended))
        two, _ = other.reset(options=dict(ended))
        assert np.array_equal(one["observation"], two["observation"])
        for move in moves(3, 2):
            first, second = venv.step(move), other.step(move)
            assert np.array_equal(first[0]["observation"], second[0]["observation"])
            assert all(np.array_equal(a, b) for a, b in zip(first[1:4], second[1:4], strict=True))
    finally:
        venv.close()
