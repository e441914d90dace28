"""Dyna-MPC: search for actions in the world model at every step (Rajeswar et al. 2023, section 4)."""

from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.dreamer.behavior import Behavior
from agents.dreamer.returns import lambda_return
from agents.dreamer.world_model import WorldModel
from agents.nn.latent import Latent
from utils.seeding import own_randomness

START_STD = 2.0
"""Standard deviation of the first candidates, and the largest there can be."""

EVALUATION_SEED = 0
"""In evaluation every search draws the same numbers, so that a state has one plan."""


class Plan(NamedTuple):
    """What a search gives for n states, P steps ahead."""

    action: Tensor
    """The action to take now, (n, A)."""
    mean: Tensor
    """Mean of the last candidates, (n, P, A): the next search starts from it, shifted by one."""
    objective: Tensor
    """Mean objective of the elites at each iteration, (iterations, n)."""


class Planner:
    """Cross-entropy search over sequences of ``horizon`` actions, with the policy among the proposals.

    Every iteration scores ``num_samples`` sequences drawn around the present mean and ``mixture_coef * num_samples``
    rollouts of the policy. With J_i the objective of sequence i, the ``num_elites`` best give weights
    proportional to exp(temperature * J_i) and with them the next mean (of which a share ``momentum`` stays) and
    standard deviation, within [``min_std``, 2].

    J is the lambda-return from the first imagined state on: rewards r_1 .. r_{P-1} and values v_2 .. v_P; without
    ``use_value`` the values are 0, and the last action of a sequence counts for nothing.

    ``start_after`` is for the agent: frames after the seed frames in which its actor still acts.
    """

    def __init__(
        self,
        *,
        start_after: int,
        iterations: int,
        num_samples: int,
        num_elites: int,
        mixture_coef: float,
        min_std: float,
        temperature: float,
        momentum: float,
        horizon: int,
        use_value: bool,
    ) -> None:
        self.start_after = start_after
        self.iterations, self.num_samples, self.num_elites = iterations, num_samples, num_elites
        self.num_policies = int(mixture_coef * num_samples)
        self.min_std, self.temperature, self.momentum = min_std, temperature, momentum
        self.horizon, self.use_value = horizon, use_value

    @torch.no_grad()
    def plan(
        self,
        world_model: WorldModel,
        behavior: Behavior,
        latent: Latent,
        skill: Tensor,
        previous: Tensor,
        is_first: Tensor,
        *,
        explore: bool,
    ) -> Plan:
        """Search from states (n, ...) with skills (n, k), warm-started by the ``previous`` mean (n, P, A).

        Where ``is_first`` (n,) holds there is no previous mean. With ``explore`` the action is that of an elite drawn
        by its weight, plus noise; without, it is the mean's, and all random numbers come from a fixed seed.
        """
        with nullcontext() if explore else own_randomness(skill.device, EVALUATION_SEED):
            proposals = self._proposals(world_model, behavior, latent, skill, previous)
            shifted = F.pad(previous[:, 1:], (0, 0, 0, 1))
            mean = torch.where(is_first[:, None, None], 0.0, shifted)
            std = torch.full_like(mean, START_STD)
            objective = []
            for _ in range(self.iterations):
                noise = torch.randn(len(mean), self.num_samples, *mean.shape[1:], device=mean.device)
                drawn = (mean[:, None] + std[:, None] * noise).clamp(-1, 1)
                candidates = torch.cat([drawn, proposals], 1)
                best = self.objective(world_model, behavior, latent, skill, candidates).topk(self.num_elites, 1)
                elites = candidates.gather(1, best.indices[..., None, None].expand(-1, -1, *mean.shape[1:]))
                weight = F.softmax(self.temperature * best.values, 1)
                share = weight[..., None, None]
                centre = (share * elites).sum(1)
                std = (share * (elites - centre[:, None]).square()).sum(1).sqrt().clamp(self.min_std, START_STD)
                mean = torch.lerp(centre, mean, self.momentum)
                objective.append(best.values.mean(1))
            # a mean of ones may round to just above 1
            action = self._explore(elites[:, :, 0], weight, std[:, 0]) if explore else mean[:, 0].clamp(-1, 1)
        return Plan(action, mean, torch.stack(objective))

    def _proposals(
        self, world_model: WorldModel, behavior: Behavior, latent: Latent, skill: Tensor, previous: Tensor
    ) -> Tensor:
        """Rollouts of the policy, (n, policies, P, A)."""
        count = self.num_policies
        if not count:
            return previous[:, None][:, :0]
        start, skills = _repeat(latent, count), skill.repeat_interleave(count, 0)
        traj = behavior.rollout(world_model.rssm, start, skills, self.horizon).traj
        return traj.action[1:].transpose(0, 1).unflatten(0, (-1, count))

    def objective(
        self, world_model: WorldModel, behavior: Behavior, latent: Latent, skill: Tensor, candidates: Tensor
    ) -> Tensor:
        """J of sequences (n, C, P, A) from states (n, ...) -> (n, C), with one sampled latent per step."""
        count = candidates.shape[1]
        states = world_model.rssm.imagine(_repeat(latent, count), candidates.flatten(0, 1))
        feat = states.feat.transpose(0, 1)  # f_1 .. f_P, time-major
        skills = skill.repeat_interleave(count, 0).expand(len(feat), -1, -1)
        reward = world_model.reward(feat, skills)
        value = behavior.slow_critic(feat, skills) if self.use_value else torch.zeros_like(reward)
        return lambda_return(reward, value, behavior.discount, behavior.lam)[0].unflatten(0, (-1, count))

    @staticmethod
    def _explore(actions: Tensor, weight: Tensor, std: Tensor) -> Tensor:
        """One of the elites' first actions (n, E, A), drawn by weight (n, E), plus noise of ``std`` (n, A), clipped."""
        drawn = (weight / torch.empty_like(weight).exponential_()).argmax(1)
        action = actions[torch.arange(len(actions), device=actions.device), drawn]
        return (action + std * torch.randn_like(action)).clamp(-1, 1)


def _repeat(latent: Latent, count: int) -> Latent:
    return Latent(*(x.repeat_interleave(count, 0) for x in latent))
