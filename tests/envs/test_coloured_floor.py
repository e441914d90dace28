"""The coloured floor: which place has which colour, that nothing else changes, and where there is none."""

import numpy as np
import pytest
from dm_control import mujoco

from envs.floor import PERIOD, colour, texels
from envs.make import make
from utils.errors import UserError

STEPS = 3


def from_above(env, x, y):
    """The mean colour, of the lamps' alone, of the floor at ``x``, ``y``."""
    camera = mujoco.MovableCamera(env.unwrapped.physics, 64, 64)
    camera.set_pose([x, y, 0], 0.6, 90, -90)
    flags = {"shadow": False, "reflection": False, "haze": False}
    return camera.render(render_flag_overrides=flags)[28:36, 28:36].reshape(-1, 3).mean(0)


def stepped(task, **settings):
    env = make(task, seed=1, **settings)
    env.reset()
    action = np.random.default_rng(0).uniform(-1, 1, env.action_space.shape).astype(np.float32)
    return env, [env.step(action) for _ in range(STEPS)]


@pytest.mark.parametrize(
    ("x", "y", "colour"),
    # of 30 m: red 255 (x + 15) / 30, green 255 (y + 15) / 30, blue 128
    [(1.5, 0, (140, 128)), (5, 0, (170, 128)), (-6, 3, (76, 153)), (0.5, -7, (132, 68))],
)
def test_red_grows_along_x_and_green_along_y(x, y, colour):
    env, _ = stepped("quadruped_walk", floor="gradient")
    np.testing.assert_allclose(from_above(env, x, y), (*colour, 128), atol=2)


@pytest.mark.parametrize("task", ["cheetah_run", "walker_walk"])
@pytest.mark.parametrize(
    ("x", "colour"),
    # hue 300 (x + 15) / 30 degrees: 165 and 200; a period further on the same
    [(1.5, (0, 255, 191)), (5, (0, 170, 255)), (5 + PERIOD, (0, 170, 255))],
)
def test_the_plane_of_a_planar_body_is_a_rainbow(task, x, colour):
    env, _ = stepped(task, floor="gradient")
    np.testing.assert_allclose(from_above(env, x, 0), colour, atol=4)


def test_texels_by_hand():
    picture = texels(2, 4, 0.0, 0.0, planar=False)
    # columns at 1/8, 3/8, ... of the period along x, rows at 3/4 and 1/4 along y
    assert picture[0].tolist() == [[32, 191, 128], [96, 191, 128], [159, 191, 128], [223, 191, 128]]
    assert picture[1, 0].tolist() == [32, 64, 128]
    # the middle of the plane half a period further: the halves change places
    np.testing.assert_array_equal(texels(2, 4, 15.0, 0.0, planar=False), np.roll(picture, 2, axis=1))
    # a quarter of the way through 300 degrees is 75: yellow, with red at 3/4
    assert texels(1, 2, 0.0, 0.0, planar=True)[0, 0].tolist() == [191, 255, 0]


@pytest.mark.parametrize("task", ["cheetah_run", "quadruped_walk", "jaco_reach_top_left"])
def test_pixels_change_and_nothing_else(task):
    plain, coloured = stepped(task), stepped(task, floor="gradient")
    for (seen, *told, info), (seen_too, *told_too, info_too) in zip(plain[1], coloured[1], strict=True):
        assert told == told_too and np.array_equal(info["physics"], info_too["physics"])
        assert not np.array_equal(seen["observation"], seen_too["observation"])
    env, last = coloured[0], coloured[1][-1][0]["observation"]
    env.unwrapped.render_at(100)
    np.testing.assert_array_equal(env.render(), last.transpose(1, 2, 0))
    np.testing.assert_array_equal(stepped(task, floor="gradient")[1][-1][0]["observation"], last)


def test_it_is_off_unless_asked_for():
    default, left_out = stepped("cheetah_run", floor="default"), stepped("cheetah_run")
    np.testing.assert_array_equal(default[1][-1][0]["observation"], left_out[1][-1][0]["observation"])


def test_where_there_is_no_floor_it_is_refused():
    with pytest.raises(UserError, match="floor=gradient.*floor=default"):
        colour(mujoco.Physics.from_xml_string("<mujoco><worldbody/></mujoco>"))
    plain = '<mujoco><worldbody><geom name="floor" type="plane" size="1 1 1"/></worldbody></mujoco>'
    with pytest.raises(UserError, match="floor=gradient"):
        colour(mujoco.Physics.from_xml_string(plain))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "mw_reach", "floor": "gradient"}, "floor=gradient: task=mw_reach"),
        ({"task": "x_y", "env_factory": "own_kit.make", "floor": "gradient"}, "env_factory=own_kit.make"),
        ({"task": "walker_walk", "floor": "rainbow"}, "floor=rainbow.*default, gradient"),
    ],
)
def test_values_that_are_not_possible(settings, words):
    with pytest.raises(UserError, match=words):
        make(settings.pop("task"), **settings)
