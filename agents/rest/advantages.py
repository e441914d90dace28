"""Advantages and value targets of a rollout, where terminal states and cut episodes are two things."""

from typing import NamedTuple

import torch
from torch import Tensor


class Estimates(NamedTuple):
    """Of every step of a rollout, (n, T)."""

    advantage: Tensor
    returns: Tensor


def estimates(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    cut: Tensor,
    *,
    gamma: float,
    lam: float,
) -> Estimates:
    """Generalised advantages (Schulman et al. 2016, equation 16) and discounted returns, all arguments (n, T).

    delta_t = r_t + gamma m_t V(s_{t+1}) - V(s_t),  m_t = 0 where ``terminated``, else 1
    A_t     = delta_t + gamma lam c_t A_{t+1},      c_t = 0 where ``cut``, else 1
    R_t     = r_t + gamma R_{t+1},                  with m_t V(s_{t+1}) in place of R_{t+1} where ``cut``

    ``next_value`` is V(s_{t+1}) of the state that the action led to, also at the end of an episode. ``cut`` holds at
    terminal states, at time limits, and in the last column (:attr:`agents.rest.rollout.Rollout.cut`): a time limit and
    the end of the rollout end the sum, not what is expected after it.
    """
    follows = torch.where(terminated, 0.0, next_value)
    delta = reward + gamma * follows - value
    advantages, returns = torch.empty_like(delta), torch.empty_like(delta)
    advantage, later = torch.zeros_like(delta[:, 0]), torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        advantage = delta[:, t] + gamma * lam * torch.where(cut[:, t], 0.0, advantage)
        later = reward[:, t] + gamma * torch.where(cut[:, t], follows[:, t], later)
        advantages[:, t], returns[:, t] = advantage, later
    return Estimates(advantages, returns)
