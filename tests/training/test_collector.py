"""The collector keeps whatever an agent remembers: saved and restored, the next records are the same."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from settings_kit import typed

from agents.drq.stacks import Frames
from agents.nn.latent import Latent
from envs.vector import make_vector
from training.collector import Collector
from training.parts import build_agent


class Records:
    """Stands for a replay: a list of what was added."""

    def __init__(self):
        self.layout = SimpleNamespace(dtype=SimpleNamespace(names=("observation",)))
        self.found = []

    def add(self, record, mask=None):
        self.found.append({key: np.array(value) for key, value in record.items()})


def make_agent(name):
    torch.manual_seed(0)
    if name == "drq":
        chosen = typed("drq", "preset=debug", "num_skills=2", "device=cpu")
    else:
        chosen = typed("pretrain", "preset=debug", "device=cpu", "agent=diayn_dreamer")
    return build_agent(chosen, (3, 64, 64), 6, "pretrain", torch.device("cpu"))


def make_collector(agent):
    envs = make_vector("walker_walk", 2, seed=3, render_quality="lite")
    return Collector(envs, agent, Records(), 2)


@pytest.mark.parametrize("name, kind", [("drq", Frames), ("dreamer", Latent)])
def test_a_restored_collector_goes_on_as_the_saved_one(name, kind):
    agent = make_agent(name)
    first = make_collector(agent)
    for mode in ("random", "train", "train", "train"):
        first.step(mode)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second = make_collector(agent)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    remembered = second._acting.memory
    assert isinstance(remembered, kind)
    for a, b in zip(first._acting.memory, remembered, strict=True):
        assert torch.equal(a, b) and a.dtype == b.dtype and a.any()
    first.replay.found.clear()
    for collector in (first, second):
        torch.manual_seed(5)
        for _ in range(3):
            collector.step("train")
    assert len(first.replay.found) == len(second.replay.found) == 3
    for a, b in zip(first.replay.found, second.replay.found, strict=True):
        assert a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def test_a_step_has_two_halves():
    """Together they are the step; a checkpoint lies between two steps, never in one."""
    agent = make_agent("dreamer")
    first, second = make_collector(agent), make_collector(agent)
    with pytest.raises(RuntimeError, match="begin_step"):
        second.finish_step()
    for mode in ("random", "train"):
        torch.manual_seed(3)
        first.step(mode)
        torch.manual_seed(3)
        second.begin_step(mode)
        assert second.in_flight and len(second.replay.found) == len(first.replay.found) - 1
        with pytest.raises(RuntimeError, match="in flight"):
            second.begin_step(mode)
        with pytest.raises(RuntimeError, match="in flight"):
            second.state_dict()
        assert second.finish_step() == [] and not second.in_flight
    for a, b in zip(first.replay.found, second.replay.found, strict=True):
        assert all(np.array_equal(a[key], b[key]) for key in a)
    second.state_dict()


def test_what_a_stack_of_frames_was_made_of():
    """The frames DrQ acts on are the last records of the episode."""
    agent = make_agent("drq")
    collector = make_collector(agent)
    for _ in range(4):
        collector.step("random")
    seen = [record["observation"] for record in collector.replay.found]
    assert len(seen) == 5  # the last one has yet to be acted on
    want = np.stack(seen[1:4], 1)
    assert np.array_equal(collector._acting.memory.frames.numpy(), want)
    assert not np.array_equal(want[:, 0], want[:, 2])
