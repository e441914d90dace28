"""Collects a rollout: what one policy does in n environments for T steps."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from agents.rest.agent import RestMode
from agents.rest.rollout import Rollout
from envs.autoreset import AutoresetVector


class Plays(Protocol):
    """Acts with one of its skills."""

    device: torch.device

    def act(self, obs: Tensor, skill: int, mode: RestMode) -> tuple[Tensor, Tensor]:
        """obs float32 (n, D) -> action (n, A) and its log-probability (n,)."""
        ...


def collect(
    envs: AutoresetVector, agent: Plays, skill: int, length: int, stopped: Callable[[], bool] = lambda: False
) -> Rollout | None:
    """``length`` steps of ``skill`` from fresh episodes of all environments; None as soon as ``stopped`` says so."""
    rollout = Rollout.empty(envs.num_envs, length, envs.observed, envs.actions, "cpu")
    obs = torch.from_numpy(envs.reset())
    for t in range(length):
        if stopped():
            return None
        action, log_prob = agent.act(obs.to(agent.device), skill, "train")
        acted = torch.cat([action, log_prob[:, None]], 1).cpu()  # one wait for the device
        rollout.obs[:, t], rollout.action[:, t], rollout.log_prob[:, t] = obs, acted[:, :-1], acted[:, -1]
        stepped = envs.step(rollout.action[:, t].numpy())
        rollout.next_obs[:, t] = torch.from_numpy(stepped.final_obs)
        rollout.reward[:, t] = torch.from_numpy(stepped.reward)
        rollout.terminated[:, t] = torch.from_numpy(stepped.terminated)
        rollout.truncated[:, t] = torch.from_numpy(stepped.truncated)
        obs = torch.from_numpy(stepped.obs)
    return Rollout(*(part.to(agent.device) for part in rollout))
