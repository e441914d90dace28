"""What the discriminator of an agent with skills says of whole episodes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import entr

from agents.agent import Acts
from agents.nn.skill_classifier import skill_reward


class Judged(NamedTuple):
    """One episode of T steps under one of n skills."""

    rewards: np.ndarray
    """log q(z | s) + log n of every step, in nats, (T,)."""
    named: int
    """Steps whose skill is named rightly."""
    probs: np.ndarray
    """Sum of q(. | s) over the steps, (n,)."""


def judge(agent: Acts, observations: np.ndarray, skill: np.ndarray) -> Judged | None:
    """The episode with ``observations`` (T + 1, ...), images or states, played under the one-hot ``skill`` (n,).

    None when the agent has no discriminator of observations (:meth:`agents.agent.Acts.skill_log_probs`).
    """
    found = agent.skill_log_probs(torch.from_numpy(observations))
    if found is None:
        return None
    log_probs = found.cpu()
    named = int((log_probs.argmax(-1) == int(skill.argmax())).sum())
    rewards = skill_reward(log_probs, torch.from_numpy(skill))
    return Judged(rewards.numpy(), named, log_probs.double().exp().sum(0).numpy())


def share_named(episodes: Sequence[Judged]) -> float:
    """The share of all steps of ``episodes`` whose skill is named rightly."""
    return sum(one.named for one in episodes) / sum(len(one.rewards) for one in episodes)


def predicted_entropy(episodes: Sequence[Judged]) -> float:
    """Entropy in nats of the mean of q(. | s) over all steps: log n when all skills are predicted equally often."""
    probs = sum(one.probs for one in episodes) / sum(len(one.rewards) for one in episodes)
    return float(entr(probs).sum())
