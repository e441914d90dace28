"""A classifier that tells one-hot skills by features, and the reward it gives (Eysenbach et al. 2019, equation 3)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from agents.nn.means import weighted_mean
from agents.nn.networks import MLP, orthogonal_


def skill_reward(log_probs: Tensor, skill: Tensor) -> Tensor:
    """log q(z | s) + log n from log q(. | s) and one-hot skills, (..., n), (..., n) -> (...): nats, at most log n."""
    return (log_probs * skill).sum(-1) + math.log(skill.shape[-1])


class SkillClassifier(nn.Module):
    """q(z | s) over n one-hot skills from features (..., F) of any agent; ``depth`` layers of ``hidden`` units."""

    def __init__(self, inputs: int, skill_dim: int, hidden: int, depth: int = 2) -> None:
        super().__init__()
        self.skill_dim = skill_dim
        self.net = orthogonal_(MLP(inputs, skill_dim, depth, hidden, nn.ReLU))

    def log_probs(self, features: Tensor) -> Tensor:
        """log q(. | s), (..., F) -> (..., n), in float32."""
        return F.log_softmax(self.net(features).float(), -1)

    def loss(self, features: Tensor, skill: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy -log q(z | s) in nats, the mean over pairs of features (..., F) and skills (..., n).

        ``weight`` (...): bool, or numbers >= 0. Chance is log n; ``diayn_acc`` is the share named rightly.
        """
        log_probs = self.log_probs(features)
        hit = log_probs.argmax(-1) == skill.argmax(-1)
        return weighted_mean(-(log_probs * skill).sum(-1), weight), {"diayn_acc": weighted_mean(hit.float(), weight)}

    def reward(self, features: Tensor, skill: Tensor) -> Tensor:
        """log q(z | s) + log n, (..., F), (..., n) -> (...): nats, at most log n; differentiable in the features."""
        return skill_reward(self.log_probs(features), skill)
