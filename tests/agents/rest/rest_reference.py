"""The equations of ReST and PPO in float64, sharing no code with the source."""

import math

import torch
from reference64 import Adam


def weights(module):
    """Float64 copies of a module's parameters, in their order."""
    return [p.detach().double().clone() for p in module.parameters()]


def mlp(parameters, x):
    """Weights and biases in turns, tanh after all but the last pair."""
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    for i, (weight, bias) in enumerate(pairs):
        x = x @ weight.T + bias
        if i < len(pairs) - 1:
            x = (torch.exp(2 * x) - 1) / (torch.exp(2 * x) + 1)
    return x


def normalised(normalizer, x):
    std = torch.sqrt(normalizer.var.double())
    return (x.double() - normalizer.mean.double()) / torch.maximum(std, torch.tensor(0.01).double())


def log_prob(mean, log_std, action):
    """The logarithm of the density of independent normals, factor by factor."""
    std = torch.exp(log_std)
    density = torch.exp(-((action - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi))
    return torch.log(density).sum(-1)


def explicit_estimates(reward, value, next_value, terminated, cut, gamma, lam):
    """Sums written out for every step: numbers of lists (n, T), float64."""
    n, length = len(reward), len(reward[0])
    advantages, returns = [[0.0] * length for _ in range(n)], [[0.0] * length for _ in range(n)]
    for i in range(n):
        for t in range(length):
            last = next(u for u in range(t, length) if cut[i][u])
            after = [0.0 if terminated[i][u] else next_value[i][u] for u in range(length)]
            deltas = [reward[i][u] + gamma * after[u] - value[i][u] for u in range(t, last + 1)]
            advantages[i][t] = sum((gamma * lam) ** k * d for k, d in enumerate(deltas))
            rewards = sum(gamma**k * reward[i][u] for k, u in enumerate(range(t, last + 1)))
            returns[i][t] = rewards + gamma ** (last + 1 - t) * after[last]
    return advantages, returns


def descend(parameters, loss_of, lr, steps):
    """Adam in float64 on ``loss_of(parameters)``; returns the parameters and the loss before each step."""
    adam, losses = Adam(parameters, lr, 1e-8, math.inf, 0.0), []
    for _ in range(steps):
        leaves = [p.clone().requires_grad_() for p in adam.parameters]
        loss = loss_of(leaves)
        losses.append(loss.item())
        adam.step(torch.autograd.grad(loss, leaves))
    return adam.parameters, losses


def policy_loss(log_std, net, obs, action, old, advantage, clip, ent_coef):
    """The clipped surrogate, sample by sample, minus the entropy per action dimension."""
    ratio = torch.exp(log_prob(mlp(net, obs), log_std, action) - old)
    total = 0.0
    for rho, a in zip(ratio, advantage, strict=True):
        held = torch.minimum(torch.maximum(rho, torch.tensor(1 - clip).double()), torch.tensor(1 + clip).double())
        total = total + torch.minimum(rho * a, held * a)
    entropy = torch.stack([0.5 * torch.log(2 * math.pi * math.e * torch.exp(s) ** 2) for s in log_std]).mean()
    return -total / len(advantage) - ent_coef * entropy
