"""Films of skills side by side: pictures at a size that is asked for, a label on each, one grid."""

import math
from collections.abc import Mapping
from pathlib import Path

import gymnasium
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.camera import Camera
from training.evaluation import Picture
from utils.errors import UserError
from utils.video import Frames, label, save_video, tile

FPS = 25

MOST_BYTES = 2**29
"""Of the pictures of all films that are kept, about: what would be more is thinned out, every second picture first."""

ENDINGS = (".mp4", ".gif")

SIZES = (16, 1024)
"""Pixels a side of the picture of a skill, from and to."""


def check_video(option: str, path: Path | None, size: int) -> None:
    """Raise :class:`UserError` for a file that is no video by its name, or pictures that cannot be."""
    if not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"--size={size} is not possible. Set it to a whole number from {SIZES[0]} to {SIZES[1]}.")
    if path is not None and path.suffix.lower() not in ENDINGS:
        raise UserError(f"{option}={path} is no video. Name a file that ends in {' or '.join(ENDINGS)}.")


def at_size(env: gymnasium.Env, size: int) -> Picture:
    """Looks at ``env``, uint8 (size, size, 3). Raises :class:`UserError` where it cannot be drawn."""
    if hasattr(env, "render_at"):
        return lambda: env.render_at(size)
    camera = Camera(env)

    def resized() -> np.ndarray:
        picture = camera()
        assert picture is not None
        return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))

    return resized


class Films:
    """Films by name, as many as there will be, at most ``MOST_BYTES`` of them."""

    def __init__(self, count: int) -> None:
        self._room, self._kept, self._every = MOST_BYTES // count, dict[str, Frames](), dict[str, int]()

    def add(self, name: str, frames: Frames) -> None:
        """Keep a film, uint8 (T, H, W, 3): every picture of it, or every second, fourth, ..."""
        every = 1
        while frames.nbytes // every > self._room and len(frames) > every:
            every *= 2
        self._kept[name], self._every[name] = frames[::every].copy(), every

    @property
    def every(self) -> int:
        """How many steps lie between two pictures of the grid."""
        return max(self._every.values())

    def clips(self) -> dict[str, Frames]:
        """All of them, a picture every so many steps."""
        return {name: frames[:: self.every // self._every[name]] for name, frames in self._kept.items()}


def grid(clips: Mapping[str, Frames], columns: int | None = None) -> Frames:
    """Films (T, S, S, 3) with their names on them, row by row, uint8 (T, H, W, 3). One that is shorter than the others
    stands still at its end. Without ``columns`` the grid is about as wide as it is high.
    """
    longest = max(map(len, clips.values()))
    named = [label(held(frames, longest), name) for name, frames in clips.items()]
    return tile(np.stack(named), columns or math.ceil(len(named) ** 0.5))


def held(frames: Frames, length: int) -> Frames:
    """``frames`` (T, ...), and its last again until there are ``length``."""
    more: NDArray[np.uint8] = np.repeat(frames[-1:], length - len(frames), axis=0)
    return np.concatenate([frames, more])


def write_video(frames: Frames, path: Path) -> Path:
    """Write a video, all or nothing, and return where it is. Raises :class:`UserError` when it cannot be."""
    try:
        return save_video(frames, path, FPS)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Choose another place.") from error
