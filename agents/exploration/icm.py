"""ICM: how badly the next embedding was predicted (Pathak et al. 2017, "Curiosity-driven Exploration")."""

import torch
from torch import Tensor, nn

from agents.exploration.intrinsic_reward import IntrinsicReward, ReplayView, Scored, Sizes, masked_mean
from agents.nn.networks import MLP, orthogonal_
from utils.rules import Flag, Number, Positive, Size


class ICM(IntrinsicReward):
    """r_t = log(1 + icm_scale * ||e_t - g(e_{t-1}, a_t)||), g trained on the mean of that norm, which is not squared.

    e is the world model's embedding, detached. The first record of a window (``is_first``, and time 0) has no
    predecessor: it is never trained on, and its reward is ``first_reward``, or does not count if that is null.
    ``inverse_model`` also trains h([e_{t-1}, e_t]) -> a_t on the mean of ||a_t - tanh h||. No gradient of it reaches
    g or the embedding, so it only monitors how much of the action the embedding holds.
    """

    scores = "replay"
    metric_name = "icm"

    def __init__(
        self, sizes: Sizes, icm_scale: Positive, icm_hidden: Size, inverse_model: Flag, first_reward: Number | None
    ) -> None:
        super().__init__(sizes)
        self.scale, self.first_reward = icm_scale, first_reward
        self.forward_net = MLP(sizes.embed + sizes.action, sizes.embed, 1, icm_hidden, nn.ReLU)
        self.inverse_net = MLP(2 * sizes.embed, sizes.action, 1, icm_hidden, nn.ReLU) if inverse_model else None
        orthogonal_(self)

    def error(self, embed: Tensor, action: Tensor) -> Tensor:
        """||e_{t+1} - g(e_t, a_{t+1})|| of (B, T, E) and (B, T, A) -> (B, T-1), float32."""
        with torch.autocast(embed.device.type, enabled=False):
            predicted = self.forward_net(torch.cat([embed[:, :-1], action[:, 1:]], -1))
            return torch.linalg.vector_norm(embed[:, 1:] - predicted, dim=-1)

    def inverse_error(self, embed: Tensor, action: Tensor) -> Tensor:
        """||a_{t+1} - tanh h([e_t, e_{t+1}])|| of (B, T, E) and (B, T, A) -> (B, T-1), float32."""
        assert self.inverse_net is not None
        with torch.autocast(embed.device.type, enabled=False):
            predicted = torch.tanh(self.inverse_net(torch.cat([embed[:, :-1], embed[:, 1:]], -1)))
            return torch.linalg.vector_norm(action[:, 1:] - predicted, dim=-1)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        follows = ~view.is_first[:, 1:]
        loss = masked_mean(self.error(view.embed, view.action), follows)
        change = torch.linalg.vector_norm(view.embed.diff(dim=1), dim=-1)
        metrics = {"icm_unchanged": masked_mean(change, follows)}
        if self.inverse_net is not None:
            inverse = masked_mean(self.inverse_error(view.embed, view.action), follows)
            metrics["icm_inverse_loss"] = inverse.detach()
            loss = loss + (inverse - inverse.detach())  # its gradient only: icm_loss stays the forward error
        return loss, metrics

    def score_replay(self, view: ReplayView) -> Scored:
        error = nn.functional.pad(self.error(view.embed, view.action), (1, 0))
        first = view.is_first.clone()
        first[:, 0] = True
        reward = torch.where(first, self.first_reward or 0.0, torch.log1p(self.scale * error))
        return Scored(reward, ~first if self.first_reward is None else torch.ones_like(first))
