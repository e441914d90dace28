"""Plan2Explore: states whose successors an ensemble disagrees about (Sekar et al. 2020)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, ReplayView, Scored, Sizes
from agents.nn.means import masked_mean
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
        return _Products.apply(self.bias, x, self.weight)  # type: ignore[no-any-return]


class _Products(torch.autograd.Function):
    """``baddbmm``, forwards and back in TF32 where autocast takes products in less than that: a GPU does it at several
    times the speed of float32, with the eleven bits of a product that a variance over members can bear.
    """

    @staticmethod
    def forward(ctx: Any, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.fast = x.is_cuda and torch.is_autocast_enabled("cuda")
        with torch.autocast(x.device.type, enabled=False), _tf32(ctx.fast):
            return torch.baddbmm(bias, x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        to_bias, to_x, to_weight = ctx.needs_input_grad
        with _tf32(ctx.fast):
            return (
                grad.sum(1, keepdim=True) if to_bias else None,
                grad @ weight.mT if to_x else None,
                x.mT @ grad if to_weight else None,
            )


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = before or wanted
    try:
        yield
    finally:
        matmul.allow_tf32 = before


class Ensemble(nn.Module):
    """M networks g_m([x, a]) -> what follows y, with one hidden layer each, side by side.

    Inputs are features x (..., F) of any agent and actions a (..., A), the target y is (..., Y). Everything is computed
    in float32, or on a GPU with mixed precision in TF32: in bfloat16 rounding would drown the variance.
    """

    def __init__(self, members: int, features: int, action: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.members = members
        self.hidden = EnsembleLinear(members, features + action, hidden)
        self.output = EnsembleLinear(members, hidden, outputs)

    def predict(self, features: Tensor, action: Tensor) -> Tensor:
        """g_m([x, a]) of every member, (M, ..., Y)."""
        x = torch.cat([features, action], -1).float()
        rows = x.flatten(0, -2).expand(self.members, -1, -1)
        return self.output(F.relu(self.hidden(rows))).unflatten(1, x.shape[:-1])  # type: ignore[no-any-return]

    def loss(self, features: Tensor, action: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        """Mean of ||y - g_m([x, a])||, not squared, over members and the pairs where ``valid`` (...) bool holds."""
        error = torch.linalg.vector_norm(target - self.predict(features, action), dim=-1)
        return masked_mean(error, valid.expand_as(error))

    def disagreement(self, features: Tensor, action: Tensor) -> Tensor:
        """Mean over outputs of the unbiased variance over members, (...); differentiable."""
        return _MeanVariance.apply(self.predict(features, action))  # type: ignore[no-any-return]


class _MeanVariance(torch.autograd.Function):
    """Of (M, ..., Y): the unbiased variance over the first dimension, averaged over the last."""

    @staticmethod
    def forward(ctx: Any, predicted: Tensor) -> Tensor:
        ctx.save_for_backward(predicted)
        if predicted.is_cuda:
            return predicted.var(0).mean(-1)
        # 15 times as fast on a CPU
        centre = predicted.mean(0)
        total = torch.zeros_like(centre)
        for one in predicted:
            total.add_((one - centre).square_())
        return total.mean(-1).div_(len(predicted) - 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (predicted,) = ctx.saved_tensors
        slope = grad[..., None] * (2 / ((len(predicted) - 1) * predicted.shape[-1]))
        return (predicted - predicted.mean(0)).mul_(slope)


class Plan2Explore(IntrinsicReward):
    """r_{t+1} = mean over outputs of the variance over M networks g_m(f_t, sg a_{t+1}), unbiased.

    Every member learns the next embedding: loss = mean over pairs and members of ||e_{t+1} - g_m(f_t, a_{t+1})||, not
    squared, pairs whose later record is ``is_first`` left out. The action is detached in the reward: r_1 gives the
    actor no gradient, r_2 does through f_1. r_0 has no predecessor: it does not count, or is a 0 that does with
    ``count_first``.
    """

    scores = "imagination"
    metric_name = "disagreement"
    ensemble: Ensemble

    def __init__(self, sizes: Sizes, ensemble_size: Members, ensemble_hidden: Size, count_first: Flag) -> None:
        super().__init__(sizes)
        self.count_first = count_first
        ensemble = Ensemble(ensemble_size, sizes.feat, sizes.action, ensemble_hidden, sizes.embed)
        # snapshots know the layers by these names; the ensemble around them is not a module of the method besides
        self.hidden, self.output = ensemble.hidden, ensemble.output
        object.__setattr__(self, "ensemble", ensemble)

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]]:
        follows = ~view.is_first[:, 1:]
        return self.ensemble.loss(view.feat[:, :-1], view.action[:, 1:], view.embed[:, 1:], follows), {}

    def score_imagined(self, traj: Imagined) -> Scored:
        disagreement = self.ensemble.disagreement(traj.feat[:-1], traj.action[1:].detach())
        reward = F.pad(disagreement, (0, 0, 1, 0))
        valid = torch.ones_like(reward, dtype=torch.bool)
        valid[0] = self.count_first
        return Scored(reward, valid)
