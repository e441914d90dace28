"""Environments that reset themselves: names, sizes, ends of episodes, exact save and restore."""

import io

import gymnasium
import numpy as np
import pytest
import torch

from envs.maze_layout import MAZES
from envs.mujoco_gym import BODIES, make_body
from envs.on_policy import ALIASES, NAMES, known, make_rollouts
from envs.vector import env_seed
from training.checkpoint import arrays_to_tensors, tensors_to_arrays
from utils.errors import UserError
from utils.plain_yaml import dump

EVERY = (*BODIES, "DoorMaze")


def acted(venv, count, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(size=(venv.num_envs, venv.actions)).astype(np.float32) for _ in range(count)]


def course(venv, actions):
    """Every number of every step, as bytes."""
    steps = [venv.step(action) for action in actions]
    return [b"".join(part.tobytes() for part in (*step[:5], step.info["position"])) for step in steps]


@pytest.mark.parametrize("env", [*NAMES, *ALIASES])
def test_what_is_known_beforehand_is_so(env):
    found = known(env)
    assert found.name in NAMES and known(found.name) == found
    venv = make_rollouts(env, 2)
    assert (venv.observed, venv.actions) == (found.observed, found.actions)
    obs = venv.reset()
    assert obs.shape == (2, found.observed) and obs.dtype == np.float32
    step = venv.step(np.zeros((2, found.actions), np.float32))
    assert (found.maze is not None) == (found.exclude == 0)
    # a body's own columns tell where it is, in x or in x and y
    np.testing.assert_array_equal(
        step.final_obs[:, : found.axes], step.info["position"].astype(np.float32)[:, : found.axes]
    )
    assert (step.info["position"][:, found.axes :] == 0).all()
    kept = [part.copy() for part in step[:5]]
    step.obs[:] = 7.0  # of nobody but the caller
    venv.step(np.ones((2, found.actions), np.float32))
    assert all(np.array_equal(a, b) for a, b in zip(kept[1:], step[1:5], strict=True))
    assert [part.dtype for part in step[:5]] == [np.float32, np.float32, bool, bool, np.float32]


def test_bodies_are_gymnasiums():
    """Observations are the positions and velocities alone, actions are passed on as they are, also outside the box."""
    for name, body in BODIES.items():
        env, plain = make_body(name, seed=5), gymnasium.make(body.env_id, **body.keywords()).unwrapped
        first, _ = env.reset()
        plain.reset(seed=0)
        data = env.unwrapped.data
        plain.set_state(data.qpos, data.qvel)
        np.testing.assert_array_equal(first, np.concatenate([data.qpos, data.qvel]).astype(np.float32))
        action = 3 * np.ones(body.actions, np.float32)
        np.testing.assert_array_equal(env.step(action)[0], plain.step(action)[0].astype(np.float32))
        np.testing.assert_array_equal(env.unwrapped.data.ctrl, action)
        assert env.spec.max_episode_steps == 1000


@pytest.mark.parametrize("env", EVERY)
def test_a_saved_rollout_goes_on_in_another_instance_bit_for_bit(env):
    one, two = make_rollouts(env, 2, seed=3), make_rollouts(env, 2, seed=8)
    one.reset()
    course(one, acted(one, 7))
    one.reset()
    course(one, acted(one, 40, seed=1))  # some have fallen and begun anew
    file = io.BytesIO()
    torch.save(arrays_to_tensors(one.get_state()), file)
    file.seek(0)
    state = tensors_to_arrays(torch.load(file, weights_only=True))
    assert two.set_state(state).tobytes() == one.set_state(one.get_state()).tobytes()
    assert two.positions().tobytes() == one.positions().tobytes()
    rest = acted(one, 60, seed=2)
    assert course(one, rest) == course(two, rest)
    assert one.reset().tobytes() == two.reset().tobytes()


@pytest.mark.parametrize("env", ["HalfCheetah", "9RoomMaze"])
def test_before_the_first_episode_too(env):
    one, two = make_rollouts(env, 2, seed=3), make_rollouts(env, 2, seed=8)
    two.reset()
    two.set_state(one.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        two.step(acted(two, 1)[0])
    assert one.reset().tobytes() == two.reset().tobytes()


def test_a_fall_terminates_and_shows_the_true_end():
    venv, single = make_rollouts("Hopper", 2, seed=1), make_body("Hopper", env_seed(1, 0))
    first = venv.reset()
    assert np.array_equal(first[0], single.reset()[0])
    for action in acted(venv, 300):
        step, alone = venv.step(action), single.step(action[0])
        np.testing.assert_array_equal(step.final_obs[0], alone[0])
        assert step.reward[0] == np.float32(alone[1])
        assert not step.truncated.any()
        if step.terminated[0]:
            break
        np.testing.assert_array_equal(step.obs[0], alone[0])
    assert step.terminated[0] and alone[2] and not alone[3]
    height = step.final_obs[0, 1]
    assert height < 0.7 or abs(step.final_obs[0, 2]) > 0.2  # what unhealthy is
    fresh = single.reset()[0]
    np.testing.assert_array_equal(step.obs[0], fresh)
    assert step.info["position"][0, 0] == pytest.approx(step.final_obs[0, 0]) != pytest.approx(fresh[0])
    np.testing.assert_allclose(venv.positions()[0, 0], fresh[0], rtol=1e-6)


def test_falling_can_be_no_end():
    for env, given, ends in (
        ("Hopper", None, True),
        ("Hopper", False, False),
        ("Ant", None, False),
        ("Ant", True, True),
    ):
        venv = make_rollouts(env, 4, terminate_when_unhealthy=given)
        venv.reset()
        assert any(venv.step(3 * action).terminated.any() for action in acted(venv, 150)) == ends, (env, given)


@pytest.mark.parametrize(("env", "steps"), [("HalfCheetah", 1000), ("CenterMaze", known("CenterMaze").steps)])
def test_the_length_truncates(env, steps):
    venv = make_rollouts(env, 2)
    venv.reset()
    venv.step(np.zeros((2, venv.actions), np.float32))
    action = np.full((2, venv.actions), 0.1, np.float32)
    for _ in range(steps - 2):
        step = venv.step(action)
        assert not step.truncated.any() and np.array_equal(step.obs, step.final_obs)
    step = venv.step(action)
    assert step.truncated.all() and not step.terminated.any() and not np.array_equal(step.obs, step.final_obs)
    assert (venv.step(action).truncated == [False, False]).all()


@pytest.mark.parametrize("env", ["HalfCheetah", "4RoomMaze"])
def test_seeds(env):
    one, two, other = make_rollouts(env, 3, seed=4), make_rollouts(env, 3, seed=5), make_rollouts(env, 3, seed=4)
    first = one.reset()
    assert len({row.tobytes() for row in (*first, *two.reset())}) == 6  # no two begin alike
    assert first.tobytes() == other.reset().tobytes() == two.reset(seed=4).tobytes()
    assert one.reset().tobytes() == two.reset().tobytes() != first.tobytes()


@pytest.mark.parametrize("env", ["Hopper", "DoorMaze"])
def test_bad_actions_and_states_are_refused(env):
    venv = make_rollouts(env, 2)
    venv.reset()
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        venv.step(np.zeros((2, 1), np.float32))
    with pytest.raises(ValueError, match="finite"):
        venv.step(np.full((2, venv.actions), np.nan, np.float32))
    with pytest.raises(ValueError, match="2 states for 3"):
        make_rollouts(env, 3).set_state(venv.get_state())
    if env in BODIES:
        with pytest.raises(ValueError, match="Hopper.*Walker2d"):
            make_rollouts("Walker2d", 2).set_state(venv.get_state())


def test_bad_settings_are_refused():
    for env, near in (("HalfCheeta", "HalfCheetah"), ("Walker", "Walker2d"), ("9RoomMase", "9RoomMaze"), ("nav2d", "")):
        with pytest.raises(UserError, match=f"env={env} .*Humanoid.*{f'env={near}' if near else ''}"):
            known(env)
    for settings, named in (
        ({"num_envs": 0}, "num_envs=0"),
        ({"seed": -1}, "seed=-1"),
        ({"image_size": 3}, "image_size=3"),
        ({"render_quality": "ful"}, "render.quality=ful"),
    ):
        with pytest.raises(UserError, match=named):
            make_rollouts("DoorMaze", **{"num_envs": 1, **settings})


@pytest.mark.parametrize("env", ["HalfCheetah", "Humanoid", "DoorMaze"])
def test_pictures_change_nothing(env):
    settings = {"pictures": True, "image_size": 48, "render_quality": "lite"}
    one, two = make_rollouts(env, 2, **settings), make_rollouts(env, 2)
    one.reset()
    two.reset()
    for action in acted(one, 4):
        pictures = [one.render(0), one.render(1)]
        assert course(one, [action]) == course(two, [action])
    assert pictures[0].shape == (48, 48, 3) and pictures[0].dtype == np.uint8
    assert pictures[0].std() > 5 and not np.array_equal(*pictures)
    assert one.render_fps > 0
    one.close()


def test_lite_pictures_show_the_same():
    pictures = []
    for quality in ("full", "lite"):
        venv = make_rollouts("Hopper", 1, pictures=True, image_size=64, render_quality=quality)
        venv.reset()
        pictures.append(venv.render().astype(float))
        venv.close()
    difference = np.abs(pictures[0] - pictures[1])
    assert 0 < difference.mean() < 25


def test_a_stored_maze_stands_for_a_file_that_is_gone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(dump({"walls": [[[0, 0], [1, 0], [0, 1], [0, 0]]], "start": [0.2, 0.2], "steps": 3}))
    found = known(str(path))
    path.unlink()
    with pytest.raises(UserError, match="mine.yaml"):
        known(str(path))
    again = known(str(path), stored=found.maze.plain())
    assert again == found and (again.name, again.steps) == (str(path), 3)
    assert make_rollouts(again, 2).reset().tobytes() == make_rollouts(found, 2).reset().tobytes()
    with pytest.raises(UserError, match="mine.yaml.*steps"):
        known(str(path), stored={**found.maze.plain(), "steps": 0})


def test_every_maze_is_offered():
    assert set(MAZES) < set(NAMES)
