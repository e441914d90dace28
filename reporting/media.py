"""Videos and pictures of bounded size for a page."""

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.clips import FPS
from reporting.page import Html, data_uri, escaped, image
from utils.video import Frames, save_video

MOST_BYTES = 3 * 2**20
"""Of a video: a larger one is made with every second picture, and then smaller, until it fits."""

MOST_WIDTH, MOST_PICTURES = 760, 300
"""Pixels, and pictures, of a video."""

FEW_PICTURES = 80
"""Of fewer none is left out."""

STILL = 0.6
"""How far into a video the picture is that stands for it before it plays."""


def video(frames: Frames, alt: str) -> tuple[Html, str]:
    """A video that plays by itself, silently and endlessly, and its size in words: mp4, or GIF where there is no ffmpeg
    to write one. Frames are uint8 (T, H, W, 3).
    """
    while len(frames) > MOST_PICTURES:
        frames = frames[::2]
    frames = narrowed(frames, MOST_WIDTH)
    content, kind = _encoded(frames)
    while len(content) > MOST_BYTES and min(frames.shape[1:3]) > 64:
        frames = frames[::2] if len(frames) > FEW_PICTURES else narrowed(frames, int(frames.shape[2] * 0.75))
        content, kind = _encoded(frames)
    size = f"{len(frames)} pictures, {len(content) / 2**20:.1f} MB"
    if kind == "image/gif":
        return image(content, kind, alt, own_size=True), size
    still = data_uri(jpeg(frames[int(STILL * (len(frames) - 1))]), "image/jpeg")
    _, height, width, _ = frames.shape
    return Html(
        f'<video autoplay muted loop playsinline controls width="{width + width % 2}" height="{height + height % 2}" '
        f'poster="{still}" aria-label="{escaped(alt)}" src="{data_uri(content, kind)}"></video>'
    ), size


def _encoded(frames: Frames) -> tuple[bytes, str]:
    with tempfile.TemporaryDirectory() as folder:
        made = save_video(frames, Path(folder, "video.mp4"), FPS)
        return made.read_bytes(), "image/gif" if made.suffix == ".gif" else "video/mp4"


def narrowed(frames: Frames, width: int) -> Frames:
    """Frames (T, H, W, 3) no wider than ``width``."""
    if frames.shape[2] <= width:
        return frames
    size = (width, max(1, round(frames.shape[1] * width / frames.shape[2])))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in frames])


def jpeg(picture: Frames) -> bytes:
    """A picture (H, W, 3)."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=85)
    return out.getvalue()


def png(picture: Frames) -> bytes:
    """A picture (H, W, 3), every pixel as it is."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()
