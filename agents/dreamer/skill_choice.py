"""Which skill fine-tuning keeps: by what was paid for it, by the likelihood of what was done, by imagined return."""

from typing import Any

import torch
from torch import Tensor

from agents.dreamer.actor_critic import Actor
from agents.dreamer.behavior import Behavior
from agents.dreamer.returns import lambda_return
from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import ReplayView
from agents.nn.latent import Latent
from agents.skill_values import Tried, likelihood_values, published_values
from agents.skills import SkillSpace

LIKELIHOODS = ("likelihood", "likelihood_paired", "likelihood_centred")

FEWEST_STEPS = 10
"""Steps that count, under one skill, below which its mean reward says too little."""


def join_views(views: list[ReplayView]) -> ReplayView:
    """One view of all sequences: (B_1, T, ...), (B_2, T, ...), ... -> (B_1 + B_2 + ..., T, ...)."""

    def join(parts: tuple[Any, ...]) -> Any:
        if isinstance(parts[0], Latent):
            return Latent(*map(join, zip(*parts, strict=True)))
        return torch.cat(parts)

    return ReplayView(*map(join, zip(*views, strict=True)))


def best_paid(tried: Tried) -> int | str:
    """The candidate with the largest mean reward; or why there is none.

    One that was held for fewer than ``FEWEST_STEPS`` steps that count is left out.
    """
    enough = tried.steps >= FEWEST_STEPS
    if enough.sum() < 2:
        return f"fewer than 2 skills have {FEWEST_STEPS} steps that count"
    values = torch.where(enough, tried.values, -torch.inf)
    if values.max() == tried.values[enough].min():
        return f"all skills were paid {values.max():g} per step"
    return int(values.argmax())


def likelihoods(how: str, view: ReplayView, reward: Tensor, actor: Actor, candidates: Tensor) -> Tensor:
    """The value (K,) of every candidate by the choice ``how``: ``likelihood`` as published, ``likelihood_paired`` or
    ``likelihood_centred``.
    """
    if how == "likelihood":
        return published_values(actor, candidates, view.feat, view.action, reward)
    centred = how == "likelihood_centred"
    return likelihood_values(actor, candidates, view.feat, view.action, view.is_first, reward, centred=centred)


@torch.no_grad()
def choose_by_imagination(world_model: WorldModel, behavior: Behavior, space: SkillSpace, view: ReplayView) -> Tensor:
    """The candidate, (n,), with the largest mean lambda-return when its policy is rolled out from replayed states."""
    start = view.post.flatten()
    values = []
    candidates = space.candidates(view.feat.device)
    for candidate in candidates:
        skill = candidate.expand(len(start.deter), -1)
        traj = behavior.rollout(world_model.rssm, start, skill, behavior.horizon).traj
        reward = world_model.reward(traj.feat, traj.skill)
        value = behavior.slow_critic(traj.feat, traj.skill)
        values.append(lambda_return(reward, value, behavior.discount, behavior.lam)[0].mean())
    return candidates[torch.stack(values).argmax()]
