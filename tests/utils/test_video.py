import io

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import utils.video
from utils.video import encode_gif, label, save_video, tile, upscale


def moving_square(length=12, height=48, width=64):
    frames = np.full((length, height, width, 3), (20, 60, 120), np.uint8)
    for t in range(length):
        frames[t, 10:20, 4 * t : 4 * t + 10] = (250, 220, 30)
    return frames


def delays(gif):
    """Every frame's duration, ms."""
    image = Image.open(io.BytesIO(gif))
    result = []
    for index in range(image.n_frames):
        image.seek(index)
        result.append(image.info["duration"])
    return result


def test_gif_round_trip_is_exact_with_few_colours():
    frames = moving_square()
    assert np.array_equal(iio.imread(encode_gif(frames, 15), extension=".gif", index=None), frames)


def test_gif_keeps_frames_that_do_not_change():
    frames = np.zeros((9, 16, 16, 3), np.uint8)
    frames[5:] = 200
    assert np.array_equal(iio.imread(encode_gif(frames, 10), extension=".gif", index=None), frames)


def test_gif_of_one_frame():
    frames = moving_square(length=1)
    assert np.array_equal(iio.imread(encode_gif(frames, 10), extension=".gif", index=None), frames)


def test_gif_of_natural_colours_is_close():
    y, x = np.mgrid[0:64, 0:64]
    frames = np.stack([np.stack([4 * x, 4 * y, 255 - 2 * x - y + t], -1) for t in range(4)]).astype(np.uint8)
    decoded = iio.imread(encode_gif(frames, 10), extension=".gif", index=None)
    assert np.abs(decoded.astype(int) - frames).mean() < 8


def test_gif_keeps_time():
    assert sum(delays(encode_gif(moving_square(length=15), fps=15))) == 1000
    assert set(delays(encode_gif(moving_square(length=15), fps=15))) == {60, 70}
    assert set(delays(encode_gif(moving_square(length=4), fps=1000))) == {20}
    assert Image.open(io.BytesIO(encode_gif(moving_square(), 15))).info["loop"] == 0


def test_mp4_round_trip(tmp_path):
    frames = moving_square()
    path = save_video(frames, tmp_path / "new" / "a.mp4", fps=15)
    assert path == tmp_path / "new" / "a.mp4"
    decoded = iio.imread(path)
    assert decoded.shape == frames.shape
    assert np.abs(decoded.astype(int) - frames).mean() < 6
    assert iio.immeta(path)["fps"] == 15
    assert [entry.name for entry in path.parent.iterdir()] == ["a.mp4"]


def test_mp4_with_odd_sides_is_padded_not_resized(tmp_path):
    frames = moving_square(height=47, width=65)
    decoded = iio.imread(save_video(frames, tmp_path / "a.mp4", fps=15))
    assert decoded.shape == (12, 48, 66, 3)
    assert np.abs(decoded[:, :47, :65].astype(int) - frames).mean() < 6


def test_gif_by_suffix(tmp_path):
    path = save_video(moving_square(), tmp_path / "a.gif", fps=10)
    assert iio.imread(path, index=None).shape == (12, 48, 64, 3)


def test_without_ffmpeg_a_gif_and_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(utils.video, "_has_ffmpeg", lambda: False)
    path = save_video(moving_square(), tmp_path / "a.mp4", fps=10)
    assert path == tmp_path / "a.gif"
    assert path.read_bytes().startswith(b"GIF89a")
    assert "imageio-ffmpeg" in caplog.text


def test_failed_write_leaves_the_old_video(tmp_path, monkeypatch):
    path = save_video(moving_square(), tmp_path / "a.mp4", fps=10)
    before = path.read_bytes()

    def fail(frames, temporary, fps):
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(utils.video, "_write_mp4", fail)
    with pytest.raises(OSError, match="disk full"):
        save_video(moving_square(3), path, fps=10)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (8, 8, 3), (0, 8, 8, 3)])
def test_wrong_shapes_are_named(tmp_path, shape):
    with pytest.raises(ValueError, match="uint8 of shape"):
        save_video(np.zeros(shape, np.uint8), tmp_path / "a.mp4", 10)
    with pytest.raises(ValueError, match="float64"):
        encode_gif(np.zeros((2, 8, 8, 3)), 10)


@settings(deadline=None)
@given(number=st.integers(1, 7), columns=st.integers(1, 4), height=st.integers(1, 5), width=st.integers(1, 5))
def test_tile_puts_every_video_at_its_place(number, columns, height, width):
    videos = np.random.default_rng(0).integers(0, 256, (number, 2, height, width, 3), dtype=np.uint8)
    grid = tile(videos, columns)
    rows = -(-number // columns)
    assert grid.shape == (2, rows * (height + 2) + 2, columns * (width + 2) + 2, 3)
    covered = np.zeros(grid.shape, bool)
    for i in range(number):
        place = np.s_[
            :,
            2 + (i // columns) * (height + 2) : 2 + (i // columns) * (height + 2) + height,
            2 + (i % columns) * (width + 2) : 2 + (i % columns) * (width + 2) + width,
        ]
        assert np.array_equal(grid[place], videos[i])
        covered[place] = True
    assert len(np.unique(grid[~covered])) == 1


def test_tile_refuses_single_videos():
    with pytest.raises(ValueError, match="N, T, H, W, 3"):
        tile(moving_square(), 2)


def test_upscale_repeats_pixels():
    frames = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    big = upscale(frames, 3)
    assert big.shape == (1, 6, 6, 3)
    for i in range(6):
        for j in range(6):
            assert np.array_equal(big[0, i, j], frames[0, i // 3, j // 3])
    assert upscale(np.zeros((4, 5, 8, 9, 3), np.uint8), 2).shape == (4, 5, 16, 18, 3)


def test_label_writes_in_the_corner_of_a_copy():
    frames = np.full((2, 96, 128, 3), 90, np.uint8)
    labelled = label(frames, ["skill 3", ""])
    assert (frames == 90).all()
    assert (labelled[1] == 90).all()
    assert labelled[0, :20, :60].max() > 220  # white letters
    assert labelled[0, :20, :60].min() < 30  # black outline
    assert (labelled[0, 40:] == 90).all()
    assert np.array_equal(label(frames, "skill 3")[1], labelled[0])
    bright = label(np.full((1, 96, 128, 3), 255, np.uint8), "skill 3")[0]
    assert (bright[:14, :40] < 90).mean() > 0.5 and (bright[40:] == 255).all()  # letters stand on a dark ground
    with pytest.raises(ValueError, match=r"\b3\b.*\b2\b"):
        label(frames, ["a", "b", "c"])
