"""SD3 at the debug preset's sizes, its records, and spies, for the tests of skill agents."""

import torch
from agent_kit import make_agent, make_batch, tiny

N = 4
SD3 = "agent=deviation_dreamer"
ONE_OUTPUT = "agent.skill_conditioned_reward=false"


def pretraining(*overrides, seed=0):
    return make_agent(tiny("pretrain", SD3, *overrides), seed=seed)


def finetuning(*overrides, seed=0):
    return make_agent(tiny("finetune", SD3, "domain=walker", *overrides), "finetune", seed=seed)


def records(batch=3, length=6, seed=0, **more):
    return make_batch(batch, length, seed=seed, skill=N, **more)


class Spy:
    """Calls of a function that still does what it did: (arguments, result)."""

    def __init__(self, monkeypatch, owner, name):
        self.calls, original = [], getattr(owner, name)

        def spied(*args, **kwargs):
            result = original(*args, **kwargs)
            self.calls.append((args, result))
            return result

        monkeypatch.setattr(owner, name, spied)

    @property
    def one(self):
        assert len(self.calls) == 1
        return self.calls[0]


class Rotating:
    """Skills of a space replaced by one-hot vectors that differ from draw to draw."""

    def __init__(self, monkeypatch, agent):
        self.draws = 0
        monkeypatch.setattr(agent.skills.space, "sample", self.sample)

    def sample(self, count, device):
        self.draws += 1
        return torch.eye(N)[(torch.arange(count) + self.draws) % N]
