"""The collector keeps whatever an agent remembers: saved and restored, the next records are the same."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agents.drq.agent import DrQAgent, Frames
from agents.nn.latent import Latent
from envs.vector import make_vector
from training.collector import Collector
from training.parts import build_agent

DRQ = {
    "agent": {"name": "drq_diayn"},
    "num_skills": 2, "skill_embedding_dim": 2, "framestack": 3, "image_pad": 2, "encoder_feature_dim": 4,
    "critic_hidden_dim": 4, "critic_hidden_depth": 1, "actor_hidden_dim": 4, "actor_hidden_depth": 1,
    "actor_log_std_min": -10.0, "actor_log_std_max": 2.0, "lr": 1e-3, "lr_discriminator": None,
    "discriminator_hidden_dim": 4, "discriminator_hidden_depth": 1, "init_temperature": 0.1, "discount": 0.99,
    "critic_tau": 0.01, "actor_update_frequency": 2, "critic_target_update_frequency": 2, "extrinsic_coeff": None,
    "diayn_intrinsic_reward_coeff": 1.0, "skill_critic": True, "discriminator_features": "own",
    "reward_state": "next", "grad_clip": None, "encoder_channels": 2, "reference": False,
}  # fmt: skip


class Records:
    """Stands for a replay: a list of what was added."""

    def __init__(self):
        self.layout = SimpleNamespace(dtype=SimpleNamespace(names=("observation",)))
        self.found = []

    def add(self, record, mask=None):
        self.found.append({key: np.array(value) for key, value in record.items()})


def make_agent(name, settings):
    torch.manual_seed(0)
    if name == "drq":
        return DrQAgent(DRQ, (3, 64, 64), 6, phase="pretrain")
    config = settings("pretrain", "preset=debug", "device=cpu", "agent=diayn_dreamer") | {"domain": "walker"}
    return build_agent(config, (3, 64, 64), 6, "pretrain", torch.device("cpu"))


def make_collector(agent):
    envs = make_vector("walker_walk", 2, seed=3, render_quality="lite")
    return Collector(envs, agent, Records(), 2)


@pytest.mark.parametrize("name, kind", [("drq", Frames), ("dreamer", Latent)])
def test_a_restored_collector_goes_on_as_the_saved_one(name, kind, settings):
    agent = make_agent(name, settings)
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


def test_a_step_has_two_halves(settings):
    """Together they are the step; a checkpoint lies between two steps, never in one."""
    agent = make_agent("dreamer", settings)
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


def test_what_a_stack_of_frames_was_made_of(settings):
    """The frames DrQ acts on are the last records of the episode."""
    agent = make_agent("drq", settings)
    collector = make_collector(agent)
    for _ in range(4):
        collector.step("random")
    seen = [record["observation"] for record in collector.replay.found]
    assert len(seen) == 5  # the last one has yet to be acted on
    want = np.stack(seen[1:4], 1)
    assert np.array_equal(collector._acting.memory.frames.numpy(), want)
    assert not np.array_equal(want[:, 0], want[:, 2])
