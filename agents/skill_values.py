"""What a skill is worth for a task, judged by what was replayed."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from agents.nn.distributions import Policy


class Tried(NamedTuple):
    """What was paid under each of K candidates."""

    values: Tensor
    """Mean reward of the steps that count, float64 (K,); 0 without any."""
    steps: Tensor
    """How many those are, int64 (K,)."""


def rewards_by_skill(episodes: Iterable[Mapping[str, np.ndarray]], candidates: Tensor) -> Tried:
    """Mean reward of the second half of every hold, by the skill that was held.

    A hold is a run of steps under one skill; it ends with its episode. What its first half is paid may still be the
    fruit of the skill before it, or of the reset: a reward may lag behind its skill by half a hold. Steps that no skill
    chose (``skill_valid`` false) do not count.

    Episodes are arrays skill (L, n), skill_valid (L,) bool and reward (L,), in order; candidates are (K, n). A skill
    counts for the candidate it is nearest to.
    """
    total, steps = np.zeros(len(candidates)), np.zeros(len(candidates), np.int64)
    rows = candidates.cpu().numpy()
    half = 0.5 * (rows * rows).sum(-1)
    for episode in episodes:
        skill = (episode["skill"] @ rows.T - half).argmax(-1)
        held = np.where(episode["skill_valid"], skill, -1)
        edges = np.flatnonzero(np.diff(held, prepend=-2, append=-2))
        for begin, end in zip(edges[:-1], edges[1:], strict=True):
            if (which := held[begin]) >= 0:
                second = slice(begin + (end - begin) // 2, end)
                total[which] += episode["reward"][second].sum(dtype=np.float64)
                steps[which] += end - second.start
    return Tried(torch.from_numpy(total / np.maximum(steps, 1)), torch.from_numpy(steps))


def likelihood_values(
    actor: Callable[[Tensor, Tensor], Policy],
    candidates: Tensor,
    feat: Tensor,
    action: Tensor,
    is_first: Tensor,
    reward: Tensor,
    *,
    centred: bool = False,
) -> Tensor:
    """value(z) = mean_i R_i sum_t log pi(a_{t+1} | s_t, z), R_i the sum of rewards of sequence i (SD3, Xiao et al.
    2025).

    ``centred`` takes the mean of all R_i from each of them: without, the skill that explains all data best wins.
    feat (B, T, F), action (B, T, A), is_first and reward (B, T), candidates (K, n) -> (K,). ``action[:, t]`` led to
    record t, so the action taken at s_t is that of record t + 1.
    """
    taken = ~is_first[:, 1:]
    returns = reward.sum(1)
    if centred:
        returns = returns - returns.mean()
    values = []
    for skill in candidates:
        policy = actor(feat[:, :-1], skill.expand(*feat[:, :-1].shape[:-1], -1))
        log_prob = torch.where(taken, policy.log_prob(action[:, 1:]), 0.0)
        values.append((returns * log_prob.sum(1)).mean())
    return torch.stack(values)


def published_values(
    actor: Callable[[Tensor, Tensor], Policy], candidates: Tensor, feat: Tensor, action: Tensor, reward: Tensor
) -> Tensor:
    """value(z) = mean_i R_i * mean_i sum_t log pi(a_t | s_t, z), as the published programs compute it.

    All returns multiply all likelihoods, so the task reward is a common factor, and a_t is the action that led to s_t.
    Shapes as in :func:`likelihood_values`.
    """
    likelihood = [
        actor(feat, skill.expand(*feat.shape[:-1], -1)).log_prob(action).sum(1).mean() for skill in candidates
    ]
    return reward.sum(1).mean() * torch.stack(likelihood)
