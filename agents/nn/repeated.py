"""A network applied step after step, whose weights get their gradients once, for all steps."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from agents.nn.networks import MLP


class Call(NamedTuple):
    """One application: what went into each layer, (N, inputs) and (N, units), and the gradient of what came out."""

    inputs: tuple[Tensor, ...]
    grad: Tensor


class Repeated:
    """``net`` with its weights as they are now, for inputs that take no gradient: x (N, inputs) -> (N, outputs).

    The result and the gradients are those of ``net(x.detach())`` at every call, but a step of the backward pass only
    notes the gradient of its outputs, and what the weights get is one product a layer for all steps together.
    """

    def __init__(self, net: MLP) -> None:
        self.net, self.weights, self.calls = net, net.narrow(), list[Call]()
        # every call reads the token, so its backward pass comes after theirs
        self.token = _Weights.apply(self.calls, *(w for layer in self.weights for w in layer))

    def __call__(self, x: Tensor) -> Tensor:
        return _Call.apply(self, self.token, x)  # type: ignore[no-any-return]


class _Call(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, repeated: Repeated, token: Tensor, x: Tensor) -> Tensor:
        out, inputs = repeated.net.traced(x, repeated.weights)
        ctx.calls = repeated.calls
        ctx.save_for_backward(*inputs)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        ctx.calls.append(Call(ctx.saved_tensors, grad))
        return None, None, None


class _Weights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, calls: list[Call], *weights: Tensor) -> Tensor:
        ctx.calls = calls
        ctx.save_for_backward(*weights[::2])
        return weights[-1].new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        weights = ctx.saved_tensors
        grad = torch.cat([call.grad for call in ctx.calls])
        found: list[Tensor] = []
        for layer in reversed(range(len(weights))):
            x = torch.cat([call.inputs[layer] for call in ctx.calls])
            found = [grad.t() @ x.to(grad.dtype), grad.sum(0), *found]
            if layer:
                grad = torch.ops.aten.elu_backward((grad @ weights[layer]).to(x.dtype), 1.0, 1.0, 1.0, True, x)
        ctx.calls.clear()
        return None, *found


def repeatable(net: nn.Module) -> bool:
    """Whether :class:`Repeated` can be had of ``net``, and is of use."""
    return torch.is_grad_enabled() and isinstance(net, MLP) and net.plain and net[-1].weight.requires_grad  # type: ignore[union-attr,return-value]
