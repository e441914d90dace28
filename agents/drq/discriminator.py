"""DIAYN on DrQ (Eysenbach et al. 2019): a discriminator of the states that are reached, and the reward it gives."""

import torch
from torch import Tensor, nn

from agents.agent import Updated
from agents.drq.networks import Encoder
from agents.nn.optimizer import Optimizer
from agents.nn.skill_classifier import SkillClassifier


class Discriminator(nn.Module):
    """q(z | s): DIAYN's classifier and, where it has one, an encoder of its own that its loss trains."""

    def __init__(self, encoder: Encoder | None, classifier: SkillClassifier) -> None:
        super().__init__()
        self.encoder, self.classifier = encoder, classifier

    def features(self, image: Tensor, critic: Encoder) -> Tensor:
        """What it reads of stacks of frames (..., C, S, S), values 0..255: (..., F), of ``critic`` without gradient."""
        if self.encoder is not None:
            return self.encoder(image)  # type: ignore[no-any-return]
        with torch.no_grad():
            return critic(image)  # type: ignore[no-any-return]

    def learn(
        self, image: Tensor, skill: Tensor, valid: Tensor, critic: Encoder, optimizer: Optimizer
    ) -> tuple[Tensor, Updated]:
        """Images (SHIFTS, B, ...), skill (B, n) -> r_int (B,), and one step on the cross-entropy.

        r_int = mean over the shifts of log q(z | s) + log n. The label of a transition whose action was random is no
        evidence of what the skill does, so it is not learned from (``valid`` (B,)). It is rewarded all the same: r_int
        is a function of the state reached and of z, whatever led there, and the critic learns off-policy.
        """
        features = self.features(image, critic)
        with torch.no_grad():
            bonus = self.classifier.reward(features, skill).mean(0)
        loss, metrics = self.classifier.loss(features, skill, valid.expand(len(image), -1))
        norm = optimizer.step(loss)
        losses = {"discriminator_loss": loss.detach(), "discriminator_grad_norm": norm}
        return bonus, Updated(losses, metrics | {"critic_intrinsic_reward": bonus.mean()})
