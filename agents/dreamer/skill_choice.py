"""Which skill fine-tuning keeps: what a choice is made from, and a choice by imagined return."""

from typing import Any

import torch
from torch import Tensor

from agents.dreamer.behavior import Behavior
from agents.dreamer.returns import lambda_return
from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import ReplayView
from agents.nn.latent import Latent
from agents.skills import SkillSpace


def join_views(views: list[ReplayView]) -> ReplayView:
    """One view of all sequences: (B_1, T, ...), (B_2, T, ...), ... -> (B_1 + B_2 + ..., T, ...)."""

    def join(parts: tuple[Any, ...]) -> Any:
        if isinstance(parts[0], Latent):
            return Latent(*map(join, zip(*parts, strict=True)))
        return torch.cat(parts)

    return ReplayView(*map(join, zip(*views, strict=True)))


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
