"""Proximal policy optimisation (Schulman et al. 2017) of one rollout, on normalised observations."""

from typing import NamedTuple

import torch
from torch import Tensor

from agents.agent import Updated
from agents.nn.optimizer import Optimizer
from agents.rest.batches import batches
from agents.rest.networks import Actor, Critic
from agents.rest.settings import PPOSettings


class Experience(NamedTuple):
    """What a policy learns from, a row for each step taken."""

    obs: Tensor
    """(R, D), normalised as when the policy acted."""
    action: Tensor
    """(R, A)."""
    log_prob: Tensor
    """(R,), of the policy that acted."""
    advantage: Tensor
    """(R,), as estimated."""


def normalised(advantage: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8) over everything, with the unbiased std: rewards that are all alike give zeros."""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)


def policy_loss(actor: Actor, rows: Experience, clip_ratio: float, ent_coef: float) -> tuple[Tensor, Tensor]:
    """-mean min(rho A, clip(rho, 1 - clip_ratio, 1 + clip_ratio) A) - ent_coef H (equation 7), and log rho (R,).

    rho = pi(a | s) / pi_old(a | s); H is the entropy per action dimension, in nats.
    """
    log_ratio = actor.log_prob(actor(rows.obs), rows.action) - rows.log_prob
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_ratio, 1 + clip_ratio)
    gain = torch.minimum(ratio * rows.advantage, clipped * rows.advantage).mean()
    return -gain - ent_coef * actor.entropy(), log_ratio.detach()


def improve(actor: Actor, optimizer: Optimizer, experience: Experience, settings: PPOSettings) -> Updated:
    """``train_pi_iters`` steps on the clipped loss, advantages normalised once over the whole rollout.

    With ``target_kl`` it stops before a step whose rows say that KL(pi_old, pi) has passed it; that reads the device.
    The losses reported are those of the last step. ``ratio_error`` is the largest |rho - 1| before the first step:
    nothing but rounding may tell the two policies apart there.
    """
    rows = experience._replace(advantage=normalised(experience.advantage))
    device, taken, ratio_error = rows.obs.device, 0, None
    for index in batches(len(rows.obs), settings.batch_size, settings.train_pi_iters, device):
        loss, log_ratio = policy_loss(
            actor, Experience(*(x[index] for x in rows)), settings.clip_ratio, settings.ent_coef
        )
        ratio = log_ratio.exp()
        kl = (ratio - 1 - log_ratio).mean()  # never negative, and the right mean (Schulman 2020, "Approximating KL")
        if ratio_error is None:
            ratio_error = (ratio - 1).abs().amax()
        elif settings.target_kl is not None and kl > settings.target_kl:
            break
        norm = optimizer.step(loss)
        taken += 1
    assert ratio_error is not None
    metrics = {
        "pi_kl": kl,
        "pi_clipped": ((ratio - 1).abs() > settings.clip_ratio).float().mean(),
        "pi_entropy": actor.entropy().detach(),
        "pi_steps": torch.full((), float(taken), device=device),
        "ratio_error": ratio_error,
    }
    return Updated({"pi_loss": loss.detach(), "pi_grad_norm": norm}, metrics)


def fit_values(critic: Critic, optimizer: Optimizer, obs: Tensor, returns: Tensor, settings: PPOSettings) -> Updated:
    """``train_v_iters`` steps on the mean of (V(s) - R)^2, obs normalised (R, D), returns (R,).

    ``value_explained`` is the share of the returns' variance that the critic explained before.
    """
    explained = None
    for index in batches(len(obs), settings.batch_size, settings.train_v_iters, obs.device):
        error = critic(obs[index]) - returns[index]
        if explained is None:
            explained = 1 - error.detach().var() / returns[index].var().clamp(min=1e-12)
        loss = error.square().mean()
        norm = optimizer.step(loss)
    assert explained is not None
    return Updated({"value_loss": loss.detach(), "value_grad_norm": norm}, {"value_explained": explained})
