"""The world model: encoder, RSSM, decoder and reward head, with their losses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.dreamer.rssm import RSSM
from agents.exploration.intrinsic_reward import Scored
from agents.nn import across
from agents.nn.distributions import (
    categorical_entropy,
    categorical_kl,
    log_softmax,
    sample_one_hot,
    unit_normal_log_prob,
)
from agents.nn.latent import Latent
from agents.nn.means import masked_mean
from agents.nn.networks import MLP
from agents.nn.observations import StateNorm, build_decoder, build_encoder, is_image, prepare
from utils.errors import UserError

STANDS = 5
"""How often one looks who stands still."""


class Observed(NamedTuple):
    """What one pass over a batch gives, (B, T, ...), still attached to the graph."""

    obs: Tensor
    """What the encoder was given: images in [-0.5, 0.5], (B, T, C, S, S), or their phases (see
    :mod:`agents.nn.phases`); or states (B, T, D), normalised if that is asked for."""
    embed: Tensor
    post: Latent
    prior_logits: Tensor
    """Of p(s | h) at the posterior's h, (B, T, stoch, discrete)."""
    feat: Tensor
    """Feature of the posterior, (B, T, F)."""
    kl: Tensor
    """KL(post || prior) per step in nats, without free nats, (B, T)."""


class WorldModel(nn.Module):
    """Loss = L_kl + L_observation + L_reward (Hafner et al. 2021, DreamerV2, equation 2, without a discount head).

    ``obs_shape``: images (C, S, S) or states (D,), see :mod:`agents.nn.observations`.
    ``reward_outputs`` is 1, or n when the reward head predicts the reward of each of n skills.
    ``grad_heads`` lists the heads, of ``decoder`` and ``reward``, whose gradient reaches encoder and RSSM.
    ``state_norm`` gives encoder and decoder states by a :class:`StateNorm`; images never pass one.
    """

    def __init__(
        self,
        obs_shape: Sequence[int],
        action_dim: int,
        *,
        rssm: Mapping[str, int],
        encoder: Mapping[str, Any],
        decoder: Mapping[str, Any],
        reward_head: Mapping[str, int],
        kl: Mapping[str, float],
        loss_scales: Mapping[str, float],
        grad_heads: Sequence[str] = ("decoder",),
        reward_outputs: int = 1,
        elu_output: bool = False,
        state_norm: bool = False,
    ) -> None:
        super().__init__()
        self.obs_shape = tuple(obs_shape)
        self.state_norm = StateNorm(obs_shape[0]) if state_norm and not is_image(obs_shape) else None
        self.encoder = build_encoder(obs_shape, encoder)
        self.rssm = RSSM(action_dim, self.encoder.embed_dim, **rssm)
        self.decoder = build_decoder(self.rssm.feat_dim, obs_shape, decoder, elu_output=elu_output)
        self.reward_head = MLP(self.rssm.feat_dim, reward_outputs, reward_head["layers"], reward_head["units"])
        self.free, self.balance = kl["free"], kl["balance"]
        self.scales = dict(loss_scales)
        self.grad_heads = frozenset(grad_heads)

    def encode(self, observation: Tensor) -> Tensor:
        """The embedding (..., E) of raw observations, uint8 (..., C, S, S) or float32 (..., D)."""
        return self.encoder(self._prepared(observation))

    def take_in(self, observation: Tensor) -> None:
        """Count a batch of observations to be learned from, (B, T, ...), before it is observed."""
        if self.state_norm is not None:
            self.state_norm.update(prepare(observation, self.obs_shape))

    def _prepared(self, observation: Tensor, *, in_phases: bool = False) -> Tensor:
        obs = prepare(observation, self.obs_shape, in_phases=in_phases)
        return obs if self.state_norm is None else self.state_norm(obs)

    def observe(self, observation: Tensor, action: Tensor, is_first: Tensor) -> Observed:
        """Encode and filter: observation uint8 (B, T, C, S, S) or float32 (B, T, D), action (B, T, A), is_first
        (B, T).
        """
        obs = self._prepared(observation, in_phases=self.encoder.in_phases)
        embed = self.encoder(obs).float()
        post, prior_logits = self.rssm.observe(embed, action, is_first)
        with torch.no_grad():
            kl = categorical_kl(log_softmax(post.logits), log_softmax(prior_logits))
        return Observed(obs, embed, post, prior_logits, post.feat, kl)

    def kl_loss(self, post_logits: Tensor, prior_logits: Tensor) -> Tensor:
        """Balanced KL: (1 - balance) max(KL(post || sg prior), free) + balance max(KL(sg post || prior), free).

        The maximum is taken of batch means, so below ``free`` nats of mean KL there is no gradient at all.
        Logits are (B, T, stoch, discrete).
        """
        post, prior = log_softmax(post_logits), log_softmax(prior_logits)
        to_post = across.whole(categorical_kl(post, prior.detach()).mean()).clamp(min=self.free)
        to_prior = across.whole(categorical_kl(post.detach(), prior).mean()).clamp(min=self.free)
        return (1 - self.balance) * to_post + self.balance * to_prior

    def reward(self, feat: Tensor, skill: Tensor | None = None) -> Tensor:
        """Predicted reward at ``feat`` (..., F) -> (...).

        A head with n outputs is read at the given one-hot ``skill`` (..., n).
        """
        out = self.reward_head(feat).float()
        if out.shape[-1] == 1:
            return out[..., 0]
        assert skill is not None, "a skill-conditioned reward head needs the skill"
        return (out * skill).sum(-1)

    def loss(self, seen: Observed, reward: Scored) -> tuple[Tensor, Updated]:
        """Total loss (scalar), and its parts with what to log.

        ``reward.value`` is (B, T), or (B, T, n) for a head with n outputs.
        """
        feat = seen.feat if "decoder" in self.grad_heads else seen.feat.detach()
        beside = self.decoder.beside(seen.obs, feat)
        observation_loss = -unit_normal_log_prob(*beside, len(self.obs_shape)).mean()
        out = self.reward_head(seen.feat if "reward" in self.grad_heads else seen.feat.detach())
        target, valid, _ = reward.masked()
        if target.dim() < out.dim():
            target, valid = target[..., None], valid[..., None]
        assert target.shape == out.shape, f"reward head has {out.shape[-1]} outputs, the reward {tuple(target.shape)}"
        reward_loss = masked_mean(-unit_normal_log_prob(target, out, 0), valid)
        kl_loss = self.kl_loss(seen.post.logits, seen.prior_logits)
        losses = {"kl": kl_loss, "observation": observation_loss, "reward": reward_loss}
        total = sum((self.scales.get(key, 1.0) * value for key, value in losses.items()), torch.zeros_like(kl_loss))
        parts = {f"{key}_loss": value.detach() for key, value in losses.items()} | {"model_loss": total.detach()}
        with torch.no_grad():
            metrics = {
                "model_kl": seen.kl.mean(),
                "post_ent": categorical_entropy(log_softmax(seen.post.logits)).mean(),
                "prior_ent": categorical_entropy(log_softmax(seen.prior_logits)).mean(),
            }
        return total, Updated(parts, metrics)

    def parts(self, *names: str) -> dict[str, nn.Module]:
        """The modules of these names, without those that this model lacks."""
        found = {name: getattr(self, name) for name in names}
        return {name: module for name, module in found.items() if module is not None}

    def check_norm(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Raise :class:`UserError` where a snapshot's ``modules`` were made with normalised states and this model takes
        raw ones, or the reverse: shapes would not show it.
        """
        then, now = ("running" if made else "none" for made in ("state_norm" in modules, self.state_norm is not None))
        if then != now:
            raise UserError(
                f"state_norm={now}: the snapshot was made with state_norm={then}. Set state_norm={then}, or take "
                "another one."
            )

    @torch.no_grad()
    def standing(self, observation: Tensor) -> Latent:
        """The state (...) of one who sees ``observation``, uint8 (C, S, S) or float32 (D,), and does not move: seen
        ``STANDS`` times, with actions of zeros. The first time its deterministic part does not know of what is seen,
        since it comes before the posterior.
        """
        seen = observation.expand(1, STANDS, *observation.shape)
        action = observation.new_zeros(1, STANDS, self.rssm.action_dim, dtype=torch.float32)
        is_first = torch.arange(STANDS, device=observation.device)[None] == 0
        return Latent(*(x[0, -1] for x in self.observe(seen, action, is_first).post))

    @torch.no_grad()
    def images_of(self, deter: Tensor) -> Tensor:
        """Images in [0, 1] of deterministic states alone, (..., deter) -> (..., C, S, S); the stochastic ones are drawn
        from the prior.
        """
        logits = self.rssm.prior_logits(deter)
        return self._shown(Latent(deter, sample_one_hot(logits), logits).feat)

    def _shown(self, feat: Tensor) -> Tensor:
        return self.decoder(feat).float().add(0.5).clamp(0, 1)

    @torch.no_grad()
    def open_loop(
        self,
        observation: Tensor,
        action: Tensor,
        is_first: Tensor,
        context: int = 5,
        coded: Callable[[Tensor], Tensor | None] = lambda deter: None,
    ) -> Tensor:
        """Video of ``context`` filtered steps followed by pure prediction; truth above model above error, or above the
        images of what ``coded`` makes of the deterministic states (B, T, deter), unless that is None.

        Inputs as :meth:`observe`, B rows; returns float32 in [0, 1], (B, T, C, 3 S, S). Raises :class:`UserError` for a
        model of states: it predicts no images.
        """
        if not is_image(self.obs_shape):
            raise UserError(f"a world model of states {self.obs_shape} predicts no images. Use configs=dmc_pixels.")
        context = min(context, observation.shape[1] - 1)
        seen = self.observe(observation[:, :context], action[:, :context], is_first[:, :context])
        last = Latent(*(x[:, -1] for x in seen.post))
        future = self.rssm.imagine(last, action[:, context:])
        model = self._shown(torch.cat([seen.feat, future.feat], 1))
        truth = observation.float() / 255
        states = coded(torch.cat([seen.post.deter, future.deter], 1))
        below = (model - truth + 1) / 2 if states is None else self.images_of(states)
        return torch.cat([truth, model, below], -2)
