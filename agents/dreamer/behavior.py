"""A behaviour: actor and critic trained on imagined rollouts (DreamerV2, card section 4)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.dreamer.returns import StreamNorm, lambda_return, returns_valid
from agents.dreamer.rssm import RSSM
from agents.exploration.intrinsic_reward import CriticHead, Imagined, Scored
from agents.nn.distributions import POLICIES, Policy, unit_normal_log_prob
from agents.nn.latent import Latent
from agents.nn.means import masked_mean
from agents.nn.networks import MLP
from agents.nn.optimizer import Optimizer, frozen


class Actor(nn.Module):
    """MLP on [feat, skill] -> a policy over [-1, 1]^A with mean tanh(m) and std 2 sigmoid(q / 2) + min_std."""

    def __init__(
        self, inputs: int, action_dim: int, *, layers: int = 4, units: int = 400, min_std: float = 0.1, dist: str
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.net = MLP(inputs, 2 * action_dim, layers, units)
        self.min_std = min_std
        self.policy = POLICIES[dist]

    def forward(self, feat: Tensor, skill: Tensor) -> Policy:
        """feat (..., F), skill (..., n) -> policy with parameters (..., A)."""
        mean, raw = self.net(torch.cat([feat, skill], -1)).float().chunk(2, -1)
        return self.policy(torch.tanh(mean), 2 * torch.sigmoid(raw / 2) + self.min_std)


class Critic(nn.Module):
    """MLP on [feat, skill] -> the mean of a unit-variance Normal over the return, (..., F) -> (...)."""

    def __init__(self, feat_dim: int, skill_dim: int, *, outputs: int = 1, layers: int = 4, units: int = 400) -> None:
        super().__init__()
        self.net = MLP(feat_dim + skill_dim, outputs, layers, units)

    def forward(self, feat: Tensor, skill: Tensor) -> Tensor:
        """feat (..., F), skill (..., n) -> values (...)."""
        return self.net(torch.cat([feat, skill], -1)).float()[..., 0]

    def loss(self, value: Tensor, target: Tensor) -> Tensor:
        """-log N(target; value, 1), elementwise; its floor is 0.919."""
        return -unit_normal_log_prob(target, value, 0)


class SuccessorCritic(Critic):
    """psi(f, z) in R^n with value psi . z and squared error without a half (APS; card 6.1).

    Only the product is regressed, so psi need not be a vector of successor features.
    """

    def __init__(self, feat_dim: int, skill_dim: int, **sizes: int) -> None:
        assert skill_dim > 0, "a successor critic needs skills"
        super().__init__(feat_dim, skill_dim, outputs=skill_dim, **sizes)

    def forward(self, feat: Tensor, skill: Tensor) -> Tensor:
        return (self.net(torch.cat([feat, skill], -1)).float() * skill).sum(-1)

    def loss(self, value: Tensor, target: Tensor) -> Tensor:
        """(value - target)^2, elementwise."""
        return (value - target).square()


CRITICS: dict[CriticHead, type[Critic]] = {"scalar": Critic, "successor": SuccessorCritic}


def imagine(rssm: RSSM, actor: Actor, start: Latent, skill: Tensor, horizon: int) -> tuple[Imagined, Policy]:
    """Roll the prior forward under ``actor`` from ``start`` (N, ...) with ``skill`` (N, n) held.

    The actor reads detached features; its *action* carries the gradient: action -> dynamics -> later features.
    Returns the rollout (H + 1, N, ...) and the policies at t = 0 .. H-1, parameters (H, N, A).
    """
    latent, feat = start, start.feat
    feats, deters, actions, means, stds = [feat], [start.deter], [], [], []
    for _ in range(horizon):
        policy = actor(feat.detach(), skill)
        action = policy.rsample()
        latent = rssm.imagine_step(latent, action)
        feat = latent.feat
        feats.append(feat)
        deters.append(latent.deter)
        actions.append(action)
        means.append(policy.mean)
        stds.append(policy.std)
    actions.insert(0, torch.zeros_like(actions[0]))
    skills = skill.expand(horizon + 1, *skill.shape)
    traj = Imagined(torch.stack(feats), torch.stack(deters), torch.stack(actions), skills)
    return traj, actor.policy(torch.stack(means), torch.stack(stds))


class Behavior(nn.Module):
    """Actor, critic, slow target, reward normaliser and the two optimisers.

    ``actor_grad`` is ``dynamics`` (the return is differentiated through the model) or ``reinforce``.
    ``entropy_in_targets=True`` restores the published defect of adding the entropy bonus to the critic's targets.
    """

    def __init__(
        self,
        feat_dim: int,
        action_dim: int,
        skill_dim: int,
        *,
        actor: Mapping[str, Any],
        critic: Mapping[str, Any],
        critic_head: CriticHead = "scalar",
        actor_opt: Mapping[str, float],
        critic_opt: Mapping[str, float],
        reward_norm: Mapping[str, float],
        actor_ent: float,
        actor_grad: str = "dynamics",
        imag_horizon: int = 15,
        discount: float = 0.99,
        discount_lambda: float = 0.95,
        slow_target: bool = True,
        slow_target_update: int = 100,
        slow_target_fraction: float = 1.0,
        entropy_in_targets: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.actor = Actor(feat_dim + skill_dim, action_dim, **actor)
        self.critic = CRITICS[critic_head](feat_dim, skill_dim, **critic)
        self.slow_critic = CRITICS[critic_head](feat_dim, skill_dim, **critic).requires_grad_(False)
        self.reward_norm = StreamNorm(**reward_norm)
        self.to(device)
        self.actor_ent, self.actor_grad = actor_ent, actor_grad
        self.horizon, self.discount, self.lam = imag_horizon, discount, discount_lambda
        self.slow_target = slow_target
        self.slow_every, self.slow_fraction = slow_target_update, slow_target_fraction
        self.entropy_in_targets = entropy_in_targets
        self.actor_opt = Optimizer(self.actor.parameters(), **actor_opt)
        self.critic_opt = Optimizer(self.critic.parameters(), **critic_opt)
        # w_t = discount^t, the weight of step t in both losses
        weight = torch.tensor([discount**t for t in range(imag_horizon)], device=device)[:, None]
        self.weight: Tensor
        self.register_buffer("weight", weight, persistent=False)

    def update(
        self, rssm: RSSM, start: Latent, skill: Tensor, score: Callable[[Imagined], Scored], *through: nn.Module
    ) -> Updated:
        """One actor and one critic step from start states (N, ...), detached, with skills (N, n).

        ``score`` gives the reward of the rollout, (H + 1, N); the modules in ``through`` (reward head, method) are
        frozen while it runs, so that it may be differentiated with respect to the states only.
        """
        with frozen(rssm, *through):
            traj, policy = imagine(rssm, self.actor, start, skill, self.horizon)
            scored = score(traj).masked()
        reward = self.reward_norm(scored)
        target_critic = self.slow_critic if self.slow_target else self.critic
        with frozen(target_critic):
            value = target_critic(traj.feat, traj.skill)
        target = lambda_return(reward, value, self.discount, self.lam)
        valid = returns_valid(scored.valid)
        entropy = policy.entropy()
        actor_loss = self._actor_loss(target, value, valid, policy, entropy, traj)
        actor_norm = self.actor_opt.step(actor_loss)

        critic_target = target.detach()
        if self.entropy_in_targets:
            bonus = self.actor_ent * entropy.detach()[:-1]
            critic_target = torch.cat([critic_target[:1], critic_target[1:] + bonus])
        prediction = self.critic(traj.feat[:-1].detach(), traj.skill[:-1])
        critic_loss = masked_mean(self.weight * self.critic.loss(prediction, critic_target), valid)
        critic_norm = self.critic_opt.step(critic_loss)

        mean, std = _mean_std(scored.value.detach(), scored.valid)
        normed_mean, normed_std = _mean_std(reward.detach(), scored.valid)
        losses = {
            "actor_loss": actor_loss.detach(),
            "actor_grad_norm": actor_norm,
            "critic_loss": critic_loss.detach(),
            "critic_grad_norm": critic_norm,
        }
        metrics = {
            **scored.metrics,
            "actor_ent": entropy.detach().mean(),
            "actor_ent_scale": torch.full_like(mean, self.actor_ent),
            "critic": prediction.detach().mean(),
            "critic_slow": value.detach().mean(),
            "critic_target": masked_mean(target.detach(), valid),
            "reward_mean": mean,
            "reward_std": std,
            "reward_normed_mean": normed_mean,
            "reward_normed_std": normed_std,
        }
        return Updated(losses, metrics)

    def _actor_loss(
        self, target: Tensor, value: Tensor, valid: Tensor, policy: Policy, entropy: Tensor, traj: Imagined
    ) -> Tensor:
        """-mean over t = 0 .. H-2 of w_t (objective_{t+1} + eta Ent[pi at f_t])."""
        if self.actor_grad == "reinforce":
            advantage = (target[1:] - value[:-2]).detach()
            log_prob = type(policy)(policy.mean[:-1], policy.std[:-1]).log_prob(traj.action[1:-1].detach())
            objective = log_prob * advantage
        else:
            objective = target[1:]
        terms = self.weight[:-1] * (objective + self.actor_ent * entropy[:-1])
        return -masked_mean(terms, valid[1:])

    @torch.no_grad()
    def after_update(self, count: int) -> None:
        """Move the slow target: a copy after update 0, then every ``slow_target_update`` (card 4.4)."""
        if count % self.slow_every == 0:
            mix = 1.0 if count == 0 else self.slow_fraction
            for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(fast, mix)


def _mean_std(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    mean = masked_mean(value, valid)
    return mean, masked_mean((value - mean).square(), valid).sqrt()
