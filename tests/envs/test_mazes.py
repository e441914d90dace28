"""A point in a maze: its motion by hand, what ends an episode, and many points at once."""

import gymnasium
import numpy as np
import pytest

from envs.autoreset import SerialVector
from envs.maze_layout import MAZES, checked, layout
from envs.maze_walls import MARGIN
from envs.mazes import MazeEnv, MazeVector, pushed
from envs.replayed import ReplayedEnv
from envs.vector import env_seed

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def hall(**other):
    """No walls inside."""
    return checked({"walls": [SQUARE], "start": [0.5, 0.5], "steps": 6, **other}, "hall")


def after(actions, start=(0.5, 0.5), **other):
    place, velocity = np.array([start]), np.zeros((1, 2))
    for action in actions:
        place, velocity = pushed(hall(**other), place, velocity, np.array([action]))
    return place[0], velocity[0]


def test_motion_by_hand():
    """v' = v + a, |v'| <= 0.1, x' = x + v'; a is 0.1 times the action."""
    place, velocity = after([(0.5, 0.0), (0.0, 0.2)])
    np.testing.assert_allclose(velocity, [0.05, 0.02])
    np.testing.assert_allclose(place, [0.5 + 0.05 + 0.05, 0.5 + 0.02])
    place, velocity = after([(7.0, 0.0), (0.0, 7.0)])  # clipped to 1, then (0.1, 0.1) is too fast
    np.testing.assert_allclose(velocity, [0.1 / np.sqrt(2)] * 2)
    np.testing.assert_allclose(place, [0.6 + 0.1 / np.sqrt(2), 0.5 + 0.1 / np.sqrt(2)])
    _, velocity = after([(1.0, -1.0)], max_speed=0.02, max_acceleration=0.01)
    np.testing.assert_allclose(velocity, [0.01, -0.01])


def test_a_wall_stops_the_point_where_it_is_met():
    place, velocity = after([(1.0, 0.5), (1.0, 0.0)], start=(0.85, 0.5))
    way = np.array([0.1, 0.05]) / np.hypot(0.1, 0.05) * 0.1
    first = np.array([0.85, 0.5]) + way
    second = np.array([0.1 + way[0], way[1]]) / np.hypot(0.1 + way[0], way[1]) * 0.1
    share = (1 - MARGIN - first[0]) / second[0]
    np.testing.assert_allclose(place, first + share * second, atol=1e-8)
    assert velocity.tolist() == [0.0, 0.0]
    place, velocity = after([(1.0, 0.5), (1.0, 0.0), (-0.5, 0.0)], start=(0.85, 0.5))
    np.testing.assert_allclose(velocity, [-0.05, 0.0])  # and leaves it again


@pytest.mark.parametrize("name", MAZES)
def test_nobody_leaves_a_maze_or_is_too_fast(name):
    maze = layout(name)
    points, random = MazeVector(maze, 100, seed=1), np.random.default_rng(0)
    points.reset()
    for _ in range(2 * maze.steps):
        step = points.step(random.normal(size=(100, 2)).astype(np.float32))
        position = step.info["position"]
        assert position.min() >= MARGIN - 1e-9 and position.max() <= 1 - MARGIN + 1e-9
        assert maze.barrier.clear(position).all() and maze.barrier.clear(points.positions()).all()
        assert np.hypot(step.final_obs[:, 2], step.final_obs[:, 3]).max() <= 0.1 + 1e-8


def test_it_is_a_gymnasium_environment():
    env = MazeEnv(hall(spread=0.1), image_size=32)
    first, info = env.reset(seed=3)
    assert first in env.observation_space and first.dtype == np.float32
    np.testing.assert_array_equal(first, [*info["position"].astype(np.float32), 0, 0])
    assert not np.array_equal(env.reset()[0], first) and np.array_equal(env.reset(seed=3)[0], first)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(6)]
    assert ends == [(False, False)] * 5 + [(False, True)]
    assert env.render().shape == (32, 32, 3) and env.render().dtype == np.uint8
    with pytest.raises(ValueError, match=r"\(3,\)"):
        env.step(np.zeros(3, np.float32))


def test_many_points_are_single_ones_bit_for_bit():
    maze = layout("9RoomMaze")
    together = MazeVector(maze, 5, seed=7)
    alone = SerialVector([ReplayedEnv(MazeEnv(maze), env_seed(7, index)) for index in range(5)], "maze")
    random = np.random.default_rng(0)
    for seed in (None, None, 9):
        assert together.reset(seed).tobytes() == alone.reset(seed).tobytes()
        for _ in range(maze.steps + 20):
            action = random.normal(size=(5, 2)).astype(np.float32)
            one, two = together.step(action), alone.step(action)
            for a, b in zip((*one[:5], one.info["position"]), (*two[:5], two.info["position"]), strict=True):
                assert a.tobytes() == b.tobytes() and a.dtype == b.dtype
        assert together.positions().tobytes() == alone.positions().tobytes()


def test_states_of_other_walls_or_other_numbers_are_refused():
    points = MazeVector(hall(), 3)
    points.reset()
    with pytest.raises(ValueError, match="walls"):
        MazeVector(layout("DoorMaze"), 3).set_state(points.get_state())
    with pytest.raises(ValueError, match=r"3 .*2 "):
        MazeVector(hall(), 2).set_state(points.get_state())
    with pytest.raises(gymnasium.error.ResetNeeded):
        MazeVector(hall(), 3).step(np.zeros((3, 2), np.float32))


def test_the_picture_shows_the_point_where_it_is():
    env = MazeEnv(hall(spread=0.0), image_size=100)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.array([1.0, 0.5], np.float32))
    red = np.argwhere(env.render()[:, :, 2] < 20).mean(0)
    x, y = env.place
    np.testing.assert_allclose(red, [100 * (0.97 - 0.94 * y), 100 * (0.03 + 0.94 * x)], atol=1.5)
