"""DIAYN: skills that a classifier tells apart by the states they lead to (Eysenbach et al. 2019)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.exploration.intrinsic_reward import (
    Imagined,
    IntrinsicReward,
    ReplayView,
    Scored,
    Sizes,
    TaskReward,
    everywhere,
    weighted_mean,
)
from agents.nn.distributions import Policy
from agents.nn.networks import MLP, orthogonal_
from agents.skills import OneHot, SkillCount
from utils.rules import Flag, Positive, Size


def skill_reward(log_probs: Tensor, skill: Tensor) -> Tensor:
    """log q(z | s) + log n from log q(. | s) and one-hot skills, (..., n), (..., n) -> (...): nats, at most log n."""
    return (log_probs * skill).sum(-1) + math.log(skill.shape[-1])


class SkillClassifier(nn.Module):
    """q(z | s) over n one-hot skills from features (..., F) of any agent; ``depth`` layers of ``hidden`` units."""

    def __init__(self, inputs: int, skill_dim: int, hidden: int, depth: int = 2) -> None:
        super().__init__()
        self.skill_dim = skill_dim
        self.net = orthogonal_(MLP(inputs, skill_dim, depth, hidden, nn.ReLU))

    def log_probs(self, features: Tensor) -> Tensor:
        """log q(. | s), (..., F) -> (..., n), in float32."""
        return F.log_softmax(self.net(features).float(), -1)

    def loss(self, features: Tensor, skill: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy -log q(z | s) in nats, the mean over pairs of features (..., F) and skills (..., n).

        ``weight`` (...): bool, or numbers >= 0. Chance is log n; ``diayn_acc`` is the share named rightly.
        """
        log_probs = self.log_probs(features)
        hit = log_probs.argmax(-1) == skill.argmax(-1)
        return weighted_mean(-(log_probs * skill).sum(-1), weight), {"diayn_acc": weighted_mean(hit.float(), weight)}

    def reward(self, features: Tensor, skill: Tensor) -> Tensor:
        """log q(z | s) + log n, (..., F), (..., n) -> (...): nats, at most log n; differentiable in the features."""
        return skill_reward(self.log_probs(features), skill)


class DIAYN(IntrinsicReward):
    """r_t = diayn_scale * (log q(z | f_t) + log n), q trained on replayed features and the skills that led to them.

    ``broadcast_choice=True`` restores the published way in which fine-tuning chooses a skill
    (:class:`BroadcastChoice`).
    """

    scores = "imagination"
    metric_name = "diayn"

    def __init__(
        self, sizes: Sizes, skill_dim: SkillCount, diayn_hidden: Size, diayn_scale: Positive, broadcast_choice: Flag
    ) -> None:
        super().__init__(sizes)
        self.skills = OneHot(skill_dim)
        self.scale, self.broadcast_choice = diayn_scale, broadcast_choice
        self.classifier = SkillClassifier(sizes.feat, skill_dim, diayn_hidden)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        return self.classifier.loss(view.feat, view.skill, view.skill_valid)

    def score_imagined(self, traj: Imagined) -> Scored:
        return everywhere(self.scale * self.classifier.reward(traj.feat, traj.skill))

    def finetuned(self) -> IntrinsicReward:
        return BroadcastChoice.keeping(self) if self.broadcast_choice else super().finetuned()


class BroadcastChoice(TaskReward):
    """Fine-tuning's choice as published: value(z) = mean_i R_i * mean_i sum_t log pi(a_t | s_t, z).

    All returns multiply all likelihoods, so the task reward is a common factor, and a_t is the action that led to s_t.
    Without any reward the first skill is taken.
    """

    def choose_skill(self, view: ReplayView, reward: Tensor, actor: Callable[[Tensor, Tensor], Policy]) -> Tensor:
        candidates = self.skills.candidates(view.feat.device)
        likelihood = [
            actor(view.feat, skill.expand(*view.feat.shape[:-1], -1)).log_prob(view.action).sum(1).mean()
            for skill in candidates
        ]
        return candidates[(reward.sum(1).mean() * torch.stack(likelihood)).argmax()]
