"""A linear layer with tanh, and MLPs of such layers, fast on CPUs of every make.

MKL, which torch multiplies float32 matrices with, reaches half the speed of oneDNN on AMD processors (one thread of
a Zen 5, 10,000 x 512 times 512 x 512: 106 against 220 GFLOP/s), and oneDNN takes the tanh along while results are in
the cache.
Both compute in float32 throughout and differ by rounding alone.
"""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class TanhMLP(nn.Sequential):
    """Linear layers of ``hidden`` units with tanh, then a linear one: (..., inputs) -> (..., outputs).

    Starts as torch starts linear layers.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        sizes = [inputs, *hidden]
        layers = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), nn.Tanh())]
        super().__init__(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = (layer for layer in self if isinstance(layer, nn.Linear))
        lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1])
        for layer in hidden:
            x = tanh_layer(x, layer.weight, layer.bias)
        return last(x).reshape(*lead, last.out_features)


def tanh_layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """tanh(x W^T + b), (n, in), (out, in), (out,) -> (n, out)."""
    if _by_onednn(x):
        return _TanhLayer.apply(x.contiguous(), weight, bias)  # type: ignore[no-any-return]
    return torch.tanh(F.linear(x, weight, bias))


class _TanhLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = _product(x, weight, bias, "tanh")
        ctx.save_for_backward(x, weight, out)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight, out = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        slope = torch.ops.aten.tanh_backward(grad.contiguous(), out)
        return (
            _product(slope, weight.T) if to_x else None,
            _product(slope.T, x.T) if to_weight else None,
            slope.sum(0) if to_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
    """activation(x W^T + b) by oneDNN.

    Matrices are contiguous or transposed ones: others are multiplied a hundred times slower. The bias is contiguous:
    its stride is not looked at.
    """
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
    return out


def _by_onednn(x: Tensor) -> bool:
    """Whether oneDNN is to multiply: float32 on a CPU, and this torch can."""
    return (
        x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and _has_onednn()
    )


@functools.cache
def _has_onednn() -> bool:
    """Whether this torch has the operator, which is none of its public ones, and it computes what it should."""
    if not torch.backends.mkldnn.is_available():
        return False
    x = torch.linspace(-1, 1, 6).reshape(2, 3)
    bias = torch.tensor([0.5, -0.5])
    try:
        return torch.allclose(_product(x, x, bias, "tanh"), torch.tanh(x @ x.T + bias))
    except (AttributeError, RuntimeError):
        return False
