"""Episode files in the published format, small and made of random numbers."""

from pathlib import Path
from typing import Any

import numpy as np

from replay.exorl import Sizes

SIZES = Sizes(observation=5, action=2, physics=4)


def episode(length: int, seed: int = 0, columns: int = 1, **changes: Any) -> dict[str, Any]:
    """Arrays of ``length`` transitions; a change to None leaves a key out."""
    random, rows = np.random.default_rng(seed), length + 1
    arrays = {
        "observation": random.normal(size=(rows, SIZES.observation)).astype(np.float32),
        "action": random.uniform(-1, 1, (rows, SIZES.action)).astype(np.float32),
        "reward": random.random((rows, columns)).astype(np.float32),
        "discount": np.ones((rows, 1), np.float32),
        "physics": random.normal(size=(rows, SIZES.physics)),
    }
    arrays["action"][0], arrays["reward"][0] = 0, 0
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def write(folder: Path, arrays: dict[str, Any], index: int = 0, name: str | None = None) -> Path:
    """A file of the published name, or of ``name``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or f"episode_{index:06d}_{len(arrays['action']) - 1}.npz")
    np.savez_compressed(path, **arrays)
    return path


def data_set(folder: Path, lengths: list[int], **changes: Any) -> list[dict[str, Any]]:
    """Files of these lengths in ``folder``, and their arrays."""
    made = [episode(length, seed, **changes) for seed, length in enumerate(lengths)]
    for index, arrays in enumerate(made):
        write(folder, arrays, index)
    return made
