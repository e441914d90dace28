"""Films of skills: grids of them, how many pictures are kept, and pictures of a size."""

from pathlib import Path

import numpy as np
import pytest

from analysis import clips
from analysis.clips import Films, at_size, check_video, grid, held
from utils.errors import UserError


def film(length, shade=0):
    return np.full((length, 32, 32, 3), shade, np.uint8)


def test_a_short_film_stands_still_at_its_end():
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert held(frames, 5)[:, 0, 0, 0].tolist() == [0, 1, 2, 2, 2]
    shown = grid({"a": film(2, 200), "b": film(4, 100), "c": film(1, 50)})
    assert shown.shape == (4, 2 * 34 + 2, 2 * 34 + 2, 3)
    corner = (-3, -3)  # of a tile, where no label is
    assert shown[3, 33, 33, 0] == 200 and shown[0, 33, 67, 0] == 100 and shown[3, 67, 33, 0] == 50
    assert shown[(0, *corner, 0)] == 48  # the place left over


def test_what_is_too_much_is_thinned_out_alike(monkeypatch):
    monkeypatch.setattr(clips, "MOST_BYTES", 2 * 4 * film(1).nbytes)  # four pictures of each of two
    films = Films(2)
    films.add("short", film(4))
    films.add("long", film(9))
    assert films.every == 4  # 9 pictures, 5 of every second, 3 of every fourth
    assert {name: len(one) for name, one in films.clips().items()} == {"short": 1, "long": 3}


def test_pictures_are_drawn_or_resized():
    class Draws:
        def render(self):
            return np.full((8, 8, 3), 7, np.uint8)

    class DrawsAtSize(Draws):
        def render_at(self, size):
            return np.full((size, size, 3), 9, np.uint8)

    for env, shade in ((Draws(), 7), (DrawsAtSize(), 9)):
        picture = at_size(env, 20)()
        assert picture.shape == (20, 20, 3) and (picture == shade).all()


@pytest.mark.parametrize(
    "path, size, said", [("a.avi", 64, "a.avi"), ("a.mp4", 8, "size=8"), (None, 5000, "size=5000")]
)
def test_what_is_no_video_is_refused(path, size, said):
    with pytest.raises(UserError, match=said):
        check_video("--video", path and Path(path), size)
