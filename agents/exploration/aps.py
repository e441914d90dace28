"""APS: features that name the task vector, and entropy among them (Liu & Abbeel 2021, "Active Pretraining with
Successor Features").
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.exploration.intrinsic_reward import (
    Imagined,
    IntrinsicReward,
    ReplayView,
    RunSizes,
    Scored,
    Sizes,
    everywhere,
)
from agents.exploration.particle_entropy import ParticleEntropy, check_neighbours, scaled
from agents.nn.means import weighted_mean
from agents.nn.networks import MLP, orthogonal_
from agents.skills import SkillCount, UnitSphere
from utils.rules import Count, Flag, Number, Positive, Size


class TaskFeatures(nn.Module):
    """phi(s) in R^d from features (..., F) of any agent; a task is a unit vector w, its reward w . phi / |phi|."""

    def __init__(self, inputs: int, skill_dim: int, hidden: int, entropy: ParticleEntropy) -> None:
        super().__init__()
        self.phi = orthogonal_(MLP(inputs, skill_dim, 2, hidden, nn.ReLU))
        self.entropy = entropy

    def unit(self, features: Tensor) -> Tensor:
        """phi / |phi|, (..., F) -> (..., d), in float32."""
        return F.normalize(self.phi(features).float(), dim=-1)

    def loss(self, features: Tensor, skill: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean w . phi / |phi| over pairs of features (..., F) and task vectors (..., d); ``weight`` (...) as in
        :meth:`agents.nn.skill_classifier.SkillClassifier.loss`. At least -1.
        """
        return -weighted_mean((skill * self.unit(features)).sum(-1), weight), {}

    @torch.no_grad()
    def reward(self, features: Tensor, skill: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Particle entropy of phi (not normalised) + w . phi / |phi|, (..., F), (..., d) -> (...), and its parts.

        All rows together are the particles.
        """
        phi = self.phi(features).float()
        entropy = self.entropy(phi.flatten(0, -2)).reshape(phi.shape[:-1])
        alignment = (skill * F.normalize(phi, dim=-1)).sum(-1)
        return entropy + alignment, {"aps_entropy": entropy.mean(), "aps_alignment": alignment.mean()}


class APS(IntrinsicReward):
    """r_t = log(1 + mean_k max(d_k / M - clip, 0)) + w . phi(f_t) / |phi(f_t)|, without gradient.

    d_k are distances of phi(f_t) to its k nearest neighbours in the rollout, M their running mean; the critic's value
    is psi . w. ``reversed_regression`` and ``restore_features=False`` are the published defects of fine-tuning.
    """

    scores = "imagination"
    needs_skills = True
    choices = ("regression", "imagination")
    metric_name = "aps"

    @classmethod
    def check(cls, own: Any, run: RunSizes) -> None:
        check_neighbours(own.knn_k, own.knn_self, run.particles)

    def __init__(
        self,
        sizes: Sizes,
        skill_dim: SkillCount,
        aps_hidden: Size,
        knn_k: Count,
        knn_rms: Flag,
        knn_avg: Flag,
        knn_clip: Number,
        knn_self: Flag,
        ridge: Positive,
        reversed_regression: Flag,
        restore_features: Flag,
    ) -> None:
        super().__init__(sizes)
        self.skills = UnitSphere(skill_dim)
        self.critic_head = "successor"
        self.ridge, self.reversed_regression, self.restore_features = ridge, reversed_regression, restore_features
        entropy = ParticleEntropy(knn_k, scale=scaled(knn_rms), knn_avg=knn_avg, knn_clip=knn_clip, count_self=knn_self)
        self.features = TaskFeatures(sizes.feat, skill_dim, aps_hidden, entropy)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        return self.features.loss(view.feat, view.skill, view.skill_valid)

    def score_imagined(self, traj: Imagined) -> Scored:
        return everywhere(*self.features.reward(traj.feat, traj.skill))

    @torch.no_grad()
    def choose_skill(self, view: ReplayView, reward: Tensor) -> Tensor:
        """The direction of w = argmin |Phi w - r|^2 / N + ridge |w|^2 over the N records that are no first ones.

        Phi (N, d) are the unit features, r (N,) the task rewards; in float64. Where no record was rewarded, a random
        direction.
        """
        seen = ~view.is_first
        unit, task = self.features.unit(view.feat[seen]).double(), reward[seen].double()
        w = unit.T @ task
        if not self.reversed_regression:
            penalty = self.ridge * max(len(task), 1) * torch.eye(len(w), dtype=w.dtype, device=w.device)
            w = torch.linalg.solve(unit.T @ unit + penalty, w)
        if not w.any():
            return self.skills.sample(1, w.device)[0]
        return F.normalize(w, dim=0).float()

    def finetuned(self) -> IntrinsicReward:
        """Itself, with phi as it was pre-trained: the choice of the task vector needs it."""
        return self.requires_grad_(False)

    def finetune_state(self) -> dict[str, Tensor]:
        if not self.restore_features:
            return {}
        return {name: value for name, value in self.state_dict().items() if name.startswith("features.phi.")}
