"""Configurations, batches and small exploration methods for the agent tests."""

from typing import ClassVar

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from settings_kit import agent_settings
from torch import nn

from agents.dreamer.agent import DreamerAgent
from agents.exploration.build import build_method
from agents.exploration.intrinsic_reward import IntrinsicReward, Scored
from agents.skills import OneHot, SkillCount
from utils.config import configs_of

ACTIONS = 6
OBS = (3, 64, 64)


def composed(name="pretrain", *overrides):
    """The resolved configuration of a script as a plain dict."""
    with initialize_config_dir(str(configs_of(name)), version_base="1.3"):
        config = OmegaConf.to_container(compose(name, list(overrides)), resolve=True)
    config.pop("hydra", None)
    return config


def tiny(name="pretrain", *overrides):
    """The debug networks: every part present, milliseconds to run."""
    return composed(name, "preset=debug", "device=cpu", *overrides)


def make_agent(config, phase="pretrain", seed=0, actions=ACTIONS):
    torch.manual_seed(seed)
    return DreamerAgent(agent_settings(config), OBS, actions, phase=phase, device="cpu")


def method_of(agent, sizes):
    """The method of a plain section ``agent``."""
    return build_method(agent_settings(composed("pretrain") | {"agent": agent}).agent, sizes)


def make_batch(batch=3, length=6, actions=ACTIONS, seed=0, resets=(), skill=0):
    """Random records; ``resets`` are (row, time) pairs of extra first records."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    for row, time in resets:
        first[row, time] = True
    records = {
        "observation": torch.randint(0, 256, (batch, length, *OBS), generator=generator, dtype=torch.uint8),
        "action": torch.rand(batch, length, actions, generator=generator) * 2 - 1,
        "reward": torch.rand(batch, length, generator=generator) * 2,
        "is_first": first,
        "is_last": torch.zeros_like(first),
        "is_terminal": torch.zeros_like(first),
    }
    if skill:
        index = torch.randint(skill, (batch, length), generator=generator)
        records["skill"] = nn.functional.one_hot(index, skill).float()
        records["skill_valid"] = torch.ones_like(first)
    return records


def copies(module):
    """A frozen copy of a module's parameters."""
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def moved(module, before):
    """Names of parameters that changed since ``before``."""
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


class Remembered:
    """What an agent looks back on: batches that ``draw`` makes, finished episodes."""

    def __init__(self, draw, episodes=()):
        self.sample, self.episodes = draw, episodes

    def history(self, *keys):
        return [{key: episode[key] for key in keys} for episode in self.episodes]


class Novelty(IntrinsicReward):
    """Scores imagined states; index 0 does not count and is NaN there."""

    scores: ClassVar = "imagination"
    metric_name: ClassVar[str] = "novelty"

    def __init__(self, sizes, novelty_units):
        super().__init__(sizes)
        self.net = nn.Sequential(nn.Linear(sizes.feat, novelty_units), nn.ELU(), nn.Linear(novelty_units, 1))

    def loss(self, view):
        error = (self.net(view.feat)[..., 0] - view.kl).square().mean()
        return error, {"novelty_error": error.detach()}

    def score_imagined(self, traj):
        value = self.net(traj.feat)[..., 0]
        valid = torch.ones_like(value, dtype=torch.bool)
        valid[0] = False
        return Scored(torch.where(valid, value, 0.0), valid)


class Brightness(IntrinsicReward):
    """Scores replayed steps by the mean brightness of the image; the first record does not count."""

    scores: ClassVar = "replay"

    def score_replay(self, view):
        return Scored(view.obs.float().mean((-3, -2, -1)) / 10, ~view.is_first)


class ThreeSkills(IntrinsicReward):
    """Three skills, rewarded by nothing but the task."""

    def __init__(self, sizes, skill_dim: SkillCount):
        super().__init__(sizes)
        self.skills = OneHot(skill_dim)


class UniformSkills(Brightness):
    """Skills, a score of replay and uniform collection at once."""

    acts: ClassVar = "uniform"

    def __init__(self, sizes, skill_dim: SkillCount):
        super().__init__(sizes)
        self.skills = OneHot(skill_dim)


class NotAMethod(nn.Module):
    pass
