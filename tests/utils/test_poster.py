"""The poster: what is drawn, and a picture that can be looked at."""

import numpy as np
import pytest
from PIL import Image

from utils.poster import Runs, poster

LEARNED = Runs([0, 5000], [[100.0, 400.0]], "after pre-training")
SCRATCH = Runs([0, 5000], [[90.0, 150.0], [110.0, 210.0], [100.0, 160.0]], "from scratch")


def drawn(path, colours, captions=("a: 1", "b: 2")):
    stills = np.broadcast_to(np.array(colours, np.uint8)[:, None, None, None], (len(colours), 3, 64, 64, 3))
    return poster(stills, captions, LEARNED, SCRATCH, path, title="title", about=("of the skills", "of the curve"))


def test_every_skill_is_a_column(tmp_path):
    picture = np.asarray(Image.open(drawn(tmp_path / "poster.png", [(250, 10, 10), (10, 250, 10)])).convert("RGB"))
    red, green = ((picture == colour).all(-1) for colour in ((250, 10, 10), (10, 250, 10)))
    assert red.any(0).nonzero()[0].max() < green.any(0).nonzero()[0].min()
    for column in (red, green):
        rows = column.any(1).astype(int)
        assert (np.diff(rows) == 1).sum() == 3, "an episode each"


def test_nothing_half_written_is_left(tmp_path):
    with pytest.raises(ValueError, match="1 captions for 2 skills"):
        drawn(tmp_path / "poster.png", [(250, 10, 10), (10, 250, 10)], captions=["a"])
    assert not list(tmp_path.iterdir())
