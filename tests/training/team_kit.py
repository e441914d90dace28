"""Agents that learn from the same batches in one process and in a team of two."""

from typing import NamedTuple

import torch
from settings_kit import typed

from agents.latch import trip_all
from training.parts import build_agent
from training.team import Blueprint, Team

ACTIONS = 6
STATE = 24


def settings_for(name, *more):
    """Debug networks of ``name``: an agent of Dreamer's, maybe ``:finetune``, or ``drq``, ``drq_<method>``."""
    agent, _, phase = name.partition(":")
    if agent.startswith("drq"):
        words = [f"method={agent.removeprefix('drq_')}"] if agent != "drq" else ["num_skills=0"]
        return typed("drq", "preset=debug", "device=cpu", *words, *more), "pretrain"
    phase = phase or "pretrain"
    words = ["task=walker_walk", "snapshot_ts=1000"] if phase == "finetune" else ["domain=walker"]
    return typed(phase, "preset=debug", "device=cpu", f"agent={agent}", *words, *more), phase


def build(settings, phase, seed=0):
    torch.manual_seed(seed)
    return build_agent(settings, shape_of(settings), ACTIONS, phase, torch.device("cpu"))


def shape_of(settings):
    return (STATE,) if settings.obs_type == "states" else (3, settings.image_size, settings.image_size)


def batch_for(agent, settings, seed, rows=4):
    """Records with episodes that begin in the middle of rows, and skills that do not count, more in the first half."""
    generator = torch.Generator().manual_seed(1000 + seed)
    if not hasattr(agent, "world_model"):
        size = settings.image_size
        batch = {
            "observation": torch.randint(0, 256, (rows, 4, 3, size, size), generator=generator, dtype=torch.uint8),
            "action": torch.rand(rows, ACTIONS, generator=generator) * 2 - 1,
            "reward": torch.rand(rows, generator=generator),
            "is_terminal": torch.rand(rows, generator=generator) < 0.3,
        }
        if agent.skill_dim:
            batch["skill"] = torch.eye(agent.skill_dim)[torch.randint(agent.skill_dim, (rows,), generator=generator)]
            batch["skill_valid"] = torch.tensor([True, False, False, False])
        return batch
    first = torch.zeros(rows, 6, dtype=torch.bool)
    first[:, 0] = first[0, 3] = first[1, 2] = True
    batch = {
        "observation": torch.randint(0, 256, (rows, 6, *shape_of(settings)), generator=generator, dtype=torch.uint8),
        "action": torch.rand(rows, 6, ACTIONS, generator=generator) * 2 - 1,
        "reward": torch.rand(rows, 6, generator=generator) * 2,
        "is_first": first,
        "is_last": torch.zeros_like(first),
        "is_terminal": torch.zeros_like(first),
    }
    if settings.obs_type == "states":
        batch["observation"] = 3 + 5 * torch.randn(rows, 6, STATE, generator=generator)
    dim = agent.recorded.dim
    if dim:
        skill = torch.randn(rows, 6, dim, generator=generator)
        one_hot = torch.eye(dim)[skill.argmax(-1)]
        batch["skill"] = torch.nn.functional.normalize(skill, dim=-1) if "aps" in agent.name else one_hot
        batch["skill_valid"] = torch.rand(rows, 6, generator=generator) < torch.tensor([0.9, 0.9, 0.1, 0.1])[:, None]
    return batch


def blueprint(settings, phase):
    return Blueprint(settings.plain(), shape_of(settings), ACTIONS, phase)


class Found(NamedTuple):
    """What :func:`compared` found after the last update."""

    weights: float
    """The largest difference of a weight in a team to one process."""
    moved: float
    """The largest change of a weight in one process since the start."""
    logged: dict[str, tuple[float, float]]
    """What one process and what the team logged, by name."""


def compared(name, updates, *more, count=2):
    """So many updates in one process and in a team of ``count``."""
    settings, phase = settings_for(name, *more)
    alone = build(settings, phase)
    together, start = build(settings, phase), build(settings, phase)
    team = Team(blueprint(settings, phase), torch.device("cpu"), count)
    try:
        for agent, learn in ((alone, alone.update), (together, lambda batch: learn_in(team, together, batch))):
            prepare(agent)
            torch.manual_seed(7)
            for k in range(updates):
                agent_logged = learn(batch_for(agent, settings, k)).logged
            if agent is alone:
                of_one, random = agent_logged, torch.get_rng_state()
        assert torch.equal(random, torch.get_rng_state())  # as many numbers were drawn
        logged = {key: (value.item(), agent_logged[key].item()) for key, value in of_one.items()}
        return Found(apart(alone, together), apart(alone, start), logged)
    finally:
        team.close()


def apart(one, other):
    """The largest difference of a tensor of the two agents: weights, running statistics, what was settled."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs if a.numel())


def learn_in(team, agent, batch):
    return team.update(agent, batch, with_state=agent.updates == 0)


def prepare(agent):
    """A controller learns from its first update on: a reward was found."""
    trip_all(agent)
