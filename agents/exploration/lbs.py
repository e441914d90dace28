"""LBS: latent Bayesian surprise, how much an image is expected to teach (Mazzaglia et al. 2022)."""

from torch import Tensor

from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, ReplayView, Scored, Sizes, everywhere
from agents.nn.distributions import unit_normal_log_prob
from agents.nn.networks import MLP
from utils.rules import Layers, Size


class LBS(IntrinsicReward):
    """r_t = head(f_t), trained to predict KL_t = KL(post_t || prior_t) on replay: -mean log N(KL_t; head(f_t), 1).

    KL_t is that of the update's own observation pass, per step, without free nats. Neither it nor f_t takes a
    gradient in the loss; the reward is differentiable in the imagined f_t. The floor of the loss is 0.919.
    """

    scores = "imagination"
    metric_name = "lbs"

    def __init__(self, sizes: Sizes, lbs_layers: Layers, lbs_units: Size) -> None:
        super().__init__(sizes)
        self.head = MLP(sizes.feat, 1, lbs_layers, lbs_units)

    def surprise(self, feat: Tensor) -> Tensor:
        """Predicted KL in nats, (..., F) -> (...), float32."""
        return self.head(feat)[..., 0]

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = self.surprise(view.feat)
        loss = -unit_normal_log_prob(view.kl, predicted, 0).mean()
        return loss, {"lbs_predicted": predicted.detach().mean()}

    def score_imagined(self, traj: Imagined) -> Scored:
        return everywhere(self.surprise(traj.feat))
