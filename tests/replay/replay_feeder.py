"""Writes episodes whose every record says where it came from, and checks batches against that."""

from pathlib import Path

import numpy as np
import torch

from replay import Replay

SPEC = {
    "observation": ((3, 2, 2), "uint8"),
    "action": ((2,), "float32"),
    "reward": ((), "float32"),
    "is_first": ((), "bool"),
    "is_last": ((), "bool"),
    "is_terminal": ((), "bool"),
    "skill": ((3,), "float32"),
    "skill_valid": ((), "bool"),
    "physics": ((2,), "float64"),
}


def record_at(env: int, number: int, episode: int, step: int, length: int) -> dict[str, np.ndarray]:
    """Record ``number`` of stream ``env``: step ``step`` of its episode ``episode`` of ``length`` records."""
    return {
        "observation": ((np.arange(12) * 7 + number * 13 + env) % 256).reshape(3, 2, 2).astype(np.uint8),
        "action": np.array([env, number], np.float32),
        "reward": np.float32(step / 2),
        "is_first": np.bool_(step == 0),
        "is_last": np.bool_(step == length - 1),
        "is_terminal": np.bool_(step == length - 1 and episode % 2),
        "skill": np.array([episode, step, length], np.float32),
        "skill_valid": np.bool_(step > 0),
        "physics": np.array([number + 1e-9, env]),
    }


class Feeder:
    """Feeds a replay; episode k of environment e has ``lengths[(k + e) % len(lengths)]`` records."""

    def __init__(self, lengths: list[int], num_envs: int = 1) -> None:
        self.lengths = lengths
        self.position = [[0, 0, 0] for _ in range(num_envs)]  # number, episode, step

    def length(self, env: int, episode: int) -> int:
        return self.lengths[(episode + env) % len(self.lengths)]

    def next_records(self) -> dict[str, np.ndarray]:
        rows = [
            record_at(env, *place, self.length(env, place[1]))  # type: ignore[call-arg]
            for env, place in enumerate(self.position)
        ]
        return {key: np.stack([row[key] for row in rows]) for key in SPEC}

    def feed(self, replay: Replay, adds: int, mask: np.ndarray | None = None) -> None:
        for _ in range(adds):
            replay.add(self.next_records(), mask)
            for env, place in enumerate(self.position):
                if mask is None or mask[env]:
                    place[0] += 1
                    place[2] += 1
                    if place[2] == self.length(env, place[1]):
                        place[1:] = [place[1] + 1, 0]


def check_batch(batch: dict[str, torch.Tensor], batch_size: int, batch_length: int) -> None:
    """Every window is a contiguous run of records of one episode, bit for bit as written."""
    assert batch.keys() == SPEC.keys() - {"physics"}
    for key, value in batch.items():
        assert value.shape == (batch_size, batch_length, *SPEC[key][0])
        assert value.numpy().dtype == np.dtype(SPEC[key][1])
    assert batch["is_first"][:, 0].all() and not batch["is_first"][:, 1:].any()
    for row in range(batch_size):
        env, number = (int(x) for x in batch["action"][row, 0])
        episode, step, length = (int(x) for x in batch["skill"][row, 0])
        for t in range(batch_length):
            expected = record_at(env, number + t, episode, step + t, length)
            assert step + t < length
            for key in batch.keys() - {"is_first"}:
                np.testing.assert_array_equal(batch[key][row, t].numpy(), expected[key])


def build(directory: Path, **changes: object) -> Replay:
    """A small replay: segments of 16 records, 16 per stream, 15 of them live."""
    settings: dict = {"capacity": 256, "batch_size": 4, "batch_length": 8, "seed": 3, **changes}
    return Replay(directory, SPEC, **settings)


def bytes_on_disk(directory: Path) -> int:
    """The summed length of all segment files."""
    return sum(path.stat().st_size for path in directory.rglob("segment_*.bin"))
