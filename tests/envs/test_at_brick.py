"""What is to be observed at the goal of a jaco task."""

import numpy as np
import pytest

from envs.at_brick import ABOVE, at_brick
from envs.make import TASKS, make

DISTANT = 0.003  # metres, after a step without moving


@pytest.mark.parametrize("task", TASKS["jaco"])
@pytest.mark.parametrize("exorl", [False, True])
def test_the_hand_is_around_the_brick_and_touches_nothing(task, exorl):
    env = make(task, obs_type="states", exorl=exorl)
    seen = at_brick(env, 0)
    inner = env.unwrapped._env
    physics, reach = inner.physics, inner.task
    hand = np.array(physics.bind(reach.hand.tool_center_point).xpos)
    np.testing.assert_allclose(hand, reach.workspace_target + [0, 0, ABOVE], atol=DISTANT)
    assert reach.get_reward(physics) > 0.9
    names = [physics.model.id2name(geom, "geom") for pair in physics.data.contact.geom for geom in pair]
    assert not any("jaco" in name for name in names)
    assert seen.dtype == np.float32 and seen.shape == env.observation_space["observation"].shape


def test_it_is_the_same_every_time_and_another_view_than_a_start():
    env = make("jaco_reach_top_left", render_quality="lite")
    first = at_brick(env, 0)
    assert first.shape == (3, 64, 64) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, at_brick(env, 0))
    start, _ = env.reset(seed=0)
    assert not np.array_equal(first, start["observation"])
