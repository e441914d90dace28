"""DIAYN: skills that a classifier tells apart by the states they lead to (Eysenbach et al. 2019)."""

from torch import Tensor

from agents.exploration.intrinsic_reward import (
    Imagined,
    IntrinsicReward,
    ReplayView,
    Scored,
    Sizes,
    everywhere,
)
from agents.nn.skill_classifier import SkillClassifier
from agents.skills import OneHot, SkillCount
from utils.rules import Positive, Size


class DIAYN(IntrinsicReward):
    """r_t = diayn_scale * (log q(z | f_t) + log n), q trained on replayed features and the skills that led to them."""

    scores = "imagination"
    needs_skills = True
    metric_name = "diayn"

    def __init__(self, sizes: Sizes, skill_dim: SkillCount, diayn_hidden: Size, diayn_scale: Positive) -> None:
        super().__init__(sizes)
        self.skills = OneHot(skill_dim)
        self.scale = diayn_scale
        self.classifier = SkillClassifier(sizes.feat, skill_dim, diayn_hidden)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        return self.classifier.loss(view.feat, view.skill, view.skill_valid)

    def score_imagined(self, traj: Imagined) -> Scored:
        return everywhere(self.scale * self.classifier.reward(traj.feat, traj.skill))
