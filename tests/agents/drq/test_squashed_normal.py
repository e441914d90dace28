"""tanh of a Normal: density, limits, gradients."""

import math

import torch

from agents.drq.squashed_normal import SquashedNormal


def test_the_density_integrates_to_one():
    """Over [-1, 1], by the density at 20,001 places of x mapped through tanh."""
    mean, log_std = 0.4, -0.3
    x = torch.linspace(-9, 9, 20_001).double()
    policy = SquashedNormal(torch.full_like(x, mean)[:, None], torch.full_like(x, log_std)[:, None])
    noise = (x - mean) / math.exp(log_std)
    original = torch.randn_like
    torch.randn_like = lambda like: noise[:, None]
    try:
        action, log_prob = policy.rsample()
    finally:
        torch.randn_like = original
    torch.testing.assert_close(action[:, 0], torch.tanh(x))
    assert abs(torch.trapezoid(log_prob.exp(), action[:, 0]).item() - 1) < 1e-4


def test_log_prob_by_hand(noise):
    mean, log_std = torch.randn(5, 3), torch.randn(5, 3)
    action, log_prob = SquashedNormal(mean, log_std).rsample()
    x = mean.double() + log_std.double().exp() * noise.normals()[0]
    torch.testing.assert_close(action.double(), torch.tanh(x), atol=1e-6, rtol=1e-5)
    normal = torch.distributions.Normal(mean.double(), log_std.double().exp()).log_prob(x)
    want = (normal - torch.log(4 / (x.exp() + (-x).exp()) ** 2)).sum(-1)
    assert log_prob.shape == (5,)
    torch.testing.assert_close(log_prob.double(), want, atol=1e-4, rtol=1e-5)


def test_saturated_actions_stay_finite():
    mean = torch.tensor([[60.0, -60.0]], requires_grad=True)
    action, log_prob = SquashedNormal(mean, torch.full((1, 2), -10.0)).rsample()
    (gradient,) = torch.autograd.grad(log_prob.sum(), mean)
    assert action.abs().max() <= 1 and log_prob.isfinite().all() and gradient.isfinite().all()


def test_mode():
    policy = SquashedNormal(torch.tensor([[0.5, -2.0]]), torch.zeros(1, 2))
    torch.testing.assert_close(policy.mode, torch.tensor([[math.tanh(0.5), math.tanh(-2.0)]]))
