import copy

import pytest
import reference64 as ref
import torch
from torch import nn

from agents.nn.networks import MLP
from agents.nn.optimizer import Optimizer, frozen


@pytest.mark.parametrize("clip", [100.0, 0.05])
@pytest.mark.parametrize("wd", [1e-6, 1e-2, 0.0])
def test_steps_by_hand(clip, wd):
    net = MLP(3, 2, 2, 5).double()
    optimizer = Optimizer(net.parameters(), lr=3e-3, eps=1e-5, clip=clip, wd=wd)
    hand = ref.Adam(net.parameters(), lr=3e-3, eps=1e-5, clip=clip, wd=wd)
    for step in range(8):
        x = torch.randn(6, 3).double() * (step + 1)
        loss = net(x).square().mean()
        gradients = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
        norm = optimizer.step(loss)
        want = hand.step(gradients)
        assert norm.shape == () and norm.item() == pytest.approx(want, rel=1e-6)
        for p, q in zip(net.parameters(), hand.parameters, strict=True):
            torch.testing.assert_close(p.detach(), q, rtol=1e-10, atol=1e-12)
    assert want > 0.05  # the small clip was active and the returned norm is the one before it


@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_without_clipping_and_decay_it_is_adam(eps):
    """Gradients far beyond any clip: the steps are torch's own Adam's, the norm is the whole gradient's."""
    net = MLP(3, 2, 1, 5).double()
    unused = nn.Parameter(torch.ones(2).double())
    theirs = copy.deepcopy(net)
    optimizer = Optimizer([*net.parameters(), unused], lr=3e-3, eps=eps, clip=None, wd=0.0)
    adam = torch.optim.Adam(theirs.parameters(), lr=3e-3, eps=eps)
    for step in range(6):
        x = 100 * torch.randn(6, 3).double() * (step + 1)
        adam.zero_grad()
        theirs(x).square().mean().backward()
        want = sum(float((p.grad**2).sum()) for p in theirs.parameters()) ** 0.5
        adam.step()
        norm = optimizer.step(net(x).square().mean())
        assert norm.shape == () and norm.item() == pytest.approx(want, rel=1e-9)
        for p, q in zip(net.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
    assert want > 1000 and torch.equal(unused.detach(), torch.ones(2).double())


def test_published_settings_in_float32():
    """Relative to the movement: 1e-6 of decay must survive float32."""
    weight = nn.Parameter(torch.full((4,), 1000.0))
    optimizer = Optimizer([weight], lr=8e-5, eps=1e-5, clip=100, wd=1e-6)
    for _ in range(20):
        optimizer.step((weight * 0).sum())
    moved = 1000 - weight.detach()
    torch.testing.assert_close(moved, torch.full((4,), 0.02), rtol=0.1, atol=0)


def test_decay_reaches_every_parameter_whatever_the_learning_rate():
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = Optimizer(net.parameters(), lr=1e-9, wd=0.1)
    optimizer.step((net(torch.randn(3, 2)) * 0).sum())
    for p, q in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), 0.9 * q)


def test_frozen_parameters_are_left_alone():
    net = MLP(2, 1, 1, 3)
    net[0].requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    Optimizer(net.parameters(), lr=0.1, wd=0.1).step(net(torch.ones(1, 2)).sum())
    after = net.state_dict()
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["2.weight"], after["2.weight"])


def test_a_step_uses_only_its_own_gradient():
    """Gradients left by an earlier backward pass are dropped, not added."""
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.full((1,), 50.0)
    norm = Optimizer([weight], lr=0.1).step((weight * 3).sum())
    assert norm.item() == pytest.approx(3)


def test_state_round_trip():
    def run(net, optimizer, steps):
        for i in range(steps):
            optimizer.step(net(torch.full((2, 3), float(i))).square().mean())

    net = MLP(3, 1, 1, 4)
    optimizer = Optimizer(net.parameters(), lr=1e-2)
    run(net, optimizer, 3)
    other = copy.deepcopy(net)
    resumed = Optimizer(other.parameters(), lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(net, optimizer, 3)
    run(other, resumed, 3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_frozen_passes_gradients_through_and_restores():
    net, off = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(net, off):
        y = net(x).sum()
    y.backward()
    torch.testing.assert_close(x.grad[0], net.weight.sum(0).detach())
    assert net.weight.grad is None and net.bias.grad is None
    assert all(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in off.parameters())


def test_frozen_restores_after_an_error():
    net = nn.Linear(2, 2)
    with pytest.raises(KeyError), frozen(net):
        raise KeyError
    assert net.weight.requires_grad


@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_step_in_parts_is_a_step_on_their_sum(clip):
    """Also the second, whose gradients do not add up with those of the first."""
    net = MLP(3, 2, 1, 5).double()
    other = copy.deepcopy(net)
    mine, theirs = (Optimizer(n.parameters(), lr=3e-3, eps=1e-8, clip=clip, wd=0.0) for n in (net, other))
    for _ in range(3):
        x = torch.randn(9, 3).double()
        total, norm = mine.step_in_parts(net(part).square().sum() for part in x.split(4))
        loss = other(x).square().sum()
        want = theirs.step(loss)
        assert total.item() == pytest.approx(loss.item()) and not total.requires_grad
        assert norm.item() == pytest.approx(want.item())
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)
