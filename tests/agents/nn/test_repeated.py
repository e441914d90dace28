"""A network applied at many steps, with gradients made once, against autograd's."""

import pytest
import torch

from agents.nn.networks import MLP
from agents.nn.repeated import Repeated, repeatable


def gradients(net, apply, inputs, used):
    net.zero_grad()
    outputs = [apply(x) for x in inputs]
    sum(((t + 1) * outputs[t].square()).sum() for t in used).backward()
    return outputs, [p.grad.clone() for p in net.parameters()]


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("used", [range(4), [1], [2, 0]])
def test_outputs_and_gradients_are_those_of_the_network(layers, used):
    """Also where some of the outputs are not part of the loss."""
    net = MLP(5, 3, layers, 6).double()
    inputs = [torch.randn(7, 5, dtype=torch.float64) for _ in range(4)]
    want, wanted = gradients(net, net, inputs, used)
    got, found = gradients(net, Repeated(net), inputs, used)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    for a, b in zip(found, wanted, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_outputs_that_depend_on_one_another():
    """A later input is made of an earlier output, without a gradient, as an actor's is in imagination."""
    net, found = MLP(3, 3, 2, 6).double(), []
    for make in (lambda: net, lambda: Repeated(net)):
        net.zero_grad()
        apply, x, total = make(), torch.ones(2, 3, dtype=torch.float64), 0.0
        for _ in range(5):
            out = apply(x.detach())
            x, total = x + out, total + out.sum() ** 2
        (total + x.square().sum()).backward()
        found.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_in_bfloat16_as_autocast_has_it():
    net, x = MLP(5, 3, 2, 64), [torch.randn(200, 5) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        want, wanted = gradients(net, net, x, range(3))
        got, found = gradients(net, Repeated(net), x, range(3))
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(got, want, strict=True))
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.float32 and (a - b).norm() < 0.02 * b.norm()


def test_what_it_is_not_for():
    assert repeatable(MLP(3, 3, 2, 4)) and not repeatable(MLP(3, 3, 2, 4, norm=True))
    assert not repeatable(MLP(3, 3, 2, 4, torch.nn.Tanh)) and not repeatable(torch.nn.Linear(3, 3))
    assert not repeatable(MLP(3, 3, 2, 4).requires_grad_(False))
    with torch.no_grad():
        assert not repeatable(MLP(3, 3, 2, 4))
