"""Choreographer at the debug preset's sizes."""

from agent_kit import Remembered, make_agent, make_batch, tiny
from settings_kit import agent_settings

CODES = 4
CHOREO = "agent=choreo"


def pretraining(*overrides, seed=0):
    return make_agent(tiny("pretrain", CHOREO, *overrides), seed=seed)


def finetuning(*overrides, seed=0):
    return make_agent(tiny("finetune", CHOREO, "domain=walker", *overrides), "finetune", seed=seed)


def started(agent, frame=1000, seed=0):
    """The same agent after a batch with rewards, at a frame where the controller may act."""
    agent.update(make_batch(seed=seed))
    assert agent.adapt(frame, Remembered(lambda: make_batch(seed=seed)))
    return agent


def quiet(seed=0):
    batch = make_batch(seed=seed)
    batch["reward"].zero_()
    return batch


__all__ = ["CHOREO", "CODES", "agent_settings", "finetuning", "pretraining", "quiet", "started"]
