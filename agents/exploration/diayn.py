"""DIAYN: skills that a classifier tells apart by the states they lead to (Eysenbach et al. 2019)."""

from collections.abc import Callable

import torch
from torch import Tensor

from agents.exploration.intrinsic_reward import (
    Imagined,
    IntrinsicReward,
    ReplayView,
    Scored,
    Sizes,
    TaskReward,
    everywhere,
)
from agents.nn.distributions import Policy
from agents.nn.skill_classifier import SkillClassifier
from agents.skills import OneHot, SkillCount
from utils.rules import Flag, Positive, Size


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
