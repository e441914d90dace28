"""A small replay to be damaged, and how to look at what became of it."""

import os
from pathlib import Path

import numpy as np
import pytest
from replay_feeder import Feeder, build

from replay.damage import DamagedReplay

LENGTHS = [20, 35, 9]
SIZES: dict = {"capacity": 512, "num_envs": 2}
STEPS = 16


def written(folder: Path, adds: int = 100) -> tuple[dict, Feeder]:
    """A replay of two streams with 7 segments each (the last of 4 records), and what a checkpoint knows of it."""
    replay, feeder = build(folder, **SIZES), Feeder(LENGTHS, 2)
    feeder.feed(replay, adds)
    return replay.state_dict(), feeder


def segment(folder: Path, env: int, number: int) -> Path:
    return folder / f"stream_{env}" / f"segment_{number:08d}.bin"


def tree(folder: Path) -> dict[str, object]:
    """Every name below ``folder`` and what it is: content, link or kind."""

    def what(path: Path) -> object:
        if path.is_symlink():
            return os.readlink(path)
        return path.read_bytes() if path.is_file() else path.is_dir()

    return {str(path.relative_to(folder)): what(path) for path in sorted(folder.rglob("*"))}


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << position % 8
    path.write_bytes(content)


def refused(folder: Path, state: dict, **how) -> DamagedReplay:
    before = tree(folder)
    with pytest.raises(DamagedReplay) as caught:
        build(folder, **SIZES).load_state_dict(state, **how)
    assert tree(folder) == before
    return caught.value


def hit(state: dict, env: int, number: int) -> np.ndarray:
    """(E,) which episodes of ``state`` have records in a segment, looked up record by record."""
    episodes = state["episodes"].tolist()
    return np.array([e == env and any(r // STEPS == number for r in range(s, s + n)) for e, s, n in episodes])
