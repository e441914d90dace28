"""Distributions as plain functions and two policy classes; no argument checks, so nothing reads the device."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from agents.nn import across

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
CLIP_MARGIN = 1e-6
"""Sampled actions stay inside ``[-1 + CLIP_MARGIN, 1 - CLIP_MARGIN]``."""


def unit_normal_log_prob(value: Tensor, mean: Tensor, event_dims: int) -> Tensor:
    """log N(value; mean, 1) summed over the last ``event_dims`` dimensions, in float32.

    With ``event_dims=0`` the result has the shape of ``value``. The floor of the loss ``-log_prob`` is
    0.919 (``log sqrt(2 pi)``) per dimension.
    """
    if not event_dims:
        return -0.5 * (value.float() - mean.float()).square() - LOG_SQRT_2PI
    pixels = math.prod(value.shape[-event_dims:])
    return -0.5 * squared_distance(value, mean, event_dims) - pixels * LOG_SQRT_2PI


def squared_distance(value: Tensor, mean: Tensor, event_dims: int) -> Tensor:
    """sum (value - mean)^2 over the last ``event_dims`` dimensions, at least one, in float32; others broadcast."""
    return _SquaredDistance.apply(value.float(), mean, event_dims)  # type: ignore[no-any-return]


class _SquaredDistance(torch.autograd.Function):
    """In two passes over the difference and one back: with images these passes are a tenth of an update on a CPU."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, mean: Tensor, event_dims: int) -> Tensor:
        difference = mean - value
        ctx.save_for_backward(difference)
        ctx.shapes, ctx.types = (value.shape, mean.shape), (value.dtype, mean.dtype)
        return torch.linalg.vector_norm(difference, dim=tuple(range(-event_dims, 0))).square_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        (difference,) = ctx.saved_tensors
        to_value, to_mean, _ = ctx.needs_input_grad
        (of_value, of_mean), (value_type, mean_type) = ctx.shapes, ctx.types
        slope = (2 * grad).reshape(grad.shape + (1,) * (difference.dim() - grad.dim()))
        return (
            (difference * -slope).sum_to_size(of_value).to(value_type) if to_value else None,
            (difference * slope).sum_to_size(of_mean).to(mean_type) if to_mean else None,
            None,
        )


FEW_CLASSES = 16
"""With fewer classes than a vector of the CPU holds, torch's softmax is five times slower than its parts."""


def _by_parts(logits: Tensor) -> bool:
    """Whether the softmax over the classes of ``logits`` is taken by its parts."""
    return not logits.is_cuda and logits.shape[-1] < FEW_CLASSES


def log_softmax(logits: Tensor) -> Tensor:
    """``F.log_softmax(logits, -1)``, fast on CPU for few classes, too."""
    return _LogSoftmax.apply(logits) if _by_parts(logits) else F.log_softmax(logits, -1)  # type: ignore[no-any-return]


class _LogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        shifted = logits - logits.amax(-1, keepdim=True)
        out = shifted.sub_(shifted.exp().sum(-1, keepdim=True).log_())
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (out,) = ctx.saved_tensors
        return grad - out.exp().mul_(grad.sum(-1, keepdim=True))


def softmax(logits: Tensor, dtype: torch.dtype) -> Tensor:
    """``F.softmax(logits, -1, dtype=dtype)`` without a gradient, fast on CPU for few classes, too."""
    if not _by_parts(logits):
        return F.softmax(logits, -1, dtype=dtype)
    logits = logits.to(dtype)
    probs = (logits - logits.amax(-1, keepdim=True)).exp_()
    return probs.div_(probs.sum(-1, keepdim=True))


def softmax_backward(grad: Tensor, probs: Tensor) -> Tensor:
    """The gradient for logits of ``grad`` for their softmax ``probs``, (..., classes) all of them."""
    if not _by_parts(probs):
        return torch._softmax_backward_data(grad, probs, -1, probs.dtype)
    weighted = probs * grad
    return weighted.sub_(probs * weighted.sum(-1, keepdim=True))


def draw(probs: Tensor, uniform: Tensor, zeros: Tensor) -> Tensor:
    """One-hot draws from ``probs`` (..., groups, classes), put into ``zeros`` of that shape: the inverses of the
    cumulative distributions at ``uniform`` (..., groups, 1), numbers that :func:`below_one` gave.
    """
    index = torch.searchsorted(probs.cumsum(-1), uniform, right=True)
    return zeros.scatter_(-1, index, 1.0)


def below_one(uniform: Tensor, classes: int) -> Tensor:
    """Numbers in [0, 1) a little smaller, so that they are below the sum of ``classes`` probabilities however that was
    rounded: no draw is past the end, or of a class that cannot be.
    """
    return uniform * (1 - 4 * classes * torch.finfo(uniform.dtype).eps)


def sample_one_hot(logits: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Straight-through one-hot draw from each categorical in ``logits`` (..., groups, classes).

    The value is exactly one-hot; the gradient is that of the probabilities (DreamerV2, algorithm 1). The draw is the
    inverse of the cumulative distribution at ``uniform`` (..., groups, 1), numbers in [0, 1), fresh ones by default:
    one random number per categorical.
    """
    if uniform is None:
        uniform = across.rand_like(logits[..., :1], 0)
    return _OneHot.apply(logits, uniform)  # type: ignore[no-any-return]


class _OneHot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, uniform: Tensor) -> Tensor:
        probs = softmax(logits, logits.dtype)
        ctx.save_for_backward(probs)
        return draw(probs, below_one(uniform, logits.shape[-1]), torch.zeros_like(probs))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return softmax_backward(grad, *ctx.saved_tensors), None


def categorical_kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of products of categoricals given normalised log-probabilities (..., groups, classes) -> (...)."""
    return (log_p.exp() * (log_p - log_q)).sum((-2, -1))


def categorical_entropy(log_p: Tensor) -> Tensor:
    """Entropy in nats of products of categoricals, log-probabilities (..., groups, classes) -> (...)."""
    return -(log_p.exp() * log_p).sum((-2, -1))


class Policy(Protocol):
    """A distribution over actions in [-1, 1]^A, parameters shaped (..., A)."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None: ...

    def until(self, time: int) -> "Policy": ...

    def rsample(self) -> Tensor: ...

    def log_prob(self, action: Tensor) -> Tensor: ...

    def entropy(self) -> Tensor: ...


def normal_kl(p: Policy, q: Policy) -> Tensor:
    """KL(p || q) in nats of the unclipped Normals, summed over actions: parameters (..., A) -> (...)."""
    ratio = p.std / q.std
    return (0.5 * (ratio.square() + ((p.mean - q.mean) / q.std).square() - 1) - ratio.log()).sum(-1)


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raw: Tensor) -> Tensor:
        return raw.clamp(-1 + CLIP_MARGIN, 1 - CLIP_MARGIN)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


class ClippedNormal:
    """Normal whose samples are clipped to the box; gradients pass through the clip unchanged.

    ``log_prob`` and ``entropy`` are those of the *unclipped* Normal, summed over actions, as published
    (mastering-urlb, where it is called ``trunc_normal``).
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean = mean
        self.std = std

    def until(self, time: int) -> "ClippedNormal":
        """The distributions of the times 0 .. time - 1, the first dimension."""
        return ClippedNormal(self.mean[:time], self.std[:time])

    def rsample(self) -> Tensor:
        """One sample, shape (..., A), inside the box, with the gradient of ``mean + std * eps``."""
        noise = across.randn_like(self.mean, -2)
        return _Clipped.apply(torch.addcmul(self.mean, self.std, noise))  # type: ignore[no-any-return]

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density at ``action`` (..., A) -> (...)."""
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log() - LOG_SQRT_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, (...)."""
        return (self.std.log() + 0.5 + LOG_SQRT_2PI).sum(-1)


class TruncatedNormal:
    """Normal conditioned on the box [-1, 1]: true truncation, with its own density and entropy."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean = mean
        self.std = std
        self._low = (-1 - mean) / std
        self._high = (1 - mean) / std
        self._cdf_low = torch.special.ndtr(self._low)
        self._mass = torch.special.ndtr(self._high) - self._cdf_low

    def until(self, time: int) -> "TruncatedNormal":
        """The distributions of the times 0 .. time - 1, the first dimension."""
        return TruncatedNormal(self.mean[:time], self.std[:time])

    def rsample(self) -> Tensor:
        """One sample by the inverse distribution function, shape (..., A); differentiable in mean and std."""
        u = across.rand_like(self.mean, -2).clamp(1e-6, 1 - 1e-6)
        sample = self.mean + self.std * torch.special.ndtri(self._cdf_low + u * self._mass)
        return sample + (sample.clamp(-1 + CLIP_MARGIN, 1 - CLIP_MARGIN) - sample).detach()

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density at ``action`` inside the box (..., A) -> (...)."""
        z = (action - self.mean) / self.std
        return (-0.5 * z.square() - self.std.log() - LOG_SQRT_2PI - self._mass.log()).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, (...): log(sqrt(2 pi e) std Z) + (a phi(a) - b phi(b)) / 2Z."""
        phi = lambda x: torch.exp(-0.5 * x.square() - LOG_SQRT_2PI)  # noqa: E731
        tails = (self._low * phi(self._low) - self._high * phi(self._high)) / (2 * self._mass)
        return (self.std.log() + 0.5 + LOG_SQRT_2PI + self._mass.log() + tails).sum(-1)


POLICIES: dict[str, type[Policy]] = {
    "clipped_normal": ClippedNormal,
    "trunc_normal": ClippedNormal,  # the published name of the same thing
    "truncated_normal": TruncatedNormal,
}
