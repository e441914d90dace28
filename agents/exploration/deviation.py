"""SD3: skills that claim their own regions (Xiao et al. 2025, "Skill Regions Differentiation")."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.exploration.density import KERNELS, SkillDensity
from agents.exploration.intrinsic_reward import IntrinsicReward, ReplayView, RunSizes, Scored, Sizes, everywhere
from agents.nn.means import masked_mean
from agents.skills import OneHot, SkillCount
from utils.errors import UserError
from utils.rules import NOT_NEGATIVE, Flag, Layers, NotNegative, Number, Positive, Size, by_domain, choice


def deviation_reward(
    error: Tensor, weight: float, log_density_floor: float | None = None, minimum: float | None = None
) -> Tensor:
    """r_dev(s, z) for every skill z at once, from errors e_z(s) (..., n) -> (..., n), in nats, at most log n.

    r_dev = log [ lambda n d_z / ((lambda - 1) d_z + sum_z' d_z') ] with d_z = exp(-e_z) and lambda = ``weight`` > 0,
    computed as log n + log_softmax(l)[z] with l_z' = -e_z' + [z' = z] log lambda, which neither over- nor underflows.
    ``log_density_floor`` bounds every -e from below: where all skills lie at the floor the reward is the constant
    log(lambda n / (lambda + n - 1)). ``minimum`` bounds the reward itself.
    """
    n = error.shape[-1]
    log_density = -error.float()
    if log_density_floor is not None:
        log_density = log_density.clamp(min=log_density_floor)
    # only differences matter; small numbers keep float32's precision where errors are thousands
    log_density = log_density - log_density.amax(-1, keepdim=True)
    own = torch.eye(n, device=error.device) * math.log(weight)
    logits = log_density[..., None, :] + own  # row z: the skill that is rewarded
    reward = math.log(n) + F.log_softmax(logits, -1).diagonal(dim1=-2, dim2=-1)
    return reward if minimum is None else reward.clamp(min=minimum)


Rates = Annotated[float | dict[str, float], by_domain(NOT_NEGATIVE)]
ImageSize = Annotated[int, choice(*KERNELS)]


class Deviation(IntrinsicReward):
    """r(s, z) = r_dev(s, z) + alpha r_exp(s), r_exp = mean_z KL(q(h | s, z) || N(0, I)).

    Replayed observations are scored under all n skills at once. With ``skill_conditioned_reward`` the reward head has n
    outputs, all of them trained on every observation; without, one output learns the reward of the stored skill.
    ``explor_rate`` is alpha: a number, or a table by domain. Raises :class:`UserError` for a domain not in the table.
    """

    scores = "replay"
    needs_skills = True
    metric_name = "density"

    @classmethod
    def check(cls, own: Any, run: RunSizes) -> None:
        """A table of rates has the domain."""
        _rate(own.explor_rate, run.domain)

    def __init__(
        self,
        sizes: Sizes,
        skill_dim: SkillCount,
        weight: Positive,
        explor_rate: Rates,
        beta: NotNegative,
        latent_dim: Size,
        num_modules: Size,
        num_layers: Layers,
        module_hidden: Size,
        density_image_size: ImageSize,
        density_cnn_depth: Size,
        temperature: Positive,
        batch_norm: Flag,
        log_density_floor: Number | None,
        deviation_floor: Number | None,
        skill_conditioned_reward: Flag,
    ) -> None:
        super().__init__(sizes)
        self.skills = OneHot(skill_dim)
        self.reward_outputs = skill_dim if skill_conditioned_reward else 1
        self.density = SkillDensity(
            sizes.obs_shape,
            skill_dim,
            latent_dim=latent_dim,
            num_modules=num_modules,
            num_layers=num_layers,
            module_hidden=module_hidden,
            image_size=density_image_size,
            cnn_depth=density_cnn_depth,
            temperature=temperature,
            batch_norm=batch_norm,
        )
        self.weight, self.beta = weight, beta
        self.alpha = _rate(explor_rate, sizes.domain)
        self.log_density_floor, self.deviation_floor = log_density_floor, deviation_floor

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        return self.density.loss(view.obs, view.skill, view.skill_valid, self.beta)

    def score_replay(self, view: ReplayView) -> Scored:
        error, divergence = self.density.all_skills(view.obs)
        deviation = deviation_reward(error, self.weight, self.log_density_floor, self.deviation_floor)
        exploration = divergence.mean(-1, keepdim=True)
        reward = deviation + self.alpha * exploration
        stored, valid = view.skill, view.skill_valid
        hit = error.argmin(-1) == stored.argmax(-1)
        metrics = {
            "density_acc": masked_mean(hit.float(), valid),
            "deviation": masked_mean((deviation * stored).sum(-1), valid),
            "exploration": exploration.mean(),
        }
        if self.log_density_floor is not None:
            metrics["density_floored"] = (-error <= self.log_density_floor).float().mean()
        if self.reward_outputs == 1:
            reward = (reward * stored).sum(-1)
        return everywhere(reward, metrics)


def _rate(explor_rate: float | Mapping[str, float], domain: str) -> float:
    if not isinstance(explor_rate, Mapping):
        return explor_rate
    if domain not in explor_rate:
        raise UserError(
            f"agent.explor_rate has no value for domain={domain}, only for {', '.join(explor_rate)}. "
            f"Add +agent.explor_rate.{domain}=0.01, or set one number for all: agent.explor_rate=0.01."
        )
    return explor_rate[domain]
