"""The videos of several skills, side by side in one."""

import math

import numpy as np

from utils.video import Frames, label, tile

MOST_BYTES = 250_000_000
"""Of the pictures kept for the grid, unless they would be smaller than ``LEAST_SIDE``. The grid takes as much again."""

LEAST_SIDE = 32
"""Pixels."""


class SkillGrid:
    """Collects one episode of each of ``count`` skills, every second pixel of its pictures, and arranges them.

    Every fourth or eighth for many skills or long episodes: see ``MOST_BYTES``. ``length`` is the most pictures of an
    episode, ``side`` their size in pixels. An episode that ends early is shown standing still.
    """

    def __init__(self, count: int, length: int, side: int) -> None:
        self.step = 2
        while count * length * 3 * (side // self.step) ** 2 > MOST_BYTES and side // (2 * self.step) >= LEAST_SIDE:
            self.step *= 2
        small = -(-side // self.step)
        self._tiles = np.empty((count, length, small, small, 3), np.uint8)
        self._lengths: list[int] = []

    def add(self, pictures: Frames, name: str) -> None:
        """The next skill's pictures (T, side, side, 3), of which a smaller copy is kept; ``name`` is written on it."""
        tile_of = self._tiles[len(self._lengths)]
        tile_of[: len(pictures)] = label(pictures[:, :: self.step, :: self.step], name)
        tile_of[len(pictures) :] = tile_of[len(pictures) - 1]
        self._lengths.append(len(pictures))

    def frames(self) -> Frames:
        """The grid of the skills so far, as long as the longest episode, (T, H, W, 3)."""
        shown = self._tiles[: len(self._lengths), : max(self._lengths)]
        return tile(shown, columns=math.ceil(len(shown) ** 0.5))
