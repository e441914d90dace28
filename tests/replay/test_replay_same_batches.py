"""Batches drawn ahead, or gathered from a copy on a device, are those of a replay that does neither, bit for bit."""

import copy
import random
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from replay_feeder import Feeder, build
from sweep_kit import in_turn

from replay import Replay

CPU = torch.device("cpu")
WINDOWS, STACKS = {"batch_length": 8}, {"batch_length": None, "stack": 3}
KINDS = {"windows": WINDOWS, "stacks": STACKS}
WAYS = {
    "prefetch": {"prefetch": True},
    "ring": {"ring": CPU},
    "both": {"prefetch": True, "ring": CPU},
    "small ring": {"prefetch": True, "ring": CPU, "total_records": 20},
}
LENGTHS = [20, 35, 9, 2]


class Fed:
    """A replay, what feeds it, and the checkpoint it can go back to."""

    def __init__(self, directory: Path, num_envs: int, **settings: object) -> None:
        self.directory, self.num_envs, self.settings = directory, num_envs, settings
        self.replay = self.open()
        self.feeder = Feeder(LENGTHS, num_envs)
        self.save()

    def open(self) -> Replay:
        sizes = {"capacity": 256 * self.num_envs, "num_envs": self.num_envs, "make_room": self.save}
        return build(self.directory, **sizes, **self.settings)

    def save(self) -> None:
        state = self.replay.state_dict()
        self.replay.release(state)  # nobody is killed: nothing has to be brought to the disk
        self.saved = state, copy.deepcopy(self.feeder.position)

    def load(self, again: bool) -> None:
        if again:
            self.replay = self.open()
        self.replay.load_state_dict(self.saved[0])
        self.feeder.position = copy.deepcopy(self.saved[1])


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(two) and all(
        one[key].dtype == two[key].dtype and torch.equal(one[key], two[key]) for key in one
    )


def same_states(one: dict, two: dict) -> bool:
    rest = [{key: value for key, value in state.items() if key != "episodes"} for state in (one, two)]
    return rest[0] == rest[1] and torch.equal(one["episodes"], two["episodes"])


@pytest.mark.parametrize(
    ("way", "kind", "num_envs"), in_turn(tuple(WAYS), ("windows", "stacks", "stacks", "windows"), (1, 3))
)
def test_whatever_happens_in_between(tmp_path, way, kind, num_envs):
    """1,000 adds (with evictions), draws, draws that are taken back, checkpoints and resumes, in random order."""
    draw = random.Random(num_envs)
    plain = Fed(tmp_path / "plain", num_envs, **KINDS[kind])
    other = Fed(tmp_path / "other", num_envs, **KINDS[kind], **WAYS[way])
    drawn = 0
    for _ in range(1000):
        what = draw.choices(("add", "draw", "fault", "save", "load"), (50, 40, 4, 2, 0.5))[0]
        again, count = draw.random() < 0.5, draw.randint(1, 12)
        mask = np.array([draw.random() < 0.7 for _ in range(num_envs)])
        results = []
        for fed in (plain, other):
            replay = fed.replay
            if what == "add":
                fed.feeder.feed(replay, count, mask)
            elif what == "save":
                fed.save()
            elif what == "load":
                fed.load(again)
            elif replay.ready:
                before = replay.sampler.state
                results.append(replay.sample())
                if what == "fault":
                    replay.sampler.state = before
        if results:
            drawn += 1
            assert same(*results)
        assert same_states(plain.replay.state_dict(), other.replay.state_dict())
    assert drawn > 280
    assert plain.replay.total_written > 300 * num_envs  # records were evicted on the way


@pytest.mark.parametrize("way", WAYS)
def test_clear_starts_over(tmp_path, way):
    plain, other = Fed(tmp_path / "plain", 1), Fed(tmp_path / "other", 1, **WAYS[way])
    for fed in (plain, other):
        fed.feeder.feed(fed.replay, 300)
        fed.replay.sample()
        fed.replay.clear()
        Feeder([30]).feed(fed.replay, 30)
    assert same(plain.replay.sample(), other.replay.sample())


@pytest.mark.parametrize("way", WAYS)
def test_one_thread_adds_while_others_sample(tmp_path, way):
    """Every row says what it must hold: the record's number is in its action, and its frame follows from that."""
    fed = Fed(tmp_path, 2, **WAYS[way])
    fed.feeder.feed(fed.replay, 100)
    failures: list[BaseException] = []
    done = threading.Event()

    def sample() -> None:
        try:
            while not done.is_set():
                batch = fed.replay.sample()
                env, number = (batch["action"][..., i].long() for i in range(2))
                assert (number.diff(dim=1) == 1).all()
                pixels = (torch.arange(12) * 7 + (number * 13 + env)[..., None]) % 256
                assert torch.equal(batch["observation"].flatten(2).long(), pixels)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=sample) for _ in range(2)]
    for thread in threads:
        thread.start()
    fed.feeder.feed(fed.replay, 1500)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("kind", [WINDOWS, STACKS], ids=["windows", "stacks"])
@pytest.mark.parametrize(
    ("way", "device"),
    [
        ({"prefetch": True}, "cuda"),
        ({"ring": torch.device("cuda")}, "cuda"),
        ({"ring": torch.device("cuda"), "prefetch": True}, "cpu"),
    ],
    ids=["prefetch", "ring", "ring for a CPU"],
)
def test_on_cuda(tmp_path, way, device, kind):
    plain = Fed(tmp_path / "plain", 2, **kind)
    other = Fed(tmp_path / "other", 2, **kind, **way, device=device)
    for round_ in range(60):
        for fed in (plain, other):
            fed.feeder.feed(fed.replay, 40 if round_ == 0 else 11)
        one, two = plain.replay.sample(), other.replay.sample()
        assert all(value.device.type == device for value in two.values())
        assert same(one, {key: value.cpu() for key, value in two.items()})
