"""Plan2Explore: states whose successors an ensemble disagrees about (Sekar et al. 2020)."""

import functools
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, ReplayView, Scored, Sizes, masked_mean
from utils.rules import Flag, Size, whole

Members = Annotated[int, whole(2, 1000)]


class EnsembleLinear(nn.Module):
    """M linear layers side by side, each initialised as ``nn.Linear``: (M, n, inputs) -> (M, n, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class Plan2Explore(IntrinsicReward):
    """r_{t+1} = mean over outputs of the variance over M networks g_m(f_t, sg a_{t+1}), unbiased.

    Every member learns the next embedding: loss = mean over pairs and members of ||e_{t+1} - g_m(f_t, a_{t+1})||, not
    squared, pairs whose later record is ``is_first`` left out. The action is detached in the reward: r_1 gives the
    actor no gradient, r_2 does through f_1. r_0 has no predecessor: it does not count, or is a 0 that does with
    ``count_first``.
    """

    scores = "imagination"
    metric_name = "disagreement"

    def __init__(self, sizes: Sizes, ensemble_size: Members, ensemble_hidden: Size, count_first: Flag) -> None:
        super().__init__(sizes)
        self.members, self.count_first = ensemble_size, count_first
        self.hidden = EnsembleLinear(ensemble_size, sizes.feat + sizes.action, ensemble_hidden)
        self.output = EnsembleLinear(ensemble_size, ensemble_hidden, sizes.embed)

    def predict(self, feat: Tensor, action: Tensor) -> Tensor:
        """g_m(f_t, a_{t+1}) of (..., F) and (..., A) -> (M, ..., E); in float32, bfloat16 would drown the variance."""
        with torch.autocast(feat.device.type, enabled=False):
            x = torch.cat([feat, action], -1)
            rows = x.flatten(0, -2).expand(self.members, -1, -1)
            return self.output(F.relu(self.hidden(rows))).unflatten(1, x.shape[:-1])

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        predicted = self.predict(view.feat[:, :-1], view.action[:, 1:])
        error = torch.linalg.vector_norm(view.embed[:, 1:] - predicted, dim=-1)
        return masked_mean(error, (~view.is_first[:, 1:]).expand_as(error)), {}

    def score_imagined(self, traj: Imagined) -> Scored:
        predicted = self.predict(traj.feat[:-1], traj.action[1:].detach())
        centre = predicted.mean(0)
        # as predicted.var(0), which takes 15 times as long on a CPU
        squares = [(one - centre).square() for one in predicted]
        variance = functools.reduce(torch.add, squares) / (self.members - 1)
        disagreement = variance.mean(-1)
        reward = F.pad(disagreement, (0, 0, 1, 0))
        valid = torch.ones_like(reward, dtype=torch.bool)
        valid[0] = self.count_first
        return Scored(reward, valid)
