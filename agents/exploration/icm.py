"""ICM: how badly the next embedding was predicted (Pathak et al. 2017, "Curiosity-driven Exploration")."""

import torch
from torch import Tensor, nn

from agents.exploration.intrinsic_reward import IntrinsicReward, ReplayView, Scored, Sizes
from agents.nn.means import masked_mean
from agents.nn.networks import MLP, orthogonal_
from utils.rules import Flag, Number, Positive, Size


def surprise_reward(error: Tensor, scale: float) -> Tensor:
    """log(1 + scale * error), elementwise."""
    return torch.log1p(scale * error)


class ForwardModel(nn.Module):
    """g([x, a]) -> the features x' that follow, of any agent, and if asked for h([x, x']) -> a.

    Inputs are features x and x' (..., E) and the action a between them (..., A). h only monitors how much of the action
    the features hold: no gradient of it reaches g. Everything is computed in float32.
    """

    def __init__(self, features: int, action: int, hidden: int, *, inverse: bool = False) -> None:
        super().__init__()
        self.forward_net = MLP(features + action, features, 1, hidden, nn.ReLU)
        self.inverse_net = MLP(2 * features, action, 1, hidden, nn.ReLU) if inverse else None
        orthogonal_(self)

    def error(self, features: Tensor, action: Tensor, following: Tensor) -> Tensor:
        """||x' - g([x, a])||, not squared, (...)."""
        with torch.autocast(features.device.type, enabled=False):
            predicted = self.forward_net(torch.cat([features, action], -1))
            return torch.linalg.vector_norm(following - predicted, dim=-1)

    def inverse_error(self, features: Tensor, action: Tensor, following: Tensor) -> Tensor:
        """||a - tanh h([x, x'])||, (...)."""
        assert self.inverse_net is not None
        with torch.autocast(features.device.type, enabled=False):
            predicted = torch.tanh(self.inverse_net(torch.cat([features, following], -1)))
            return torch.linalg.vector_norm(action - predicted, dim=-1)

    def loss(
        self, features: Tensor, action: Tensor, following: Tensor, valid: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean forward error over the pairs where ``valid`` (...) bool holds, and of what ``icm_*`` metrics tell."""
        loss = masked_mean(self.error(features, action, following), valid)
        change = torch.linalg.vector_norm(following - features, dim=-1)
        metrics = {"icm_unchanged": masked_mean(change, valid)}
        if self.inverse_net is not None:
            inverse = masked_mean(self.inverse_error(features, action, following), valid)
            metrics["icm_inverse_loss"] = inverse.detach()
            loss = loss + (inverse - inverse.detach())  # its gradient only: the loss stays the forward error
        return loss, metrics

    def reward(self, features: Tensor, action: Tensor, following: Tensor, scale: float = 1.0) -> Tensor:
        """log(1 + scale * error), (...)."""
        return surprise_reward(self.error(features, action, following), scale)


class ICM(IntrinsicReward):
    """r_t = log(1 + icm_scale * ||e_t - g(e_{t-1}, a_t)||), g trained on the mean of that norm, which is not squared.

    e is the world model's embedding, detached. The first record of a window (``is_first``, and time 0) has no
    predecessor: it is never trained on, and its reward is ``first_reward``, or does not count if that is null.
    ``inverse_model`` also trains h([e_{t-1}, e_t]) -> a_t on the mean of ||a_t - tanh h||.
    """

    scores = "replay"
    metric_name = "icm"
    model: ForwardModel

    def __init__(
        self, sizes: Sizes, icm_scale: Positive, icm_hidden: Size, inverse_model: Flag, first_reward: Number | None
    ) -> None:
        super().__init__(sizes)
        self.scale, self.first_reward = icm_scale, first_reward
        model = ForwardModel(sizes.embed, sizes.action, icm_hidden, inverse=inverse_model)
        # snapshots know the networks by these names; the model around them is not a module of the method besides
        self.forward_net, self.inverse_net = model.forward_net, model.inverse_net
        object.__setattr__(self, "model", model)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.loss(*_pairs(view), ~view.is_first[:, 1:])

    def score_replay(self, view: ReplayView) -> Scored:
        error = nn.functional.pad(self.model.error(*_pairs(view)), (1, 0))
        first = view.is_first.clone()
        first[:, 0] = True
        reward = torch.where(first, self.first_reward or 0.0, surprise_reward(error, self.scale))
        return Scored(reward, ~first if self.first_reward is None else torch.ones_like(first))


def _pairs(view: ReplayView) -> tuple[Tensor, Tensor, Tensor]:
    """Embedding, the action taken there, and the next embedding: (B, T - 1, ...) each."""
    return view.embed[:, :-1], view.action[:, 1:], view.embed[:, 1:]
