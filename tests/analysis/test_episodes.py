"""Whole episodes: every position once, up to the true end."""

import numpy as np
import pytest

from analysis.episodes import play
from envs.mujoco_gym import make_body
from envs.on_policy import known, make_rollouts
from envs.vector import env_seed


def shaken(count, actions, seed=0):
    random = np.random.default_rng(seed)
    return lambda obs: random.normal(size=(count, actions)).astype(np.float32)


def test_falls_end_each_episode_for_itself():
    venv = make_rollouts("Hopper", 3, seed=2)
    found = play(venv, shaken(3, 3), 1000)
    for index, (path, reward) in enumerate(found):
        env, act = make_body("Hopper", env_seed(2, index)), shaken(3, 3)
        env.reset()
        expected, ended, total = [env.env.place], False, 0.0
        while not ended:
            _, earned, terminated, truncated, _ = env.step(act(None)[index])
            total += earned
            expected.append(env.env.place)
            ended = terminated or truncated
        np.testing.assert_array_equal(path, expected)
        assert reward == pytest.approx(total, rel=1e-5)
    assert len({len(path) for path, _ in found}) > 1


@pytest.mark.parametrize("longest", [20, 1000])
def test_lengths_and_what_is_watched(longest):
    venv, steps = make_rollouts("CenterMaze", 4), min(longest, known("CenterMaze").steps)
    venv.reset()
    seen = []
    watched = play(venv, shaken(4, 2), longest, watch=lambda index: seen.append((index, *venv.positions()[index])))
    first = [one.path for one in watched]
    assert [path.shape for path in first] == [(steps + 1, 2)] * 4 and first[0].dtype == np.float64
    np.testing.assert_array_equal(seen, [(index, *first[index][time]) for time in range(steps) for index in range(4)])
    second, third, fourth = (play(venv, shaken(4, 2), 2, seed=seed)[0].path[0] for seed in (None, 5, 5))
    assert not np.array_equal(first[0][0], second)  # new episodes
    assert np.array_equal(third, fourth)  # but for those of a seed
