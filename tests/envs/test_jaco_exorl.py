"""The variant of jaco in which ExORL collected its data: a mark in place of the brick."""

import mujoco
import numpy as np
import pytest

from envs.custom_dmc_tasks import load
from envs.make import TASKS, EnvSettings, body, make, observation_shape, sizes, validate_task
from envs.suite_tasks import Body

PLACES = {
    "top_left": (-0.09, 0.09),
    "top_right": (0.09, 0.09),
    "bottom_left": (-0.09, -0.09),
    "bottom_right": (0.09, -0.09),
}
TASK = "jaco_reach_top_left"


def site(physics, name):
    return physics.data.ptr.site_xpos[mujoco.mj_name2id(physics.model.ptr, mujoco.mjtObj.mjOBJ_SITE, name)].copy()


def tool(physics):
    return site(physics, "jaco_arm/jaco_hand/pinchsite")


def test_sizes_are_those_of_the_data():
    assert body(TASK, exorl=True) == Body(actions=9, state=18, observed=42)
    settings = EnvSettings(TASK, "states", action_repeat=1, exorl=True)
    assert sizes(settings) == (9, 18, 250) and observation_shape(settings) == (42,)
    env = make(TASK, "states", action_repeat=1, exorl=True)
    observation, info = env.reset()
    assert observation["observation"].shape == env.observation_space["observation"].shape == (42,)
    assert info["physics"].shape == (18,) and env.action_space.shape == (9,)
    assert body(TASK) == Body(9, 31, 55) and body("walker_run", exorl=True) == body("walker_run")


@pytest.mark.parametrize("task", TASKS["jaco"])
def test_reward_is_the_formula_at_the_mark(task):
    env, rng, seen = load(*validate_task(task), seed=0, exorl=True), np.random.default_rng(0), []
    env.reset()
    mark = np.array([*PLACES[task.removeprefix("jaco_reach_")], 0.001])
    np.testing.assert_allclose(site(env.physics, "target_site"), mark, atol=1e-12)
    for _ in range(60):
        with env.physics.reset_context():
            env.physics.data.qpos[:6] = rng.uniform(0, 2 * np.pi, 6)
        beyond = np.linalg.norm(tool(env.physics) - mark) - 0.05
        expected = 1.0 if beyond <= 0 else 0.1 ** ((beyond / 0.05) ** 2)
        assert float(env.task.get_reward(env.physics)) == pytest.approx(expected, abs=1e-9)
        seen.append(expected)
    assert np.ptp(seen) > 0


def test_the_observation_does_not_show_the_mark():
    first, second = (make(task, "states", action_repeat=1, seed=5, exorl=True) for task in TASKS["jaco"][:2])
    np.testing.assert_array_equal(first.reset()[0]["observation"], second.reset()[0]["observation"])


def test_starts_are_all_around():
    env, tools = load(*validate_task(TASK), seed=3, exorl=True), []
    for _ in range(60):
        env.reset()
        assert env.physics.time() == 0.0
        tools.append(tool(env.physics))
    tools, low, high = np.array(tools), np.array([-0.2, -0.2, 0.02]), np.array([0.2, 0.2, 0.4])
    assert (tools >= low - 1e-3).all() and (tools <= high + 1e-3).all()
    assert (np.ptp(tools, axis=0) > 0.7 * (high - low)).all()


def test_the_arm_cannot_touch_the_mark():
    env = load(*validate_task(TASK), seed=0, exorl=True)
    env.reset()
    names = [env.physics.model.id2name(index, "geom") for index in range(env.physics.model.ngeom)]
    assert not any("duplo" in name or "target" in name for name in names)


def test_an_episode_and_a_saved_state():
    env, rng = make(TASK, "states", action_repeat=1, seed=4, exorl=True), np.random.default_rng(0)
    env.reset()
    for _ in range(100):
        env.step(rng.uniform(-1, 1, 9))
    other = make(TASK, "states", action_repeat=1, seed=99, exorl=True)
    other.set_state(env.get_state())
    steps, truncated = 100, False
    while not truncated:
        action = rng.uniform(-1, 1, 9)
        observation, reward, terminated, truncated, _ = env.step(action)
        again = other.step(action)
        np.testing.assert_array_equal(again[0]["observation"], observation["observation"])
        assert (again[1], terminated) == (reward, False)
        steps += 1
    assert steps == 250
