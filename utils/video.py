"""Videos as arrays, uint8 of shape (T, H, W, 3): arrange, enlarge, write on, encode."""

import io
import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import GifImagePlugin, Image, ImageDraw, ImageFont

from utils.atomic import atomic_path

Frames = NDArray[np.uint8]

_log = logging.getLogger(__name__)
BRIGHT = 128
"""Of 255: mean of what white letters cannot be read on."""

_BORDER = 2  # pixels
_BORDER_COLOUR = 48


def save_video(frames: Frames, path: Path, fps: float) -> Path:
    """Write ``frames`` (T, H, W, 3) atomically and return the path written.

    ``.gif`` gives an animated GIF, anything else an H.264 mp4 that browsers play. Without ffmpeg (package
    imageio-ffmpeg) a GIF is written beside the wanted name, and a log line says so.

    Raises:
        ValueError: frames of another shape or dtype.
        OSError: the file cannot be written, or ffmpeg failed.
    """
    _check(frames)
    path = Path(path)
    if path.suffix.lower() != ".gif" and not _has_ffmpeg():
        _log.warning("%s: no ffmpeg here, writing a GIF instead. For mp4: pip install imageio-ffmpeg", path)
        path = path.with_suffix(".gif")
    with atomic_path(path) as temporary:
        if path.suffix.lower() == ".gif":
            temporary.write_bytes(encode_gif(frames, fps))
        else:
            _write_mp4(frames, temporary, fps)
    return path


def encode_gif(frames: Frames, fps: float) -> bytes:
    """An endlessly looping GIF of all ``frames`` (T, H, W, 3).

    GIF counts in 1/100 s: single delays are rounded such that the whole keeps its length, but none is below 2/100 s
    (50 fps), because viewers slow such frames down to 10 fps.

    Raises:
        ValueError: frames of another shape or dtype.
    """
    _check(frames)
    # The usual writers (Pillow's save, so imageio's, too) merge equal neighbours: 50 steps of an agent that stands
    # still would come back as one frame, and frame numbers would not be time. So the blocks are put together here.
    _, height, width, _ = frames.shape
    out = io.BytesIO()
    out.write(b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\0\0\0")
    out.write(b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")  # loop for ever
    ends = [round(100 * (t + 1) / fps) for t in range(len(frames))]
    for frame, start, end in zip(frames, [0, *ends], ends, strict=False):
        # the octree is ten times faster than the default method and as good on simulator images
        image = Image.fromarray(frame).quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        milliseconds = 10 * max(end - start, 2)
        out.write(b"".join(GifImagePlugin.getdata(image, duration=milliseconds, include_color_table=True)))
    out.write(b";")
    return out.getvalue()


def tile(videos: NDArray[np.uint8], columns: int) -> Frames:
    """Arrange ``videos`` (N, T, H, W, 3) row by row in a grid with 2-pixel borders around every tile.

    Returns (T, R*(H+2)+2, C*(W+2)+2, 3) with C = ``columns`` and R = ceil(N / C); places left over stay grey.

    Raises:
        ValueError: not five dimensions, or ``columns`` below 1.
    """
    if videos.ndim != 5 or videos.shape[-1] != 3 or columns < 1:
        raise ValueError(f"tile wants (N, T, H, W, 3) and columns >= 1, got {videos.shape} and {columns}")
    number, length, height, width, _ = videos.shape
    rows = -(-number // columns)
    shape = (length, rows * (height + _BORDER) + _BORDER, columns * (width + _BORDER) + _BORDER, 3)
    grid = np.full(shape, _BORDER_COLOUR, dtype=np.uint8)
    for index, video in enumerate(videos):
        top = _BORDER + index // columns * (height + _BORDER)
        left = _BORDER + index % columns * (width + _BORDER)
        grid[:, top : top + height, left : left + width] = video
    return grid


def upscale(frames: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Repeat every pixel of (..., H, W, 3) ``factor`` times both ways: (..., factor*H, factor*W, 3)."""
    return frames.repeat(factor, axis=-3).repeat(factor, axis=-2)


def label(frames: Frames, text: str | Sequence[str]) -> Frames:
    """A copy of ``frames`` (T, H, W, 3) with white text, outlined in black, in the upper left corner, which is darkened
    where it is bright.

    ``text`` is one string for all frames or one per frame. The letters are H/12 pixels high, 10 at least: enlarge
    64-pixel frames first.

    Raises:
        ValueError: frames of another shape or dtype, or not one text per frame.
    """
    _check(frames)
    texts = [text] * len(frames) if isinstance(text, str) else list(text)
    if len(texts) != len(frames):
        raise ValueError(f"{len(texts)} texts for {len(frames)} frames")
    font = _font(max(10, frames.shape[1] // 12))
    labelled = np.empty_like(frames)
    for t, (frame, words) in enumerate(zip(frames, texts, strict=True)):
        image = Image.fromarray(_shaded(frame, words, font))
        draw = ImageDraw.Draw(image)
        draw.text((3, 2), words, fill=(255, 255, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
        labelled[t] = np.asarray(image)
    return labelled


def _shaded(frame: Frames, words: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> Frames:
    """``frame`` (H, W, 3), dark where ``words`` go if it is bright there: outlines alone are not enough on white."""
    right, low = (round(end) + 3 for end in ImageDraw.Draw(Image.new("RGB", (1, 1))).textbbox((3, 2), words, font)[2:])
    if not words or frame[:low, :right].mean() < BRIGHT:
        return frame
    frame = frame.copy()
    frame[:low, :right] //= 4
    return frame


@cache
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _check(frames: Frames) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"a video is uint8 of shape (T, H, W, 3), got {frames.dtype} {frames.shape}")


@cache
def _has_ffmpeg() -> bool:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # the package without a program for this platform raises the latter
        return False
    return True


def _write_mp4(frames: Frames, path: Path, fps: float) -> None:
    import imageio_ffmpeg

    # The usual pixel format stores colour for 2 x 2 blocks, so sides must be even: repeat the last row or column.
    _, height, width, _ = frames.shape
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    size = (frames.shape[2], frames.shape[1])
    writer = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=fps,
        quality=8,
        macro_block_size=1,
        ffmpeg_log_level="error",
        output_params=["-movflags", "+faststart"],
    )
    writer.send(None)
    try:
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
    finally:
        writer.close()
    if not path.is_file() or path.stat().st_size == 0:  # the library does not look at ffmpeg's exit status
        raise OSError(f"ffmpeg wrote nothing to {path}; its message is above")
