"""Updates and actions never wait for the device: no value of a tensor is read on the host."""

import pytest
import torch
from agent_kit import make_agent, make_batch, tiny
from settings_kit import agent_settings, typed
from torch.utils._python_dispatch import TorchDispatchMode

from agents.dreamer.agent import DreamerAgent
from agents.drq.agent import DrQAgent
from utils.config import CONFIGS

AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))

READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select", "repeat_interleave.Tensor")
"""Operations whose result, or its shape, the host has to wait for."""


class HostReads(TorchDispatchMode):
    """Names of the operations that would have waited for a CUDA device."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).removeprefix("aten.")
        by_mask = name.startswith("index") and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool
            for i in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        if by_mask or any(name == read or name.startswith((f"{read}.", f"{read}_")) for read in READS):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def reads_of(call):
    """What ``call`` read: operations, and methods of tensors that leave the device."""
    found = []

    def counted(name, method):
        return lambda *args, **kwargs: (found.append(name), method(*args, **kwargs))[1]

    with pytest.MonkeyPatch.context() as patch, HostReads() as mode:
        for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
            patch.setattr(torch.Tensor, name, counted(name, getattr(torch.Tensor, name)))
        call()
    return found + mode.found


@pytest.mark.parametrize(
    "reading",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: bool(x[0] > 0),
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
    ],
)
def test_reads_are_seen(reading):
    assert reads_of(lambda: reading(torch.randn(3)))


@pytest.mark.parametrize("script", ["pretrain", "finetune"])
@pytest.mark.parametrize("name", AGENTS)
def test_dreamer(name, script):
    agent = make_agent(tiny(script, f"agent={name}", "domain=walker"), script)
    skill = agent.skill_dim
    batch = make_batch(skill=skill) if name != "aps_dreamer" else make_batch()
    if name == "aps_dreamer":
        batch |= {"skill": agent.skills.draw(18).reshape(3, 6, -1), "skill_valid": batch["is_first"]}
    assert reads_of(lambda: agent.update(batch)) == []
    acting = agent.begin(agent.start(2), torch.tensor([True, False]))
    observation, first = batch["observation"][:2, 0], torch.tensor([True, False])
    for mode in ("random", "train", "eval"):
        assert reads_of(lambda mode=mode: agent.act(observation, acting, first, mode)) == []


@pytest.mark.parametrize(
    "words", [["num_skills=0"], [], *[[f"method={name}"] for name in ("metra", "cic", "rnd", "apt")]]
)
def test_drq(words):
    config = typed("drq", "preset=debug", "device=cpu", *words)
    skills = config.num_skills
    torch.manual_seed(0)
    agent = DrQAgent(config, (3, 32, 32), 2, phase="pretrain")
    batch = {
        "observation": torch.randint(0, 256, (4, 4, 3, 32, 32), dtype=torch.uint8),
        "action": torch.rand(4, 2),
        "reward": torch.rand(4),
        "is_terminal": torch.zeros(4, dtype=torch.bool),
    }
    if skills:
        batch |= {"skill": torch.eye(skills)[[0, 1, skills - 1, 0]], "skill_valid": torch.ones(4, dtype=torch.bool)}
    for _ in range(2):  # with and without the actor
        assert reads_of(lambda: agent.update(batch)) == []
    observation, first = batch["observation"][:2, 0], torch.tensor([True, False])
    for mode in ("random", "train", "eval"):
        assert reads_of(lambda mode=mode: agent.act(observation, agent.start(2), first, mode)) == []


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", AGENTS)
def test_dreamer_on_cuda(name):
    """CUDA itself raises at whatever waits for it."""
    config = tiny("pretrain", f"agent={name}", "domain=walker") | {"device": "cuda"}
    agent = DreamerAgent(agent_settings(config), (3, 64, 64), 6, phase="pretrain", device="cuda")
    batch = {key: value.cuda() for key, value in make_batch().items()}
    if agent.skill_dim:
        skill = agent.skills.draw(18).reshape(3, 6, -1)
        batch |= {"skill": skill, "skill_valid": torch.ones_like(batch["is_first"])}
    acting, first = agent.start(2), torch.tensor([True, False], device="cuda")
    agent.update(batch)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        agent.update(batch)
        for mode in ("random", "train", "eval"):
            agent.act(batch["observation"][:2, 0], agent.begin(acting, first), first, mode)
    finally:
        torch.cuda.set_sync_debug_mode(before)
