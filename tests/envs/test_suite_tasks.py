"""The suite's own tasks: the table against dm_control, their episodes, pictures and saved states."""

import math
from pathlib import Path

import numpy as np
import pytest
from dm_control import suite
from dm_control.suite import base
from gymnasium.error import ResetNeeded
from sweep_kit import in_turn, sweep

from envs.custom_dmc_tasks import CUSTOM_TASKS
from envs.make import DOMAINS, PRIMAL_TASKS, TASKS, body, make, validate_task
from envs.suite_tasks import LEFT_OUT, SUITE_TASKS

CUSTOM = {f"{domain}_{name}" for domain, name in CUSTOM_TASKS}
STOCK = [task for domain, tasks in TASKS.items() if domain != "mw" for task in tasks if task not in CUSTOM]
PUBLISHED = {  # action repeats of the PlaNet benchmark
    "cartpole_swingup": 8,
    "ball_in_cup_catch": 4,
    "cheetah_run": 4,
    "reacher_easy": 4,
    "finger_spin": 2,
}
RESTORED = {  # drawn at a reset besides the pose: nothing, a target, a rope, a peg, boxes, a ball
    "ball_in_cup_catch",
    "cheetah_run",
    "manipulator_insert_peg",
    "point_mass_hard",
    "quadruped_fetch",
    "reacher_easy",
    "stacker_stack_4",
}
BODIES = {*(PRIMAL_TASKS[domain] for domain in TASKS if domain != "mw"), *RESTORED, "swimmer_swimmer15"}
"""Of every domain one task, and those whose body differs from it."""


def actions_for(env, count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def test_every_task_of_the_suite_is_offered_or_left_out():
    theirs = [f"{domain}_{name}" for domain, name in suite.ALL_TASKS]
    assert len(theirs) == len(set(theirs)) and sorted(theirs) == sorted([*STOCK, *LEFT_OUT])
    for task in STOCK:
        assert validate_task(task) in suite.ALL_TASKS  # split as the suite does


def test_reasons_to_leave_out():
    for name in ("lqr_2_1", "lqr_6_2"):
        assert suite.load("lqr", name)._step_limit == math.inf
    escape = suite.load("quadruped", "escape")
    assert escape.physics._contexts is None
    escape.reset()
    assert escape.physics._contexts is not None  # made although nobody asked for a picture


def test_primal_tasks():
    primal = {domain: PRIMAL_TASKS[domain] for domain in SUITE_TASKS}
    assert primal == {
        "acrobot": "acrobot_swingup",
        "ball_in_cup": "ball_in_cup_catch",
        "cartpole": "cartpole_swingup",
        "cheetah": "cheetah_run",
        "dog": "dog_stand",
        "finger": "finger_spin",
        "fish": "fish_upright",
        "hopper": "hopper_stand",
        "humanoid": "humanoid_stand",
        "humanoid_CMU": "humanoid_CMU_stand",
        "manipulator": "manipulator_bring_ball",
        "pendulum": "pendulum_swingup",
        "point_mass": "point_mass_easy",
        "reacher": "reacher_easy",
        "stacker": "stacker_stack_2",
        "swimmer": "swimmer_swimmer6",
    }


@pytest.mark.parametrize("task", sweep(STOCK, BODIES))
def test_sizes_episode_and_one_step(task):
    """The table's line is right, and the task renders: one step."""
    env = make(task, render_quality="lite")
    observation, info = env.reset()
    native = env._env
    sizes = body(task)
    assert native.action_spec().shape == env.action_space.shape == (sizes.actions,)
    assert info["physics"].shape == (sizes.state,)
    assert sum(math.prod(part.shape) for part in native.observation_spec().values()) == sizes.observed
    assert math.ceil(native._step_limit) == DOMAINS[validate_task(task)[0]].control_steps
    assert type(native.task).get_termination is base.Task.get_termination  # which never ends an episode
    assert native.task.get_termination(native.physics) is None
    first = observation["observation"]
    assert first.shape == (3, 64, 64) and first.dtype == np.uint8 and first.std() > 5
    (action,) = actions_for(env, 1)
    observation, reward, terminated, truncated, info = env.step(action)
    assert 0.0 <= reward <= 2.0 and not terminated and not truncated and info["frames"] == 2
    low, high = native.action_spec().minimum, native.action_spec().maximum
    expected = low + (action.astype(np.float64) + 1) / 2 * (high - low)
    np.testing.assert_allclose(env.physics.data.ctrl, expected, atol=1e-9)
    env.close()


@pytest.mark.parametrize(("task", "repeat"), PUBLISHED.items())
def test_an_episode_ends_at_its_time_limit_by_truncation(task, repeat):
    env = make(task, "states", action_repeat=repeat)
    env.reset()
    steps, frames, ended, total = 0, 0, False, 0.0
    while not ended:
        _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape))
        ended, total = terminated or truncated, total + reward
        steps, frames = steps + 1, frames + info["frames"]
    assert (steps, frames) == (1000 // repeat, 1000) and truncated and not terminated
    assert env.physics.time() == pytest.approx({"cartpole_swingup": 10, "cheetah_run": 10}.get(task, 20))
    assert 0.0 <= total <= 1000.0
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(env.action_space.shape))


def test_a_discount_of_zero_terminates():
    """No task offered ends early; one that did would be terminated, and in the middle of a repeat."""
    env = make("cartpole_swingup", "states", action_repeat=4)
    env._env.task.get_termination = lambda physics: 0.0 if physics.time() > 0.055 else None
    env.reset()
    ends = [env.step(np.zeros(1))[2:] for _ in range(2)]
    assert [end[:2] for end in ends] == [(False, False), (True, False)]
    assert [end[2]["frames"] for end in ends] == [4, 2]
    assert not env.get_state()["running"]


@pytest.mark.parametrize(("task", "size"), in_turn((*PUBLISHED, "quadruped_fetch"), (84, 64)))
def test_the_picture_and_reward_are_the_suites_own(task, size):
    env, raw = make(task, seed=3, image_size=size), suite.load(*validate_task(task), task_kwargs={"random": 3})
    env.reset(), raw.reset()
    low, high = raw.action_spec().minimum, raw.action_spec().maximum
    camera = 2 if task.startswith("quadruped") else 0
    for action in actions_for(env, 3):
        observation, reward, *_ = env.step(action)
        expected = sum(raw.step(low + (action.astype(np.float64) + 1) / 2 * (high - low)).reward for _ in range(2))
    assert reward == pytest.approx(expected, abs=1e-9)
    picture = raw.physics.render(size, size, camera_id=camera)
    np.testing.assert_array_equal(observation["observation"].transpose(1, 2, 0), picture)
    env.close()


@pytest.mark.parametrize("task", sweep(STOCK, RESTORED))
def test_restored_episodes_are_bit_identical(task):
    """Into an environment of another seed and history: what a reset draws into the model is drawn again."""
    env, other = (make(task, seed=seed, render_quality="lite") for seed in (4, 99))
    env.reset()
    env.step(actions_for(env, 1)[0])
    start, _ = env.reset()
    other.reset()
    other.step(actions_for(other, 1, seed=9)[0])
    assert not np.array_equal(env.physics.get_state(), other.physics.get_state())
    for action in actions_for(env, 12):
        observation, *_ = env.step(action)
    assert not np.array_equal(observation["observation"], start["observation"])  # something is seen to move
    np.testing.assert_array_equal(other.set_state(env.get_state())["observation"], observation["observation"])
    np.testing.assert_array_equal(env.physics.data.qacc_warmstart, other.physics.data.qacc_warmstart)
    for action in actions_for(env, 8, seed=1):
        one, two = env.step(action), other.step(action)
        np.testing.assert_array_equal(one[0]["observation"], two[0]["observation"])
        np.testing.assert_array_equal(one[4]["physics"], two[4]["physics"])
        assert one[1:4] == two[1:4]
    for _ in range(2):  # and the episodes that follow
        np.testing.assert_array_equal(env.reset()[0]["observation"], other.reset()[0]["observation"])
        np.testing.assert_array_equal(env.physics.get_state(), other.physics.get_state())
    env.close(), other.close()


def test_the_page_of_tasks_lists_them_all():
    text = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for domain in SUITE_TASKS:
        names = ", ".join(f"`{task}`" for task in TASKS[domain])
        actions = ", ".join(str(size) for size in sorted({body(task).actions for task in TASKS[domain]}))
        assert f"| `{domain}` | {names} | `{PRIMAL_TASKS[domain]}` | {actions} |" in text
    for task in LEFT_OUT:
        assert f"`{task}`" in text or "`lqr`" in text and task.startswith("lqr_")
