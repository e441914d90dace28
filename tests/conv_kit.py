"""Whether a convolution that is written another way is the same."""

import torch


def convolved_alike(layer, convolve, x):
    """Values and gradients of ``convolve(layer, x)`` are those of ``layer(x)``."""
    found = []
    for forward in (layer, lambda x: convolve(layer, x)):
        layer.zero_grad()
        given = x.clone().requires_grad_()
        out = forward(given)
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)).sum().backward()
        found.append([out.detach(), given.grad, *(p.grad.clone() for p in layer.parameters())])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want)
