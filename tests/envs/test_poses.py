"""Poses of the walker as goals."""

import numpy as np
import pytest

from envs.custom_dmc_tasks import load
from envs.make import TASKS, make
from envs.poses import HEIGHT, POSES, TOLERANCE, at_pose, distances, heights, joints, put

NUMBERS = range(len(POSES))


@pytest.fixture(scope="module")
def tall():
    return heights()


def state_of(physics):
    return np.array(physics.get_state(), np.float64)[None]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_pose_stands_on_the_floor_within_its_joints_and_is_no_other(number, tall):
    environment = load("walker", "stand", seed=0)
    put(environment, POSES[number])
    physics = environment.physics
    low, high = physics.model.jnt_range[3:].T
    assert (joints(POSES[number])[1:] >= low).all() and (joints(POSES[number])[1:] <= high).all()
    near = [float(distances(state_of(physics), other, tall[other])[0]) for other in NUMBERS]
    assert near[number] == pytest.approx(0, abs=1e-9)
    assert all(near[other] > 2 * TOLERANCE for other in NUMBERS if other != number)
    for lower, touches in ((0.001, True), (-0.002, False)):
        physics.data.qpos[0] -= lower
        physics.forward()
        assert bool(physics.data.ncon) == touches


def test_heights_of_those_that_are_known(tall):
    assert tall[0] == pytest.approx(HEIGHT)  # that of the model as it is
    assert tall[3] < 0.2 and tall[4] < 0.3 and 0.3 < tall[2] < 0.5


def test_the_distance_by_hand(tall):
    state = np.zeros((4, 18))
    state[1, 1] = 50.0  # where it is does not count
    state[1, 9:] = 9.0  # nor how fast it moves
    state[2, 2] = 2 * np.pi - 0.3  # once around, less 0.3
    state[3, 0], state[3, 3] = -0.4, 0.2
    np.testing.assert_allclose(distances(state, 0, tall[0]), [0, 0, 0.3, 0.4], atol=1e-9)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_to_be_seen_is_a_step_after_it(number, tall):
    env = make("walker_run", obs_type="states")
    seen = at_pose(env, number)
    assert seen.shape == (24,) and seen.dtype == np.float32
    assert distances(state_of(env.unwrapped.physics), number, tall[number])[0] < 0.15
    np.testing.assert_array_equal(seen, at_pose(env, number))


@pytest.mark.parametrize("task", TASKS["walker"])
def test_every_task_of_walker_has_them(task):
    images = [at_pose(env, number) for env in [make(task, render_quality="lite")] for number in (0, 3)]
    assert images[0].shape == (3, 64, 64) and not np.array_equal(*images)
