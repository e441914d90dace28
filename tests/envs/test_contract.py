"""Every way of breaking the contract is named, by the checker and by ``env_factory=``; what keeps it passes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_kit import LONGEST, Drift, Forgetful, Pixels

from envs.adapters import PixelObservation, RepeatedActions, ScaledActions, adapt
from envs.contract import Wanted, check_env, main, sizes
from envs.make import EnvSettings, make
from envs.make import sizes as sizes_of
from envs.replayed import ReplayedEnv
from utils.errors import UserError

SETTINGS = {"obs_type": "pixels", "action_repeat": 2, "seed": 3, "image_size": 32, "render_quality": "full"}
FAULTS = {
    "no dict": "observation_space=",
    "dtype": "observation_space[observation]=",
    "range": "action_space=",
    "length": "max_episode_steps=None",
    "unseeded": "same seed",
    "another seed": "same seed",
    "reward": "reward nan",
    "bool": "truncated=0",
    "physics": 'info["physics"]',
    "alias": "observation that was returned",
    "picture": "render() gives float64",
    "forgets actions": "restored within an episode",
    "forgets episodes": "in the next episode",
    "not plain": "get_state()",
    "gives nothing back": "set_state()",
}


def complaint(call):
    with pytest.raises(UserError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("fault, words", FAULTS.items())
def test_what_is_wrong_is_named(fault, words):
    said = complaint(lambda: sizes("own_kit.make", fault, **SETTINGS))
    assert "env_factory=own_kit.make" in said and words in said
    within, after = "restored within an episode", "in the next episode"
    consequences = {"unseeded": {within, after}, "forgets episodes": {within}}
    others = {other for other in FAULTS.values() if other != words and other in said}
    assert others == consequences.get(fault, set())  # and nothing that is right


def test_what_is_right_passes():
    assert sizes("own_kit.make", "", **SETTINGS) == (2, None, LONGEST)
    assert sizes_of(EnvSettings("walker_run", action_repeat=2)) == (6, 18, 500)
    assert sizes_of(EnvSettings("own", env_factory="own_kit.make")) == (2, None, LONGEST)
    with_states = adapt(Drift(physics=True), max_episode_steps=5, image_size=16)
    assert check_env(with_states, wanted=Wanted("pixels", 16)) == (2, 2, 5)


def test_everything_is_named_at_once():
    said = complaint(lambda: sizes("own_kit.bare", "", **SETTINGS))
    for words in ("get_state", "set_state", "max_episode_steps=None"):
        assert words in said


def test_an_episode_of_a_single_step_can_be_checked():
    assert check_env(adapt(Drift(longest=1), max_episode_steps=1), adapt(Drift(longest=1))) == (2, None, 1)
    forgetful = Forgetful(
        RepeatedActions(ScaledActions(Drift(longest=1)), 1, max_episode_steps=1), 0, "forgets episodes"
    )
    assert "in the next episode" in complaint(lambda: check_env(PixelObservation(forgetful, 16)))


@pytest.mark.parametrize("size, kind", [(84, "pixels"), (32, "states")])
def test_another_observation_than_asked_for_is_refused(size, kind):
    env = ReplayedEnv(Pixels(size=32))
    said = complaint(lambda: check_env(env, wanted=Wanted(kind, size)))
    assert f"obs_type={kind}" in said and "(3, 32, 32)" in said


def test_what_the_environment_raises_is_told_with_its_place():
    said = complaint(lambda: sizes("own_kit.make", "raises", **SETTINGS))
    assert "KeyError" in said and "no such level" in said and "own_kit.py, line" in said


@pytest.mark.parametrize(
    "path, words",
    [
        ("own_kit.missing", "missing"),
        ("no_such_package.make", "no_such_package"),
        ("make", "package.module.function"),
        ("own_kit.NOT_CALLABLE", "int"),
        ("own_kit.no_settings", "obs_type"),
        ("own_kit.no_env", "dict"),
        ("own_kit.fails", "level file is missing"),
    ],
)
def test_factories_that_make_nothing_are_refused(path, words):
    for call in (lambda: sizes(path, "x", **SETTINGS), lambda: make("x", env_factory=path)):
        said = complaint(call)
        assert f"env_factory={path}" in said and words in said


def test_the_command(capsys):
    assert main(["own_kit.make", "--task", "", "--image-size", "32"]) == 0
    assert f"{LONGEST} steps" in capsys.readouterr().out
    assert main(["own_kit.make", "--task", "length"]) == 1
    assert "max_episode_steps=None" in capsys.readouterr().err
    command = [sys.executable, "-m", "envs.contract", "own_kit.missing"]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "env_factory=own_kit.missing" in done.stderr and "Traceback" not in done.stderr


def test_no_random_number_of_the_run_is_spent():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    sizes("own_kit.make", "", **SETTINGS | {"seed": 11})
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
