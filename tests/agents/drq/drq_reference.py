"""The equations of DrQ (Kostrikov et al. 2021) in float64, one transition at a time; no code shared with the source."""

import math

import torch
from torch.nn import functional as F


def mlp(weight, name, x):
    """ReLU between the linear layers."""
    order = sorted({int(k[len(name) + 1 :].split(".")[0]) for k in weight if k.startswith(name + ".")})
    for i in order:
        x = weight[f"{name}.{i}.weight"] @ x + weight[f"{name}.{i}.bias"]
        if i != order[-1]:
            x = torch.maximum(x, torch.zeros_like(x))
    return x


def convs(weight, name, image):
    """One stack (C, S, S), values 0..255."""
    x = image.double()[None] / 255
    for i in range(4):
        w, b = weight[f"{name}.layers.{i}.weight"], weight[f"{name}.layers.{i}.bias"]
        x = F.conv2d(x, w, b, stride=2 if i == 0 else 1)
        x = x * (x > 0)
    return x.reshape(-1)


def head(weight, name, maps):
    x = weight[f"{name}.linear.weight"] @ maps + weight[f"{name}.linear.bias"]
    x = (x - x.mean()) / torch.sqrt((x - x.mean()).square().mean() + 1e-5)
    return torch.tanh(x * weight[f"{name}.norm.weight"] + weight[f"{name}.norm.bias"])


def embedded(weight, name, skill):
    """The row of the table that belongs to a one-hot skill; nothing where there is no table."""
    table = weight.get(f"{name}.skills.weight")
    return torch.zeros(0).double() if table is None else table[int(skill.argmax())]


def policy(weight, maps, skill, noise, low=-10.0, high=2.0):
    """Action and log pi for one stack, given the standard normal draw."""
    x = torch.cat([head(weight, "actor.encoder", maps), embedded(weight, "actor", skill)])
    out = mlp(weight, "actor.trunk", x)
    mean, raw = out[: len(out) // 2], out[len(out) // 2 :]
    log_std = low + (high - low) * (torch.tanh(raw) + 1) / 2
    sample = mean + torch.exp(log_std) * noise
    action = torch.tanh(sample)
    density = -0.5 * ((sample - mean) / torch.exp(log_std)) ** 2 - log_std - 0.5 * math.log(2 * math.pi)
    # 1 - tanh(x)^2 = 4 / (e^x + e^-x)^2
    squash = math.log(4) - 2 * torch.logaddexp(sample, -sample)
    return action, (density - squash).sum()


def values(weight, name, maps, skill, action):
    x = torch.cat([head(weight, f"{name}.encoder", maps), embedded(weight, name, skill), action.double()])
    return [mlp(weight, f"{name}.q.{j}", x)[0] for j in range(2)]


def log_q(weight, features):
    """log q(. | s) of features (F,)."""
    logits = mlp(weight, "discriminator.classifier.net", features)
    return logits - torch.logsumexp(logits, 0)
