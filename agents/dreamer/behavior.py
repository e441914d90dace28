"""A behaviour: networks that decide, and a critic, trained on imagined rollouts (DreamerV2, Hafner et al. 2021)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.dreamer.actor_critic import CRITICS, Actor, Critic
from agents.dreamer.retain import Anchor
from agents.dreamer.returns import StreamNorm, lambda_return, returns_valid
from agents.dreamer.rssm import RSSM
from agents.exploration.intrinsic_reward import CriticHead, Imagined, Scored
from agents.nn import across
from agents.nn.distributions import Policy
from agents.nn.latent import Latent
from agents.nn.means import masked_mean
from agents.nn.optimizer import Optimizer, frozen


class Decided(Protocol):
    """The distributions that decisions were drawn from: all that learning by REINFORCE or an entropy bonus needs."""

    def until(self, time: int) -> "Decided":
        """Those of the times 0 .. time - 1, the first dimension."""
        ...

    def log_prob(self, action: Tensor) -> Tensor: ...

    def entropy(self) -> Tensor: ...


class Decision(NamedTuple):
    """What one network of a behaviour decided at t = 0 .. H-1 of a rollout."""

    policy: Decided
    """Parameters (H, N, ...)."""
    taken: Tensor
    """What was drawn from it, (H, N, A)."""


class Rolled(NamedTuple):
    """A rollout, and by name what every network of the behaviour decided in it."""

    traj: Imagined
    decisions: Mapping[str, Decision]


Rollout = Callable[[Mapping[str, nn.Module], RSSM, Latent, Tensor, int], Rolled]
"""(networks by name, dynamics, start (N, ...), skill (N, n), horizon) -> rollout of horizon + 1 states."""


Pick = Callable[[Tensor], Tensor]
"""Features (N, F), detached -> the skills (N, n) to act by there."""


def imagine(rssm: RSSM, actor: Actor, start: Latent, skill: Tensor | Pick, horizon: int) -> tuple[Imagined, Policy]:
    """Roll the prior forward under ``actor`` from ``start`` (N, ...) with ``skill`` (N, n) held, or picked at every
    step.

    The actor reads detached features; its *action* carries the gradient: action -> dynamics -> later features.
    Returns the rollout (H + 1, N, ...) and the policies at t = 0 .. H-1, parameters (H, N, A). The last state, where
    nothing is done, has the skill of the one before.
    """
    latent, feat, prior, act = start, start.feat, rssm.prior(), actor.repeated()
    feats, deters, actions, skills, means, stds = [feat], [start.deter], [], [], [], []
    drawn = rssm.drawn(horizon, len(feat), feat.device)  # at once: fewer launches
    for t in range(horizon):
        seen = feat.detach()
        skills.append(skill if isinstance(skill, Tensor) else skill(seen))
        policy = act(seen, skills[-1])
        action = policy.rsample()
        latent = rssm.imagine_step(latent, action, prior, drawn[t])
        feat = latent.feat
        feats.append(feat)
        deters.append(latent.deter)
        actions.append(action)
        means.append(policy.mean)
        stds.append(policy.std)
    actions.insert(0, torch.zeros_like(actions[0]))
    held = skill.expand(horizon + 1, *skill.shape) if isinstance(skill, Tensor) else torch.stack([*skills, skills[-1]])
    traj = Imagined(torch.stack(feats), torch.stack(deters), torch.stack(actions), held)
    return traj, actor.policy(torch.stack(means), torch.stack(stds))


def one_actor(networks: Mapping[str, nn.Module], rssm: RSSM, start: Latent, skill: Tensor, horizon: int) -> Rolled:
    """The rollout of a behaviour whose one network, ``actor``, acts under a skill that is held."""
    traj, policy = imagine(rssm, networks["actor"], start, skill, horizon)  # type: ignore[arg-type]
    return Rolled(traj, {"actor": Decision(policy, traj.action[1:])})


@dataclass
class Term:
    """One network that decides, and how it learns: it descends

    -mean over t = 0 .. H-2 of w_t (objective_{t+1} + entropy * Ent[pi at f_t]), w_t = discount^t.

    The objective is the lambda-return, differentiated through the model (``grad="dynamics"``), or log pi(taken) times
    the advantage G_{t+1} - v_t (``"reinforce"``); Hafner et al. 2021, equation 6, without its mixture.
    """

    network: nn.Module
    opt: Mapping[str, float]
    """Settings of its :class:`Optimizer`."""
    entropy: float = 0.0
    grad: Literal["dynamics", "reinforce"] = "dynamics"
    trains: bool = True
    """Whether it learns; it decides all the same."""


class Behavior(nn.Module):
    """Networks that decide, critic, slow target, reward normaliser and their optimisers.

    ``terms`` are the networks by name, stepped in this order, each with an optimiser of its own; ``rollout`` says how
    they act together. An actor is one term; a controller that picks skills for an actor to execute is two. At most one
    term learns by dynamics: it takes the graph of the rollout with it.
    ``entropy_in_targets=True`` restores the published defect of adding the entropy bonus to the critic's targets. It is
    that of terms that learn by dynamics: theirs is the objective that shares memory with the targets.
    ``anchor`` holds the term ``actor`` to where it started.
    """

    actor: Actor
    """The network of the term ``actor``, where there is one."""

    def __init__(
        self,
        terms: Mapping[str, Term],
        critic: Critic,
        slow_critic: Critic,
        *,
        rollout: Rollout = one_actor,
        critic_opt: Mapping[str, float],
        reward_norm: Mapping[str, float],
        imag_horizon: int = 15,
        discount: float = 0.99,
        discount_lambda: float = 0.95,
        slow_target: bool = True,
        slow_target_update: int = 100,
        slow_target_fraction: float = 1.0,
        entropy_in_targets: bool = False,
        anchor: Anchor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        learning = {name: term for name, term in terms.items() if term.trains}
        assert sum(term.grad == "dynamics" for term in learning.values()) <= 1, "two terms cannot share one graph"
        self.terms = dict(terms)
        for name, term in terms.items():
            self.add_module(name, term.network if term.trains else term.network.requires_grad_(False))
        self.critic, self.slow_critic = critic, slow_critic.requires_grad_(False)
        self.reward_norm = StreamNorm(**reward_norm)
        self.to(device)
        self._rollout = rollout
        self.horizon, self.discount, self.lam = imag_horizon, discount, discount_lambda
        self.slow_target = slow_target
        self.slow_every, self.slow_fraction = slow_target_update, slow_target_fraction
        self.entropy_in_targets = entropy_in_targets
        self.anchor = anchor
        self.optimizers = {name: Optimizer(term.network.parameters(), **term.opt) for name, term in learning.items()}
        self.optimizers["critic"] = Optimizer(self.critic.parameters(), **critic_opt)
        # w_t = discount^t, the weight of step t in all losses
        weight = torch.tensor([discount**t for t in range(imag_horizon)], device=device)[:, None]
        self.weight: Tensor
        self.register_buffer("weight", weight, persistent=False)

    def heads(self) -> list[nn.Module]:
        """All networks: what decides, and the critics."""
        return [*(term.network for term in self.terms.values()), self.critic, self.slow_critic]

    def rollout(self, rssm: RSSM, start: Latent, skill: Tensor, horizon: int) -> Rolled:
        """How this behaviour acts in imagination, from start states (N, ...) with skills (N, n): horizon + 1 states."""
        return self._rollout({name: term.network for name, term in self.terms.items()}, rssm, start, skill, horizon)

    def update(
        self,
        rssm: RSSM,
        start: Latent,
        skill: Tensor,
        score: Callable[[Imagined], Scored],
        *through: nn.Module,
        decides: bool = True,
    ) -> Updated:
        """One step of every term and of the critic from start states (N, ...), detached, with skills (N, n).

        ``score`` gives the reward of the rollout, (H + 1, N); the modules in ``through`` (reward head, method) are
        frozen while it runs, so that it may be differentiated with respect to the states only. Without ``decides``
        only the critic steps.
        """
        horizon, count = self.horizon, len(skill)
        # imagine H steps and pay every state
        with frozen(rssm, *through), torch.set_grad_enabled(decides):
            traj, decisions = self.rollout(rssm, start, skill, horizon)
            scored = score(traj).masked()
        assert traj.feat.shape[:2] == traj.skill.shape[:2] == scored.value.shape == (horizon + 1, count)
        reward = self.reward_norm(scored)
        # lambda-returns with the slow critic's values
        target_critic = self.slow_critic if self.slow_target else self.critic
        with frozen(target_critic), torch.set_grad_enabled(decides):
            value = target_critic(traj.feat, traj.skill)
        target = lambda_return(reward, value, self.discount, self.lam)
        valid = returns_valid(scored.valid)
        assert value.shape == (horizon + 1, count) and target.shape == valid.shape == (horizon, count)
        # what decides steps
        losses: dict[str, Tensor] = {}
        metrics: dict[str, Tensor] = dict(scored.metrics)
        critic_target = target.detach()
        for name, term in self.terms.items():
            decision = decisions[name]
            entropy = decision.policy.entropy()
            assert entropy.shape == decision.taken.shape[:2] == (horizon, count)
            metrics[f"{name}_ent"] = entropy.detach().mean()
            metrics[f"{name}_ent_scale"] = torch.full_like(metrics[f"{name}_ent"], term.entropy)
            if not (decides and term.trains):
                continue
            loss = self._actor_loss(term, decision, target, value, valid, entropy)
            if self.anchor is not None and name == "actor":
                apart = self.anchor.divergence(decision.policy, traj.feat[:-1].detach(), traj.skill[:-1])  # type: ignore[arg-type]
                loss = loss + self.anchor.now * masked_mean(self.weight[:-1] * apart[:-1], valid[1:])
                metrics |= {"actor_apart": apart.detach().mean(), "actor_anchor": self.anchor.now.clone()}
            losses |= {f"{name}_loss": loss.detach(), f"{name}_grad_norm": self.optimizers[name].step(loss)}
            if self.entropy_in_targets and term.grad == "dynamics":
                bonus = term.entropy * entropy.detach()[:-1]
                critic_target = torch.cat([critic_target[:1], critic_target[1:] + bonus])
        # the critic regresses the returns
        prediction = self.critic(traj.feat[:-1].detach(), traj.skill[:-1])
        critic_loss = masked_mean(self.weight * self.critic.loss(prediction, critic_target), valid)
        losses |= {"critic_loss": critic_loss.detach(), "critic_grad_norm": self.optimizers["critic"].step(critic_loss)}

        mean, std = _mean_std(scored.value.detach(), scored.valid)
        normed_mean, normed_std = _mean_std(reward.detach(), scored.valid)
        metrics |= {
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
        self, term: Term, decision: Decision, target: Tensor, value: Tensor, valid: Tensor, entropy: Tensor
    ) -> Tensor:
        """The loss of a :class:`Term`: target, valid and entropy (H, N), value (H + 1, N) -> scalar."""
        if term.grad == "reinforce":
            advantage = (target[1:] - value[:-2]).detach()
            earlier = decision.policy.until(len(advantage))
            objective = earlier.log_prob(decision.taken[:-1].detach()) * advantage
        else:
            objective = target[1:]
        return -masked_mean(self.weight[:-1] * (objective + term.entropy * entropy[:-1]), valid[1:])

    @torch.no_grad()
    def after_update(self, count: int) -> None:
        """Move the slow target: a copy after update 0, then every ``slow_target_update`` updates the fraction
        ``slow_target_fraction`` of the way.
        """
        if count % self.slow_every == 0:
            mix = 1.0 if count == 0 else self.slow_fraction
            for slow, fast in zip(self.slow_critic.parameters(), self.critic.parameters(), strict=True):
                slow.lerp_(fast, mix)


def build_behavior(
    feat_dim: int,
    action_dim: int,
    skill_dim: int,
    *,
    actor: Mapping[str, Any],
    critic: Mapping[str, Any],
    critic_head: CriticHead = "scalar",
    actor_opt: Mapping[str, float],
    actor_ent: float,
    actor_grad: Literal["dynamics", "reinforce"] = "dynamics",
    anchor: tuple[float, int] | None = None,
    **rest: Any,
) -> Behavior:
    """One actor and its critics, conditioned on a skill; ``rest`` is for :class:`Behavior`.

    ``anchor``: weight and updates of an :class:`Anchor`.
    """
    network = Actor(feat_dim + skill_dim, action_dim, **actor)
    kind = CRITICS[critic_head]
    critics = [kind(feat_dim, skill_dim, **critic) for _ in range(2)]
    tie = None if anchor is None else Anchor(Actor(feat_dim + skill_dim, action_dim, **actor), *anchor)
    return Behavior({"actor": Term(network, actor_opt, actor_ent, actor_grad)}, *critics, anchor=tie, **rest)


def _mean_std(value: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    mean = across.whole(masked_mean(value, valid))
    return mean, across.whole(masked_mean((value - mean).square(), valid)).sqrt()
