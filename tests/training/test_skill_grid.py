"""Videos side by side, small enough for memory."""

import numpy as np
import pytest

from training import skill_grid
from training.skill_grid import MOST_BYTES, SkillGrid


def pictures(length, value, side=256):
    return np.full((length, side, side, 3), value, np.uint8)


def test_places_lengths_and_names():
    grid = SkillGrid(3, 9, 256)
    for value, length in ((10, 4), (20, 6), (30, 5)):
        moving = pictures(length, value)
        moving[:, 0::2, 0::2] += np.arange(length, dtype=np.uint8)[:, None, None, None]
        grid.add(moving, f"skill {value}")
    frames = grid.frames()
    assert frames.shape == (6, 2 * 130 + 2, 2 * 130 + 2, 3) and frames.dtype == np.uint8
    for number, (value, length) in enumerate(((10, 4), (20, 6), (30, 5))):
        top, left = 2 + 130 * (number // 2), 2 + 130 * (number % 2)
        tile = frames[:, top : top + 128, left : left + 128]
        # every second pixel; an episode that has ended stands still
        assert [set(frame[64:].ravel()) for frame in tile] == [{value + min(t, length - 1)} for t in range(6)]
        assert tile[0, :20].max() > 200  # the name
    assert (frames[:, 132:, 132:] == 48).all()


@pytest.mark.parametrize(
    ("count", "length", "step"),
    [(10, 251, 2), (10, 501, 2), (11, 501, 4), (10, 1001, 4), (100, 251, 8), (1000, 251, 8)],
)
def test_many_skills_are_shown_smaller(monkeypatch, count, length, step):
    asked = []
    monkeypatch.setattr(skill_grid.np, "empty", lambda shape, dtype: asked.append(shape))
    assert SkillGrid(count, length, 256).step == step
    side = 256 // step
    assert asked == [(count, length, side, side, 3)]
    assert count == 1000 or count * length * side**2 * 3 <= MOST_BYTES


def test_what_is_kept_is_a_copy():
    grid, shown = SkillGrid(1, 2, 64), pictures(2, 7, 64)
    grid.add(shown, "")
    shown[:] = 200
    assert grid.frames()[:, 2:34, 2:34].max() == 7
