"""The map of goals: filled where one was reached, hollow and red where none was."""

import numpy as np
from PIL import Image

from utils.goal_plot import NEVER, goal_map

PLACES = np.array([[-0.4, 0.3, 0.1], [0.4, 0.9, 0.5]])


def drawn(path, shares):
    goal_map(PLACES, np.array(shares), path, names=[3, 41], title="title")
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)


def count(pixels, colour):
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels - wanted).sum(1) < 12).sum())


def test_what_was_never_reached_is_red(tmp_path):
    none, one, both = (drawn(tmp_path / f"{i}.png", s) for i, s in enumerate(([0, 0], [0, 1.0], [1.0, 1.0])))
    # the legend has one, too
    assert count(none, NEVER) > count(one, NEVER) > count(both, NEVER)
    assert count(both, "#fde725") > count(one, "#fde725") > count(none, "#fde725")  # the top of the scale
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png", "2.png"]


def test_a_single_goal_can_be_drawn(tmp_path):
    goal_map(PLACES[:1], np.array([0.25]), tmp_path / "one.png", names=[0], title="title")
    assert Image.open(tmp_path / "one.png").size[0] > 800
