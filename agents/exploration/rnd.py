"""RND: how badly a network predicts a random one (Burda et al. 2019, "Exploration by Random Network Distillation")."""

from typing import Any

import torch
from torch import Tensor, nn

from agents.exploration.intrinsic_reward import IntrinsicReward, ReplayView, RunSizes, Scored, Sizes, everywhere
from agents.nn import across
from agents.nn.kernels import check_encoder
from agents.nn.means import weighted_mean
from agents.nn.moments import RunningMoments
from agents.nn.networks import MLP, ImageEncoder, orthogonal_
from agents.nn.observations import is_image, prepare
from utils.rules import Flag, Fraction, Kernels, Positive, Size

CLIP = 5.0
"""Normalised inputs stay within this many standard deviations."""
EPS = 1e-5
"""Added to the variance of an input, as batch normalisation does."""


class RandomDistillation(nn.Module):
    """e(x) = mean over outputs of (target(x) - predictor(x))^2; small where the predictor has been trained.

    Two networks of the same outputs, (..., in) -> (..., out); the target's parameters take no gradient and belong in
    no optimiser. Everything is computed in float32: the two differ by little.
    """

    def __init__(self, target: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.target = target.requires_grad_(False)
        self.predictor = predictor

    def error(self, x: Tensor) -> Tensor:
        """e of every input, (...); differentiable in x, too."""
        with torch.autocast(x.device.type, enabled=False):
            return (self.predictor(x) - self.target(x)).square().mean(-1)

    def loss(self, x: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean of e, scalar; with ``weight`` (...), bool or numbers >= 0, the weighted mean, 0 if nothing counts."""
        error = self.error(x)
        return error.mean() if weight is None else weighted_mean(error, weight)

    @torch.no_grad()
    def shrink_target(self, rate: float) -> None:
        """p <- (1 - rate) p for every parameter of the target."""
        for p in self.target.parameters():
            p.mul_(1 - rate)


class RND(IntrinsicReward):
    """r_t = rnd_scale * e_t / sqrt(V) for every replayed observation, V the running variance of all errors e.

    Observations are normalised, images by channel and states by entry, with running moments that :meth:`loss` updates
    (``batch_statistics``: with those of the batch), and clamped to +-5. ``target_decay`` is the share of itself that
    the target loses at every update.
    """

    scores = "replay"
    metric_name = "rnd"

    @classmethod
    def check(cls, own: Any, run: RunSizes) -> None:
        """The networks' convolutions leave something of the image."""
        if run.images:
            check_encoder("agent.rnd_cnn_kernels", own.rnd_cnn_kernels, run.image_size)

    def __init__(
        self,
        sizes: Sizes,
        rnd_scale: Positive,
        rnd_rep_dim: Size,
        rnd_hidden: Size,
        rnd_cnn_depth: Size,
        rnd_cnn_kernels: Kernels,
        target_decay: Fraction,
        batch_statistics: Flag,
    ) -> None:
        super().__init__(sizes)
        self.scale, self.decay, self.batch_statistics = rnd_scale, target_decay, batch_statistics
        self.images = is_image(sizes.obs_shape)

        def build() -> nn.Module:
            if not self.images:
                return orthogonal_(MLP(sizes.obs_shape[0], rnd_rep_dim, 2, rnd_hidden, nn.ReLU))
            encoder = ImageEncoder(sizes.obs_shape, rnd_cnn_depth, rnd_cnn_kernels)
            return orthogonal_(nn.Sequential(encoder, MLP(encoder.embed_dim, rnd_rep_dim, 2, rnd_hidden, nn.ReLU)))

        self.distillation = RandomDistillation(build(), build())
        self.input_moments = RunningMoments(sizes.obs_shape[0])
        self.error_moments = RunningMoments()

    def _prepare(self, obs: Tensor) -> Tensor:
        return prepare(obs, self.sizes.obs_shape)

    def _rows(self, x: Tensor) -> Tensor:
        """What shares a mean and variance in one column: images (..., C, S, S) -> (n, C), states (..., D) -> (n, D)."""
        return (x.movedim(-3, -1) if self.images else x).flatten(0, -2)

    def _normalise(self, x: Tensor) -> Tensor:
        if self.batch_statistics:
            var, mean = across.moments(self._rows(x), correction=0)
        else:
            mean, var = self.input_moments.mean, self.input_moments.var
        if self.images:
            mean, var = mean[:, None, None], var[:, None, None]
        return ((x - mean) / (var + EPS).sqrt()).clamp(-CLIP, CLIP)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        x = self._prepare(view.obs)
        if not self.batch_statistics:
            self.input_moments.update(self._rows(x))
        return self.distillation.loss(self._normalise(x)), {}

    @torch.no_grad()
    def score_replay(self, view: ReplayView) -> Scored:
        error = self.distillation.error(self._normalise(self._prepare(view.obs)))
        self.error_moments.update(error.flatten())
        std = self.error_moments.var.sqrt()
        return everywhere(self.scale * error / (std + 1e-8), {"rnd_error": error.mean(), "rnd_std": std})

    def after_update(self, count: int, view: ReplayView | None) -> None:
        if self.decay:
            self.distillation.shrink_target(self.decay)
