"""State coverage: the quantities against the simulator, the bins against counts by hand."""

import mujoco
import numpy as np
import pytest

from analysis.cells import MEASURES, cells, coverage, measure
from envs.make import DOMAINS, body, make
from utils.errors import UserError


def after_random_steps(task: str, resets: int = 4, steps: int = 25):
    """States of ``task`` and what MuJoCo says at each: torso height, world rotation, world velocity of the torso."""
    env = make(task, "states", seed=3)
    env.action_space.seed(5)
    model, data = env.unwrapped.physics.model.ptr, env.unwrapped.physics.data.ptr
    torso = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "torso")
    states, heights, rotations, velocities = [], [], [], []
    for _ in range(resets):
        _, info = env.reset()
        for _ in range(steps):
            jacobian = np.zeros((3, model.nv))
            mujoco.mj_jacBody(model, data, jacobian, None, torso)
            states.append(info["physics"])
            heights.append(data.xpos[torso, 2])
            rotations.append(data.xmat[torso].reshape(3, 3).copy())
            velocities.append(jacobian @ data.qvel)
            _, _, _, _, info = env.step(env.action_space.sample())
    env.close()
    return np.stack(states), np.array(heights), np.stack(rotations), np.stack(velocities)


@pytest.mark.parametrize("task", ["walker_stand", "walker_flip"])
def test_walker_quantities_are_those_of_the_simulator(task):
    states, heights, rotations, velocities = after_random_steps(task)
    found = MEASURES["walker"].quantities(states)
    assert np.ptp(heights) > 0.5 and np.ptp(velocities[:, 0]) > 1  # the steps do reach different places
    np.testing.assert_allclose(found[:, 0], heights, atol=1e-9)
    # a rotation about y by the pitch turns the torso's z axis to (sin, 0, cos)
    np.testing.assert_allclose(np.sin(found[:, 1]), rotations[:, 0, 2], atol=1e-9)
    np.testing.assert_allclose(np.cos(found[:, 1]), rotations[:, 2, 2], atol=1e-9)
    np.testing.assert_allclose(found[:, 2], velocities[:, 0], atol=1e-9)


@pytest.mark.parametrize("task", ["quadruped_walk", "quadruped_jump"])
def test_quadruped_quantities_are_those_of_the_simulator(task):
    states, heights, rotations, velocities = after_random_steps(task)
    found = MEASURES["quadruped"].quantities(states)
    assert np.ptp(heights) > 0.2 and rotations[:, 2, 2].min() < 0  # some of them upside down
    np.testing.assert_allclose(found[:, 0], heights, atol=1e-9)
    np.testing.assert_allclose(np.cos(found[:, 1]), rotations[:, 2, 2], atol=1e-6)
    np.testing.assert_allclose(found[:, 2], np.hypot(velocities[:, 0], velocities[:, 1]), atol=1e-9)


def test_jaco_quantities_are_those_of_the_simulator():
    env = make("jaco_reach_top_left", "states")
    physics = env.unwrapped.physics
    site = mujoco.mj_name2id(physics.model.ptr, mujoco.mjtObj.mjOBJ_SITE, "jaco_arm/jaco_hand/pinchsite")
    rng, states, places = np.random.default_rng(0), [], []
    for _ in range(200):
        physics.data.qpos[:9] = rng.uniform(-2 * np.pi, 2 * np.pi, 9)
        physics.data.qpos[9:] = [*rng.normal(size=3), 1, 0, 0, 0]
        physics.forward()
        states.append(physics.get_state())
        places.append(physics.data.site_xpos[site].copy())
    assert np.ptp(places, axis=0).min() > 0.9
    np.testing.assert_allclose(MEASURES["jaco"].quantities(np.stack(states)), places, atol=1e-6)


def test_the_grid_holds_all_that_jaco_can_reach():
    env = make("jaco_reach_top_left", "states")
    physics = env.unwrapped.physics
    states = np.random.default_rng(0).uniform(0, 2 * np.pi, (100_000, 31))
    states[:, 1:3] = np.random.default_rng(1).uniform(*physics.model.jnt_range[1:3].T, (100_000, 2))
    places = MEASURES["jaco"].quantities(states)
    above = places[places[:, 2] >= 0]  # the floor is at 0
    for axis, column in zip(MEASURES["jaco"].axes, above.T, strict=True):
        assert axis.low <= column.min() and column.max() < axis.high
        assert (axis.high - axis.low) / axis.count == pytest.approx(0.1)
    assert 2000 < coverage("jaco", states) < MEASURES["jaco"].cells == 5200


def walker_state(height: float, pitch: float, speed: float) -> np.ndarray:
    state = np.zeros(18)
    state[[0, 2, 10]] = height - 1.3, pitch, speed
    return state


def quadruped_state(height: float, angle: float, speed: float) -> np.ndarray:
    """Turned by ``angle`` about the x axis, moving in direction (3, 4) / 5."""
    state = np.zeros(57)
    state[2:5] = height, np.cos(angle / 2), np.sin(angle / 2)
    state[23:25] = 0.6 * speed, 0.8 * speed
    return state


def test_walker_bins_by_hand():
    # 0.1 m from 0, pi/8 from -pi, 0.5 m/s from -8
    states = np.stack([walker_state(1.25, 0.1, 0.1), walker_state(0.05, -0.1, -0.1), walker_state(0.95, 1.6, 2.6)])
    np.testing.assert_array_equal(cells("walker", states), [[12, 8, 16], [0, 7, 15], [9, 12, 21]])


def test_quadruped_bins_by_hand():
    # 0.1 m from 0, pi/8 from 0, 0.5 m/s from 0
    states = np.stack(
        [quadruped_state(0.55, 0.0, 0.1), quadruped_state(0.25, 3.1, 2.6), quadruped_state(0.1, 1.7, 1.4)]
    )
    states[2, 2] += 0.05
    np.testing.assert_array_equal(cells("quadruped", states), [[5, 0, 0], [2, 7, 5], [1, 4, 2]])


def test_distinct_bins_are_counted_once():
    here, there = walker_state(1.25, 0.1, 0.1), walker_state(1.25, 0.1, 0.6)
    near = walker_state(1.21, 0.3, 0.4)
    assert coverage("walker", np.stack([here, near, here])) == 1
    assert coverage("walker", np.stack([here, there, near, there])) == 2
    assert coverage("walker", np.zeros((0, 18))) == 0


def test_other_coordinates_do_not_count():
    states = np.random.default_rng(0).normal(size=(50, 18))
    states[:, [0, 2, 10]] = walker_state(1.25, 0.1, 0.1)[[0, 2, 10]]
    assert coverage("walker", states) == 1


def test_whole_turns_of_the_torso_change_nothing():
    pitches = (-3.1, -0.3, 0.2, 1.0, 3.1)
    turned = [walker_state(1.25, pitch + 2 * np.pi * turns, 0.1) for turns in (-3, -1, 0, 2) for pitch in pitches]
    assert coverage("walker", np.stack(turned)) == len(pitches)
    edge = MEASURES["walker"].quantities(np.stack([walker_state(1, np.pi, 0), walker_state(1, -np.pi, 0)]))
    np.testing.assert_allclose(edge[:, 1], -np.pi)


def test_beyond_the_grid_is_its_outermost_bin():
    states = np.stack([walker_state(2.0, 0.1, 8.0), walker_state(7.0, 0.1, 1e30), walker_state(-1.0, 0.1, -9.0)])
    np.testing.assert_array_equal(cells("walker", states), [[19, 8, 31], [19, 8, 31], [0, 8, 0]])


def test_states_that_are_not_finite_are_left_out():
    states = np.stack([walker_state(1.25, 0.1, 0.1), walker_state(np.nan, 0.1, 5.0), walker_state(1.0, np.inf, 0.1)])
    assert coverage("walker", states) == 1


@pytest.mark.parametrize("domain", MEASURES)
def test_every_measured_domain_has_a_measure_of_its_own_states(domain):
    env = make(f"{domain}_{DOMAINS[domain].primal}", "states")
    _, info = env.reset()
    env.close()
    assert info["physics"].shape == (measure(domain).size,)
    assert coverage(domain, info["physics"][None]) == 1


def test_domains_and_tasks_without_a_measure_are_refused():
    others = set(DOMAINS) - set(MEASURES)
    assert {"cartpole", "humanoid_CMU"} <= others
    for domain in others:
        with pytest.raises(UserError, match=f"domain={domain} .*jaco, quadruped, walker"):
            coverage(domain, np.zeros((1, 4)))
    with pytest.raises(UserError, match=r"\(1, 70\).*domain=quadruped.* 57 "):  # fetch: the ball counts
        coverage("quadruped", np.zeros((1, body("quadruped_fetch").state)))


def test_unknown_domains_and_foreign_states_are_refused():
    with pytest.raises(UserError, match=r"domain=waker .*jaco, quadruped, walker.* domain=walker"):
        coverage("waker", np.zeros((1, 18)))
    with pytest.raises(UserError, match="domain=quadruped.* 57 numbers"):
        coverage("quadruped", np.zeros((1, 18)))
    with pytest.raises(UserError, match="domain=walker"):
        coverage("walker", np.zeros(18))
