"""Layouts of mazes: ours, those of files, and what is refused."""

import numpy as np
import pytest

from envs.maze_layout import ALIASES, MAZES, MOST_WALLS, checked, layout
from utils.errors import UserError
from utils.plain_yaml import dump

SQUARE = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]


def values(**other):
    return {"walls": [SQUARE, [[0.5, 0], [0.5, 0.4]]], "start": [0.25, 0.5], "steps": 30, **other}


def refused(values, *named):
    with pytest.raises(UserError) as caught:
        checked(values, "mine.yaml")
    for part in ("mine.yaml", *named):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", MAZES)
def test_all_of_our_mazes_can_be_reached(name):
    ours = layout(name)
    assert ours.free_cells(10).all() and ours.free_cells(10).shape == (10, 10)
    assert len(ours.barrier.loose_ends()) > 0 and ours.steps > 0
    assert (ours.max_speed, ours.max_acceleration) == (0.1, 0.1)


def test_published_names_are_ours():
    assert {name: layout(name) for name in ALIASES} == {name: layout(ours) for name, ours in ALIASES.items()}
    assert sorted(ALIASES.values()) == sorted(MAZES)


def test_a_file_is_a_maze(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(dump(values(spread=0.05, max_speed=0.02)))
    mine = layout(str(path))
    assert (mine.steps, mine.spread, mine.max_speed, mine.max_acceleration) == (30, 0.05, 0.02, 0.1)
    np.testing.assert_array_equal(mine.segments[4], [[0.5, 0], [0.5, 0.4]])
    begins = np.stack([mine.begin(np.random.default_rng(seed)) for seed in range(200)])
    np.testing.assert_allclose([begins.min(0), begins.max(0)], [[0.2, 0.45], [0.3, 0.55]], atol=0.005)
    assert checked(mine.plain(), "again") == mine


def test_a_maze_that_can_be_left_is_refused_and_its_loose_ends_are_named(tmp_path):
    path = tmp_path / "open.yaml"
    path.write_text(dump(values(walls=[SQUARE[:4], [[0, 1], [0, 0.02]]])))
    with pytest.raises(UserError, match=r"open\.yaml.*\[0\.25, 0\.5\].*\[0, 0\], \[0, 0\.02\]"):
        layout(str(path))
    refused(values(walls=[[[0.5, 0], [0.5, 0.4]]]), "start=[0.25, 0.5]", "[0.5, 0]")
    refused(values(walls=[[[x / 5, y / 5] for x, y in SQUARE]]), "start=[0.25, 0.5]")  # closed, around another place


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"walls": []}, "walls"),
        ({"walls": [[[0, 0]]]}, "walls"),
        ({"walls": [[[0, 0], [1.5, 0]]]}, "walls"),
        ({"walls": [[[0, 0], [True, 0]]]}, "walls"),
        ({"walls": [[[0, float("nan")], [1, 0]]]}, "walls"),
        ({"walls": [[[0.0, 0.0], [1.0, 0.0]] * MOST_WALLS]}, "walls"),
        ({"walls": [SQUARE, [[0.5, 0.5], [0.5, 0.5]]]}, "[[0.5, 0.5], [0.5, 0.5]]"),
        ({"start": [0.5, 0.2]}, "start=[0.5, 0.2]"),
        ({"start": [0.25]}, "start=[0.25]"),
        ({"start": [0.25, 2]}, "start=[0.25, 2]"),
        ({"spread": 0.3}, "spread=0.3"),
        ({"spread": -0.1}, "spread=-0.1"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"max_speed": 0}, "max_speed=0"),
        ({"sped": 1}, "sped"),
    ],
)
def test_what_is_no_maze_is_refused(change, named):
    refused(values(**change), named)


def test_missing_keys_and_files_are_named(tmp_path):
    for key in ("walls", "start", "steps"):
        refused({name: value for name, value in values().items() if name != key}, key, "A maze file has walls")
    with pytest.raises(UserError, match="nowhere.yaml"):
        layout(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(UserError, match="env=FourRoomMaze.*4RoomMaze"):
        layout("FourRoomMaze")


def test_cells_that_no_way_leads_to_are_not_free():
    block = [[0.6, 0.6], [1, 0.6], [1, 1], [0.6, 1], [0.6, 0.6]]
    free = checked(values(walls=[SQUARE, block]), "block").free_cells(5, 10)
    assert free.shape == (5, 10)
    expected = np.ones((5, 10), bool)
    expected[3:, 6:] = False
    np.testing.assert_array_equal(free, expected)
    half = [[0.65, 0.6], [1, 0.6], [1, 1], [0.65, 1], [0.65, 0.6]]  # column 3 is free in part
    expected[3] = True
    np.testing.assert_array_equal(checked(values(walls=[SQUARE, half]), "half").free_cells(5, 10), expected)
