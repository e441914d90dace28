"""Tanh layers against float64, in all shapes that oneDNN is given, and MLPs of them."""

import pytest
import torch
from torch import nn

from agents.nn import tanh_layer as module
from agents.nn.tanh_layer import TanhMLP, tanh_layer


def layer(rows, inputs, outputs):
    return torch.randn(rows, inputs), torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)


@pytest.mark.parametrize("by_onednn", [True, False])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 3, 5), (64, 17, 64), (33, 100, 2)])
def test_values_and_gradients(sizes, by_onednn, monkeypatch):
    if by_onednn and not module._has_onednn():
        pytest.skip("this torch does not have oneDNN's product")
    monkeypatch.setattr(module, "_by_onednn", lambda x: by_onednn)
    x, weight, bias = (value.requires_grad_() for value in layer(*sizes))
    up = torch.randn(sizes[0], sizes[2])
    out = tanh_layer(x, weight, bias)
    found = torch.autograd.grad((out * up).sum(), (x, weight, bias))
    exact = [value.detach().double() for value in (x, weight, bias)]
    want = torch.tanh(exact[0] @ exact[1].T + exact[2])
    slope = up.double() * (1 - want**2)
    torch.testing.assert_close(out.double(), want, rtol=0, atol=2e-6)
    gradients = (slope @ exact[1], slope.T @ exact[0], slope.sum(0))
    for a, b in zip(found, gradients, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("view", ["columns", "rows", "transposed", "repeated"])
def test_views_are_read_as_they_are(view):
    """A gradient that is a view, too: the sum's is one number repeated."""
    x, weight, bias = layer(12, 12, 6)
    x = {"columns": torch.randn(12, 15)[:, 3:], "rows": torch.randn(24, 12)[::2], "transposed": x.T,
         "repeated": x[:1].expand(12, 12)}[view]  # fmt: skip
    bias = torch.randn(6, 2)[:, 0].clone().requires_grad_()
    out = tanh_layer(x, weight, bias)
    want = torch.tanh(x.double() @ weight.double().T + bias.double())
    torch.testing.assert_close(out.double(), want, rtol=0, atol=2e-6)
    (found,) = torch.autograd.grad(out.sum(), bias)
    torch.testing.assert_close(found.double(), (1 - want**2).sum(0), rtol=1e-5, atol=1e-5)


def test_only_the_gradients_that_are_asked_for():
    x, weight, bias = layer(4, 3, 2)
    x.requires_grad_()
    tanh_layer(x, weight, bias).sum().backward()
    assert x.grad is not None and weight.grad is None
    with torch.no_grad():
        assert not tanh_layer(x, weight, bias).requires_grad


def test_other_numbers_than_float32():
    x, weight, bias = (value.double() for value in layer(4, 3, 2))
    assert tanh_layer(x, weight, bias).dtype == torch.float64
    assert torch.equal(tanh_layer(x, weight, bias), torch.tanh(nn.functional.linear(x, weight, bias)))


@pytest.mark.parametrize("hidden", [[4], [4, 6], [5, 3, 2]])
def test_mlp(hidden):
    """The layers of a Sequential of torch's own, its start and its names."""
    torch.manual_seed(3)
    net = TanhMLP(3, hidden, 2)
    torch.manual_seed(3)
    sizes, plain = [3, *hidden], []
    for i, o in zip(sizes, sizes[1:], strict=False):
        plain += [nn.Linear(i, o), nn.Tanh()]
    plain = nn.Sequential(*plain, nn.Linear(sizes[-1], 2))
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), plain.parameters(), strict=True))
    x = torch.randn(2, 5, 3)
    assert net(x).shape == (2, 5, 2) and net(x[0, 0]).shape == (2,)
    torch.testing.assert_close(net(x), plain(x), rtol=1e-5, atol=1e-6)
    net(x).square().mean().backward()
    plain(x).square().mean().backward()
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        assert a.grad.abs().max() > 0
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)
