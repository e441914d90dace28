"""A method of agents/exploration on DrQ: a replayed step is a sequence of two records, and a rollout of one step."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.drq.augmentations import Augmentation
from agents.drq.methods import KINDS, build_rewards
from agents.drq.networks import Convs, Encoder
from agents.drq.settings import DrQSettings
from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, ReplayView, Scored, Sizes
from agents.nn.latent import Latent
from agents.nn.optimizer import Optimizer

STATES = 2
"""Of a step: s and s'."""


class StepMethod(nn.Module):
    """r_int of steps s -> s', and one descent of the method's loss.

    It reads features of both states, of ``encoder``, which its loss trains, or else of the critic's, gradient stopped.
    ``augment`` shifts stack + 1 frames as one, so that s and s' move alike: what differs between them is what
    happened. Every shifted copy is a batch of its own, and r_int their mean; otherwise two copies of a state were each
    other's nearest neighbours. Without ``augment`` it reads the images of s' themselves, as they are.
    """

    def __init__(self, rewards: IntrinsicReward, encoder: Encoder | None, augment: Augmentation | None) -> None:
        super().__init__()
        self.rewards, self.encoder, self.augment = rewards, encoder, augment
        self.states = 1 if encoder is None else STATES
        """States of a step that its loss keeps activations of."""

    def learn(
        self, batch: Mapping[str, Tensor], skill: Tensor, critic: Encoder, optimizer: Optimizer | None
    ) -> tuple[Tensor, Updated]:
        """One descent on a batch as :meth:`agents.drq.agent.DrQAgent.update` has it, under skills (B, n), then r_int
        of it (B,). ``critic`` is the critic's encoder.
        """
        seen = self._images(batch["observation"])
        views = self._views(seen, batch, skill, critic)
        updated = Updated({}, {}) if optimizer is None else self._descend(views, optimizer)
        with torch.no_grad():
            if self.encoder is not None:  # it has moved
                views = self._views(seen, batch, skill, critic)
            scores = [self._score(view) for view in views]
        bonus = torch.stack([score.value[-1] for score in scores]).mean(0)
        metrics = _means([score.metrics for score in scores]) | {"critic_intrinsic_reward": bonus.mean()}
        return bonus, Updated.of(updated, Updated({}, metrics))

    def _images(self, frames: Tensor) -> Tensor:
        """uint8 (B, stack + 1, C, S, S) -> values 0..255 (copies, B, T, stack * C, S, S) of T = 1 or 2 states."""
        if self.augment is None:
            return frames[:, 1:].flatten(1, 2)[None, :, None]
        channels = frames.shape[2]
        moved = self.augment.copies(frames)
        return torch.stack([moved[:, :, :-channels], moved[:, :, channels:]], 2)

    def _views(self, seen: Tensor, batch: Mapping[str, Tensor], skill: Tensor, critic: Encoder) -> list[ReplayView]:
        """Of each copy, (B, T, ...)."""
        features = self._features(seen, critic)
        size, states = seen.shape[1:3]
        action = torch.stack([torch.zeros_like(batch["action"]), batch["action"]], 1)[:, -states:]
        no = torch.zeros(size, states, dtype=torch.bool, device=seen.device)
        valid = batch["skill_valid"] if skill.shape[-1] else ~no[:, 0]
        same = {"skill": skill[:, None].expand(-1, states, -1), "skill_valid": valid[:, None].expand(-1, states)}
        return [
            ReplayView(
                obs=obs,
                embed=feat,
                action=action,
                is_first=no,
                post=Latent(feat, feat[..., :0], feat[..., :0]),
                feat=feat,
                kl=feat.new_zeros(size, states),
                **same,
            )
            for obs, feat in zip(seen, features, strict=True)
        ]

    def _features(self, seen: Tensor, critic: Encoder) -> Tensor:
        """(copies, B, T, F); F = 0 where the images are read themselves."""
        if self.encoder is not None:
            return self.encoder(seen)  # type: ignore[no-any-return]
        if self.augment is None:
            return torch.zeros(*seen.shape[:3], 0, device=seen.device)
        with torch.no_grad():
            return critic(seen)  # type: ignore[no-any-return]

    def _descend(self, views: Sequence[ReplayView], optimizer: Optimizer) -> Updated:
        """One step on the mean loss of all copies."""
        found = [trained for view in views if (trained := self.rewards.loss(view)) is not None]
        loss = torch.stack([loss for loss, _ in found]).mean()
        name = self.rewards.metric_name
        losses = {f"{name}_loss": loss.detach(), f"{name}_grad_norm": optimizer.step(loss)}
        return Updated(losses, _means([metrics for _, metrics in found]))

    def _score(self, view: ReplayView) -> Scored:
        """The rewards of a copy, time-major: the last row is that of s'."""
        if self.rewards.scores == "replay":
            value, valid, metrics = self.rewards.score_replay(view)
            return Scored(value.transpose(0, 1), valid.transpose(0, 1), metrics)
        first = 0 if self.rewards.scores_steps else -1
        parts = (view.feat, view.post.deter, view.action, view.skill)
        return self.rewards.score_imagined(Imagined(*(part.transpose(0, 1)[first:] for part in parts)))


def build_method(settings: DrQSettings, image: tuple[int, ...], action_dim: int) -> StepMethod | None:
    """The method of ``settings`` for stacks of frames of shape ``image``; None for ``diayn``."""
    if settings.method not in KINDS:
        return None
    features, reads = settings.encoder_feature_dim, KINDS[settings.method].reads
    sizes = Sizes(obs_shape=image, action=action_dim, embed=features, feat=features, deter=features, domain="")
    encoder = Encoder(Convs(image, settings.encoder_channels), features) if reads == "own" else None
    together = Augmentation(settings.augmentation, settings.framestack + 1, settings.image_pad)
    return StepMethod(build_rewards(settings, sizes), encoder, None if reads == "images" else together)


def _means(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Of what every copy says."""
    return {name: torch.stack([one[name].detach() for one in found]).mean() for name in found[0]}
