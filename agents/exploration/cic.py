"""CIC: transitions that a contrastive loss ties to skills, and particle entropy of what it learns (Laskin et al. 2022,
"CIC: Contrastive Intrinsic Control for Unsupervised Skill Discovery").
"""

from typing import Annotated, Any, Literal

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
    TaskReward,
    everywhere,
)
from agents.exploration.particle_entropy import ParticleEntropy, Scale, check_neighbours
from agents.nn import across
from agents.nn.chunks import chunks
from agents.nn.means import masked_mean
from agents.nn.networks import MLP, orthogonal_
from agents.skills import Cube, SkillCount
from utils.rules import Count, Flag, Number, Positive, Size, choice

SMALLEST = 1e-6
"""What the published loss keeps its denominator above."""

CHUNK_BYTES = 64 * 2**20

Particles = Literal["state", "transition"]


def contrastive(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """f_ij = cos(query_i, key_j) / T of rows (N, d) and (M, d), (N, M)."""
    return F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).T / temperature


def exact_loss(product: Tensor, negative: Tensor, first: int = 0) -> Tensor:
    """-f_ii + log sum_j e^{f_ij} over the columns j where ``negative`` (N, M) bool holds; (N,), 0 without any.

    Row i is of the pair of column ``first`` + i.
    """
    others = torch.where(negative, product, -torch.inf)
    some = negative.any(-1)
    log_sum = torch.logsumexp(torch.where(some[:, None], others, 0.0), -1)
    return torch.where(some, log_sum - product.diagonal(first), 0.0)


def published_loss(product: Tensor, column: Tensor, temperature: float, first: int = 0) -> Tensor:
    """-log(e^{f_ii} / (max(sum_j e^{f_ij} - e^{1/T}, 1e-6) + 1e-6)) over the columns (M,) bool that count, (N,).

    The constant stands for the own term, which is as large only where query and key agree.
    """
    terms = torch.where(column, product.exp(), 0.0).sum(-1)
    own = torch.full_like(terms, 1 / temperature).exp()
    return ((terms - own).clamp(min=SMALLEST) + SMALLEST).log() - product.diagonal(first)


def same_rows(rows: Tensor, others: Tensor) -> Tensor:
    """Which of (N, d) and (M, d) are equal, (N, M) bool."""
    parts = chunks(len(rows), CHUNK_BYTES // max(others.numel(), 1))
    return torch.cat([(rows[part, None] == others[None]).all(-1) for part in parts])


class ContrastiveControl(nn.Module):
    """Queries of skills (..., n) and keys of transitions, from features (..., F) of any agent, (..., n) both.

    A key is made of g(s) and g(s'), with one network g. Everything is computed in float32.
    """

    def __init__(self, inputs: int, skill_dim: int, hidden: int, temperature: float, *, project: bool) -> None:
        super().__init__()

        def net(size: int) -> nn.Module:
            return orthogonal_(MLP(size, skill_dim, 2, hidden, nn.ReLU))

        self.skill_net = net(skill_dim) if project else nn.Identity()
        self.state_net, self.pred_net = net(inputs), net(2 * skill_dim)
        self.temperature = temperature

    def key(self, before: Tensor, after: Tensor) -> Tensor:
        """Of g before and after a step (..., n)."""
        with torch.autocast(before.device.type, enabled=False):
            return self.pred_net(torch.cat([before, after], -1))  # type: ignore[no-any-return]

    def embed(self, features: Tensor) -> Tensor:
        """g, (..., F) -> (..., n)."""
        with torch.autocast(features.device.type, enabled=False):
            return self.state_net(features.float())  # type: ignore[no-any-return]

    def loss(
        self, before: Tensor, after: Tensor, skill: Tensor, valid: Tensor, *, exact: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over the pairs of features (N, F), with skills (N, n), where ``valid`` (N,) holds, rows and columns.

        ``exact``: the negatives of a row are the pairs of other skills; else as published, see :func:`published_loss`.
        Where several processes share a batch, the columns are those of all.
        """
        with torch.autocast(before.device.type, enabled=False):
            query = self.skill_net(skill.float())
            key = across.joined(self.key(self.embed(before), self.embed(after)))
            product = contrastive(query, key, self.temperature)
        first, columns = across.first_row(len(skill)), across.gathered(valid)
        if exact:
            negative = columns[None] & ~same_rows(skill, across.gathered(skill))
            rows = exact_loss(product, negative, first)
        else:
            rows = published_loss(product, columns, self.temperature, first)
        best = torch.where(columns[None], product, -torch.inf).argmax(-1)
        own = first + torch.arange(len(skill), device=skill.device)
        metrics = {
            "cic_acc": masked_mean((best == own).float(), valid),
            "cic_cosine": masked_mean(product.detach().diagonal(first) * self.temperature, valid),
        }
        return masked_mean(rows, valid), metrics


class CIC(IntrinsicReward):
    """r_t = log(1 + mean_k max(d_k / M - clip, 0)) of g(f_t) among all states of the rollout, without gradient.

    The skill is not in it: that skills differ is the work of the contrastive loss alone. ``cic_particles``: of
    ``transition`` the particles are the keys of (f_{t-1}, f_t), and r_0 does not count.
    """

    scores = "imagination"
    needs_skills = True
    choices = ("sweep", "imagination", "centre")
    metric_name = "cic"

    @classmethod
    def check(cls, own: Any, run: RunSizes) -> None:
        check_neighbours(own.knn_k, own.knn_self, run.particles)

    def __init__(
        self,
        sizes: Sizes,
        skill_dim: SkillCount,
        cic_hidden: Size,
        cic_temp: Positive,
        project_skill: Flag,
        exact_negatives: Flag,
        cic_particles: Annotated[Particles, choice("state", "transition")],
        knn_k: Count,
        knn_scale: Annotated[Scale, choice("none", "mean", "variance")],
        knn_avg: Flag,
        knn_clip: Number,
        knn_self: Flag,
    ) -> None:
        super().__init__(sizes)
        self.skills = Cube(skill_dim)
        self.exact, self.scores_steps = exact_negatives, cic_particles == "transition"
        self.control = ContrastiveControl(sizes.feat, skill_dim, cic_hidden, cic_temp, project=project_skill)
        self.entropy = ParticleEntropy(knn_k, scale=knn_scale, knn_avg=knn_avg, knn_clip=knn_clip, count_self=knn_self)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        valid = ~view.is_first[:, 1:] & view.skill_valid[:, 1:]
        pairs = (view.feat[:, :-1], view.feat[:, 1:], view.skill[:, 1:], valid)
        return self.control.loss(*(x.flatten(0, 1) for x in pairs), exact=self.exact)

    @torch.no_grad()
    def score_imagined(self, traj: Imagined) -> Scored:
        particles = self.control.embed(traj.feat)
        if self.scores_steps:
            particles = self.control.key(particles[:-1], particles[1:])
        distances = self.entropy.distances(particles.flatten(0, 1))
        value = self.entropy.value(distances).unflatten(0, particles.shape[:2])
        metrics = {"particle_distance": distances.mean()}
        if not self.scores_steps:
            return everywhere(value, metrics)
        valid = torch.ones(traj.feat.shape[:2], dtype=torch.bool, device=value.device)
        valid[0] = False
        return Scored(F.pad(value, (0, 0, 1, 0)), valid, metrics)

    def finetuned(self) -> IntrinsicReward:
        """The skills, and the choice of the published program."""
        return Centre.keeping(self)


class Centre(TaskReward):
    """The task's reward, and a skill that needs no trying."""

    def choose_skill(self, view: ReplayView, reward: Tensor) -> Tensor:
        """The centre of the cube, which the published program keeps from the start."""
        return torch.full((self.skills.dim,), 0.5, device=reward.device)
