"""A process that dies while it writes a checkpoint leaves one that can be read, and all the replay it needs."""

import os
import random
import signal
import struct
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from contents_kit import resumable
from kill_kit import child_of, server

from replay import Replay
from training import checkpoint

EPISODE = 20
SPEC = {
    "observation": ((3, 16, 16), "uint8"),
    "action": ((2,), "float32"),
    "reward": ((), "float32"),
    **dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), "bool")),
}


def open_replay(folder: Path) -> Replay:
    return Replay(folder / "replay", SPEC, capacity=640, batch_size=2, batch_length=8, seed=0)


def add(replay: Replay, number: int) -> None:
    """Record ``number``: every value in it tells which it is."""
    replay.add(
        {
            "observation": np.full((1, 3, 16, 16), number % 251, np.uint8),
            "action": np.full((1, 2), number, np.float32),
            "reward": np.full(1, number, np.float32),
            "is_first": np.array([number % EPISODE == 0]),
            "is_last": np.array([number % EPISODE == EPISODE - 1]),
            "is_terminal": np.array([False]),
        }
    )


def weights(number: int) -> torch.Tensor:
    """About the size of a small agent's."""
    return torch.full((400_000,), float(number))


def save(folder: Path, replay: Replay, number: int) -> None:
    """As ``OffPolicyRun.save_checkpoint`` does it."""
    replay.flush()
    state = replay.state_dict()
    content = resumable(replay=state) | {"own": {"number": number, "w": weights(number)}}
    checkpoint.save(folder / "checkpoint.pt", "checkpoint", content)
    replay.release(state)


def restored(folder: Path) -> tuple[Replay, int]:
    """The replay and the number of records of the checkpoint in ``folder``, every record looked at."""
    content = checkpoint.load(folder / "checkpoint.pt", "checkpoint")
    replay, number = open_replay(folder), content["own"]["number"]
    replay.load_state_dict(content["replay"])
    assert torch.equal(content["own"]["w"], weights(number))
    assert replay.total_written == number
    for stream, start, length in replay.episodes.tolist():
        assert replay.read(stream, start, length)["reward"].tolist() == list(range(start, start + length))
    return replay, number


def go_on_for_ever(folder: Path, told: Connection) -> None:
    """Resume, then write checkpoints until somebody ends it; tells the number of each that is complete."""
    torch.set_num_threads(1)
    replay, number = restored(folder)
    while True:
        saved = number
        while number - saved < 53 and not (number > saved and replay.checkpoint_due):
            add(replay, number)
            number += 1
        save(folder, replay, number)
        told.send_bytes(struct.pack("q", number))


def kill_often(folder: Path, kills: int) -> list[int]:
    """Resume and kill ``kills`` times; the numbers of the checkpoints found after each."""
    replay = open_replay(folder)
    save(folder, replay, 0)
    del replay
    draw, found, duration = random.Random(0), [], 0.05
    for _ in range(kills):
        ours, theirs = server.Pipe(duplex=False)
        child = child_of(go_on_for_ever, folder, theirs)
        theirs.close()
        complete = [ours.recv_bytes() for _ in range(2)]
        start = time.perf_counter()
        complete.append(ours.recv_bytes())
        duration = time.perf_counter() - start
        time.sleep(draw.random() * duration)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        while ours.poll():
            try:
                complete.append(ours.recv_bytes())
            except EOFError:
                break
        last = struct.unpack("q", complete[-1])[0]
        assert child.exitcode == -signal.SIGKILL
        _, number = restored(folder)
        assert number >= last, "a complete checkpoint was lost"
        found.append(number)
    return found


def test_killed_while_writing_checkpoints(tmp_path):
    found = kill_often(tmp_path, 8)
    assert found == sorted(set(found))
    assert found[-1] > 640  # the replay has wrapped


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_200_times_while_writing_checkpoints(tmp_path, monkeypatch):
    found = kill_often(tmp_path, 200)
    assert found == sorted(set(found))
    leftovers = list(tmp_path.glob(".*.tmp*"))
    print(f"{len(leftovers)} of 200 kills came in the middle of a checkpoint; {found[-1]} records in the end")
    assert leftovers, "no kill came in the middle of a checkpoint"
