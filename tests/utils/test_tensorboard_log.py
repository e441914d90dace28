import sys

import imageio.v3 as iio
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator

from utils.errors import UserError
from utils.tensorboard_log import TensorBoardLog


def load(folder):
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0, IMAGES: 0})
    events.Reload()
    return events


def points(folder, tag):
    return [(event.step, event.value) for event in load(folder).Scalars(tag)]


def test_scalars_over_frames(tmp_path):
    log = TensorBoardLog(tmp_path / "tb")
    log.scalars(1000, {"train/actor_loss": 0.5, "eval_total_time": 3.0})
    log.scalars(2000, {"train/actor_loss": 0.25})
    log.close()
    assert points(tmp_path / "tb", "train/actor_loss") == [(1000, 0.5), (2000, 0.25)]
    assert points(tmp_path / "tb", "eval_total_time") == [(1000, 3.0)]


def test_video_is_a_gif_with_all_frames(tmp_path):
    frames = np.zeros((10, 24, 32, 3), np.uint8)
    frames[3:6, :8] = 255  # most neighbours are equal
    log = TensorBoardLog(tmp_path / "tb")
    log.video(5000, "train/open_loop", frames, fps=15)
    log.close()
    (event,) = load(tmp_path / "tb").Images("train/open_loop")
    assert (event.step, event.height, event.width) == (5000, 24, 32)
    assert np.array_equal(iio.imread(event.encoded_image_string, extension=".gif", index=None), frames)


def test_a_resumed_run_replaces_what_was_beyond_its_checkpoint(tmp_path):
    folder = tmp_path / "tb"
    video = np.zeros((2, 8, 8, 3), np.uint8)
    first = TensorBoardLog(folder)
    for frame in (1000, 2000, 3000):
        first.scalars(frame, {"train/a": frame})
        first.video(frame, "train/v", video, 10)
    # and killed
    second = TensorBoardLog(folder)
    second.truncate(2000)
    second.scalars(2500, {"train/a": -1.0})
    second.close()
    assert points(folder, "train/a") == [(1000, 1000.0), (2000, 2000.0), (2500, -1.0)]
    assert [event.step for event in load(folder).Images("train/v")] == [1000, 2000]


def test_a_run_that_begins_again_replaces_everything(tmp_path):
    first = TensorBoardLog(tmp_path / "tb")
    first.scalars(0, {"a": 1.0})
    first.close()
    second = TensorBoardLog(tmp_path / "tb")
    second.truncate(-1)
    second.scalars(500, {"a": 2.0})
    second.close()
    assert points(tmp_path / "tb", "a") == [(500, 2.0)]


def test_no_file_before_the_first_value(tmp_path):
    log = TensorBoardLog(tmp_path / "tb")
    log.close()
    assert not (tmp_path / "tb").exists()


def test_missing_package_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install tensorboard\b.*use_tb=false"):
        TensorBoardLog(tmp_path)
