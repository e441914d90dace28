"""METRA: skills that move far along directions of a space in which one step is short.

Park et al. 2024, "METRA: Scalable Unsupervised RL with Metric-Aware Abstraction".
"""

from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, ReplayView, Scored, Sizes
from agents.nn.means import masked_mean
from agents.nn.networks import MLP
from agents.skills import OneHot, SkillCount, UnitSphere
from utils.rules import Flag, Layers, NotNegative, Positive, Size, choice

Constraint = Literal["sum", "mean"]


class StepsOf(NamedTuple):
    """What the loss sees of pairs of adjacent records, (...) each."""

    reward: Tensor
    slack: Tensor
    """min(eps, 1 - |delta|^2); below 0 where a step is too long."""


class MetricAbstraction(nn.Module):
    """phi(s) in R^D from features (..., F) of any agent, with |phi(s') - phi(s)| <= 1 for adjacent s, s'.

    The largest mean of (phi(s') - phi(s)) . z under that constraint is sought with a dual variable lambda, whose
    logarithm is a parameter (Park et al. 2024, equations 9 and 10). ``constraint``: of the squared norm (``sum``), or,
    as the published program has it, of its mean over the D dimensions, which allows steps of length sqrt(D). Everything
    is computed in float32: at first the differences are small.
    """

    def __init__(
        self, inputs: int, dim: int, *, layers: int, hidden: int, dual_lambda: float, dual_slack: float, constraint: str
    ) -> None:
        super().__init__()
        self.phi = MLP(inputs, dim, layers, hidden, nn.ReLU)
        for layer in self.phi:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.phi[-1].register_parameter("bias", None)  # only differences of phi matter
        self.log_dual = nn.Parameter(torch.tensor(float(dual_lambda)).log())
        self.slack, self.by_sum = dual_slack, constraint == "sum"

    def embed(self, features: Tensor) -> Tensor:
        """phi, (..., F) -> (..., D)."""
        with torch.autocast(features.device.type, enabled=False):
            return self.phi(features.to(self.log_dual.dtype))  # type: ignore[no-any-return]

    def steps(self, before: Tensor, after: Tensor, direction: Tensor) -> StepsOf:
        """Of phi before and after a step (..., D), and directions (..., D)."""
        delta = after - before
        squared = delta.square().sum(-1) if self.by_sum else delta.square().mean(-1)
        return StepsOf((delta * direction).sum(-1), (1 - squared).clamp(max=self.slack))

    def loss(
        self, before: Tensor, after: Tensor, direction: Tensor, valid: Tensor, rewarded: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """-mean [r + sg(lambda) c] + log lambda mean sg(c) over pairs (..., F): two losses, gradients apart.

        The constraint counts where ``valid`` (...) holds, the reward where ``rewarded`` (...) does as well.
        """
        found = self.steps(self.embed(before), self.embed(after), direction)
        slack = masked_mean(found.slack, valid)
        reward = masked_mean(found.reward, valid & rewarded)
        dual = self.log_dual.exp().detach()
        loss = -(reward + dual * slack) + self.log_dual * slack.detach()
        return loss, {"metra_reward": reward.detach(), "metra_slack": slack.detach(), "metra_dual": dual}


def centred(one_hot: Tensor) -> Tensor:
    """(D z - 1) / (D - 1): of one-hot vectors (..., D), 1 at their place and -1 / (D - 1) elsewhere."""
    n = one_hot.shape[-1]
    return (n * one_hot - 1) / (n - 1)


class METRA(IntrinsicReward):
    """r_t = (phi(f_t) - phi(f_{t-1})) . z, differentiable in both features; r_0 has no predecessor and does not count.

    ``discrete`` skills are one-hot to actor and critic, and :func:`centred` in rewards.
    """

    scores = "imagination"
    needs_skills = True
    choices = ("regression", "imagination")
    metric_name = "metra"

    def __init__(
        self,
        sizes: Sizes,
        skill_dim: SkillCount,
        discrete: Flag,
        phi_hidden: Size,
        phi_layers: Layers,
        dual_lambda: Positive,
        dual_slack: NotNegative,
        constraint: Annotated[Constraint, choice("sum", "mean")],
        ridge: Positive,
    ) -> None:
        super().__init__(sizes)
        self.discrete, self.ridge, self.scores_steps = discrete, ridge, True
        self.skills = OneHot(skill_dim) if discrete else UnitSphere(skill_dim)
        self.abstraction = MetricAbstraction(
            sizes.feat,
            skill_dim,
            layers=phi_layers,
            hidden=phi_hidden,
            dual_lambda=dual_lambda,
            dual_slack=dual_slack,
            constraint=constraint,
        )

    def _direction(self, skill: Tensor) -> Tensor:
        return centred(skill) if self.discrete else skill

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        follows, direction = ~view.is_first[:, 1:], self._direction(view.skill[:, 1:])
        return self.abstraction.loss(
            view.feat[:, :-1], view.feat[:, 1:], direction, follows, view.skill_valid[:, 1:] & follows
        )

    def score_imagined(self, traj: Imagined) -> Scored:
        phi = self.abstraction.embed(traj.feat)
        reward = F.pad(((phi[1:] - phi[:-1]) * self._direction(traj.skill[:-1])).sum(-1), (0, 0, 1, 0))
        valid = torch.ones_like(reward, dtype=torch.bool)
        valid[0] = False
        length = torch.linalg.vector_norm(phi[1:] - phi[:-1], dim=-1).detach()
        return Scored(reward, valid, {"metra_step": length.mean()})

    @torch.no_grad()
    def choose_skill(self, view: ReplayView, reward: Tensor) -> Tensor:
        """The direction of w = argmin |Delta w - r|^2 / N + ridge |w|^2, in float64, over the N pairs of records.

        Delta (N, D) are the steps of phi, r (N,) the task rewards of the later records. A discrete skill is the largest
        entry of w. Where no record was rewarded, a random one.
        """
        follows = ~view.is_first[:, 1:]
        phi = self.abstraction.embed(view.feat)
        delta, task = (phi[:, 1:] - phi[:, :-1])[follows].double(), reward[:, 1:][follows].double()
        penalty = self.ridge * max(len(task), 1) * torch.eye(delta.shape[-1], dtype=delta.dtype, device=delta.device)
        w = torch.linalg.solve(delta.T @ delta + penalty, delta.T @ task)
        if not w.any():
            return self.skills.sample(1, w.device)[0]
        return F.one_hot(w.argmax(), len(w)).float() if self.discrete else F.normalize(w, dim=0).float()

    @torch.no_grad()
    def goal_skill(self, feat: Tensor, goal: Tensor) -> Tensor:
        """The skill that leads from features to those of a goal, (..., F) -> (..., D): the direction between their phi,
        or the largest entry of it; a zero vector where the two are the same.
        """
        way = self.abstraction.embed(goal) - self.abstraction.embed(feat)
        return F.one_hot(way.argmax(-1), way.shape[-1]).float() if self.discrete else F.normalize(way, dim=-1)

    def finetuned(self) -> IntrinsicReward:
        """Itself, with phi as it was pre-trained: the choice of the skill needs it."""
        return self.requires_grad_(False)

    def finetune_state(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.state_dict().items() if name.startswith("abstraction.phi.")}
