"""The jaco domain: rewards, starts, lengths and camera against MuJoCo's raw arrays and the benchmark's numbers."""

import logging
import subprocess
import sys
from contextlib import nullcontext

import mujoco
import numpy as np
import pytest
from dm_control.composer.initializers import PropPlacer

from envs.custom_dmc_tasks import jaco, load
from envs.make import make, validate_task
from envs.rendering import Renderer

TARGETS = {
    "jaco_reach_top_left": (-0.09, 0.09),
    "jaco_reach_top_right": (0.09, 0.09),
    "jaco_reach_bottom_left": (-0.09, -0.09),
    "jaco_reach_bottom_right": (0.09, -0.09),
}
TASK = "jaco_reach_top_left"
BRICK, TOOL = "duplo2x4/", "jaco_arm/jaco_hand/pinchsite"
SECOND_TRY = 14  # a seed whose first start needs inverse kinematics twice
FREE = slice(9, 16)  # position and quaternion of the brick in qpos


def identity(physics, kind, name):
    found = mujoco.mj_name2id(physics.model.ptr, kind, name)
    assert found >= 0
    return found


def random_actions(count):
    return np.random.default_rng(0).uniform(-1, 1, (count, 9)).astype(np.float32)


def tool_and_brick(physics):
    """World positions, in m, from the raw arrays."""
    tool = physics.data.ptr.site_xpos[identity(physics, mujoco.mjtObj.mjOBJ_SITE, TOOL)]
    brick = physics.data.ptr.xpos[identity(physics, mujoco.mjtObj.mjOBJ_BODY, BRICK)]
    return tool.copy(), brick.copy()


def expected_reward(physics):
    tool, brick = tool_and_brick(physics)
    beyond = np.sqrt(((tool - brick) ** 2).sum()) - 0.05
    return 1.0 if beyond <= 0 else 0.1 ** ((beyond / 0.05) ** 2)


@pytest.mark.parametrize("task", TARGETS)
def test_reward_is_the_formula(task):
    env, rng = load(*validate_task(task), seed=0), np.random.default_rng(0)
    env.reset()
    seen = []
    for _ in range(150):
        tool, _ = tool_and_brick(env.physics)
        direction = rng.normal(size=3)
        with env.physics.reset_context():
            env.physics.data.qpos[:6] = rng.uniform(0, 2 * np.pi, 6)
        tool, _ = tool_and_brick(env.physics)
        offset = rng.uniform(0, 0.2) * direction / np.linalg.norm(direction)
        env.physics.data.qpos[FREE] = [*(tool + offset), 1, 0, 0, 0]
        env.physics.forward()
        reward = env.task.get_reward(env.physics)
        assert float(reward) == pytest.approx(expected_reward(env.physics), abs=1e-6)
        seen.append(float(reward))
    assert seen.count(1.0) > 10 and sum(0.05 < reward < 0.95 for reward in seen) > 10 and min(seen) < 1e-3


@pytest.mark.parametrize("task", TARGETS)
def test_reward_of_a_step_is_the_formula_where_the_brick_is_now(task):
    env = load(*validate_task(task), seed=0)
    rng, spec = np.random.default_rng(1), env.action_spec()
    env.reset()
    for step in range(40):
        tool, _ = tool_and_brick(env.physics)
        if step % 10 == 0:
            env.physics.data.qpos[FREE] = [*(tool + rng.uniform(-0.06, 0.06, 3)), 1, 0, 0, 0]
            env.physics.forward()
        time_step = env.step(rng.uniform(spec.minimum, spec.maximum))
        assert float(time_step.reward) == pytest.approx(expected_reward(env.physics), abs=1e-6)
        assert time_step.discount == 1.0


def assert_250_control_steps(env):
    time_step, steps, total = env.reset(), 0, 0.0
    assert env.physics.time() == 0.0
    while not time_step.last():
        time_step, steps = env.step(np.zeros(9)), steps + 1
        total += time_step.reward
    assert 0.0 <= total < 0.05  # at rest, as the hand starts: too far above the brick
    assert steps == 250 and env.physics.time() == pytest.approx(10.0) and time_step.discount == 1.0


def test_an_episode_has_250_control_steps():
    assert_250_control_steps(load(*validate_task(TASK), seed=0))


@pytest.mark.parametrize("late", [0.072, -0.01])
def test_an_episode_has_250_control_steps_wherever_settling_leaves_the_clock(late, monkeypatch):
    place = PropPlacer.__call__

    def settle(self, physics, random_state):
        place(self, physics, random_state)
        physics.data.time += late

    monkeypatch.setattr(PropPlacer, "__call__", settle)
    assert_250_control_steps(load(*validate_task(TASK), seed=0))


@pytest.mark.parametrize("task", TARGETS)
def test_starts(task):
    env = load(*validate_task(task), seed=3)
    model = env.physics.model
    site = identity(env.physics, mujoco.mjtObj.mjOBJ_SITE, TOOL)
    closed = model.jnt_range[6:9]
    tools, yaws, fingers = [], [], []
    for _ in range(100 if task == TASK else 10):
        env.reset()
        tool, brick = tool_and_brick(env.physics)
        # the quaternion of the benchmark turns the site's z axis to world -z
        assert env.physics.data.site_xmat[site].reshape(3, 3)[:, 2] == pytest.approx([0, 0, -1], abs=1e-3)
        assert brick[:2] == pytest.approx(TARGETS[task], abs=1e-3)
        assert abs(brick[2]) < 1e-4  # it lies on the floor
        upright = env.physics.data.xmat[identity(env.physics, mujoco.mjtObj.mjOBJ_BODY, BRICK)][8]
        assert upright == pytest.approx(1.0, abs=1e-6)
        assert np.abs(env.physics.data.qvel).max() < 1e-3 and not env.physics.data.qvel[:9].any()
        factors = (env.physics.data.qpos[6:9] - closed[:, 0]) / (closed[:, 1] - closed[:, 0])
        assert np.ptp(factors) < 1e-9
        w, _, _, z = env.physics.data.qpos[12:16]
        tools.append(tool), yaws.append(2 * np.arctan2(z, w) % (2 * np.pi)), fingers.append(factors[0])
    tools, low, high = np.array(tools), np.array([-0.1, -0.1, 0.2]), np.array([0.1, 0.1, 0.4])
    assert (tools >= low - 1e-6).all() and (tools <= high + 1e-6).all()
    assert min(fingers) >= 0.0 and max(fingers) <= 1.0
    if task == TASK:  # uniform: Kolmogorov-Smirnov at 0.1 %
        for drawn in [*((tools - low) / (high - low)).T, np.array(yaws) / (2 * np.pi), np.array(fingers)]:
            gap = np.abs(np.sort(drawn) - np.linspace(0, 1, len(drawn))).max()
            assert gap < 1.95 / np.sqrt(len(drawn))


def test_importing_the_tasks_changes_no_warning_filters():
    script = "import warnings; from dm_control import suite; before = list(warnings.filters)\n"
    script += "import sys, envs.custom_dmc_tasks; assert 'dm_control.composer' in sys.modules\n"
    script += "assert list(warnings.filters) == before"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_brick_can_be_pushed():
    env = load(*validate_task(TASK), seed=0)
    env.reset()
    env.physics.data.qvel[9:11] = 0.5, 0.0
    for _ in range(5):
        env.step(np.zeros(9))
    assert tool_and_brick(env.physics)[1][0] > -0.08


def test_the_arm_stands_where_the_benchmark_puts_it():
    env = load(*validate_task(TASK), seed=0)
    base = identity(env.physics, mujoco.mjtObj.mjOBJ_BODY, "jaco_arm/b_base")
    np.testing.assert_allclose(env.physics.data.xpos[base], [0, 0.4, 0])


def test_states_are_the_observables_of_the_present():
    env = make(TASK, obs_type="states")
    env.reset()
    for action in random_actions(5):
        observation, _, _, _, info = env.step(action)
        assert info["physics"].shape == (16 + 15,)  # 9 joints and the brick's free one
    tool, brick = tool_and_brick(env.physics)
    found = observation["observation"]
    joints = env.physics.data.qpos[:6]
    np.testing.assert_allclose(found[:12].reshape(6, 2), np.stack([np.sin(joints), np.cos(joints)], 1), atol=1e-6)
    np.testing.assert_allclose(found[18:24], env.physics.data.qvel[:6], atol=1e-6)
    np.testing.assert_allclose(found[30:33], tool, atol=1e-6)
    np.testing.assert_allclose(found[-3:], brick + [0, 0, 0.0119], atol=1e-6)  # the middle of its bounding box


def test_one_model_for_all_episodes_and_no_draws_for_it():
    """A renderer stays valid, and the first episode follows from the random state as the others do."""
    env = load(*validate_task(TASK), seed=7)
    physics, before = env.physics, env.task.random.get_state()
    starts = []
    for _ in range(2):
        env.task.random.set_state(before)
        env.reset()
        starts.append(env.physics.get_state())
        env.reset()
    assert env.physics is physics
    np.testing.assert_array_equal(*starts)
    drawn = np.random.RandomState(7).get_state()
    np.testing.assert_array_equal(before[1], drawn[1])
    assert before[2] == drawn[2]


def test_a_start_that_is_found_at_the_second_try_says_nothing(monkeypatch):
    env, logger, records = load(*validate_task(TASK), seed=0), logging.getLogger("absl"), []
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        env.task.random.seed(SECOND_TRY)
        env.reset()
        assert not records
        monkeypatch.setattr(jaco, "_without_retries", nullcontext)
        env.task.random.seed(SECOND_TRY)
        env.reset()
        assert len(records) == 1  # as it would be
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("quality", ["full", "lite"])
@pytest.mark.parametrize("task", TARGETS)
def test_arm_and_brick_are_visible(task, quality):
    env = make(task, seed=3, render_quality=quality)
    image = env.reset()[0]["observation"].astype(int)
    assert image.shape == (3, 64, 64)
    red = (image[0] > 100) & (image[1] < 60) & (image[2] < 60)
    rows, columns = np.nonzero(red)
    assert 5 <= red.sum() <= 40
    x, y = TARGETS[task]
    assert (columns.mean() < 31.5) == (x < 0) and (rows.mean() < 42) == (y > 0)
    assert image.mean() > 20 and np.ptp(image[:, :16, 28:44]) > 150  # the hand, black and white, above the middle


def test_camera():
    env = load(*validate_task(TASK), seed=0)
    camera = identity(env.physics, mujoco.mjtObj.mjOBJ_CAMERA, "front_close")
    np.testing.assert_allclose(env.physics.data.cam_xpos[camera], [0, -0.6, 0.75])
    up = np.array([0, 0.7, 0.75]) / np.hypot(0.7, 0.75)
    axes = np.stack([[1, 0, 0], up, np.cross([1, 0, 0], up)], 1)
    np.testing.assert_allclose(env.physics.data.cam_xmat[camera].reshape(3, 3), axes, atol=1e-9)


def test_one_frame_per_agent_step_and_none_inside(monkeypatch):
    frames, renders = [], []
    frame, render = Renderer.frame, mujoco.mjr_render
    monkeypatch.setattr(Renderer, "frame", lambda self: frames.append(1) or frame(self))
    monkeypatch.setattr(mujoco, "mjr_render", lambda *args: renders.append(1) or render(*args))
    env = make(TASK, render_quality="lite")
    env.reset()
    for action in random_actions(4):
        env.step(action)
    assert len(frames) == len(renders) == 5
    env.reset()
    assert len(frames) == len(renders) == 6
