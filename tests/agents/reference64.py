"""The equations of DreamerV2 (Hafner et al. 2021), in float64, one step at a time, sharing no code with the source."""

import math

import torch
from torch.nn import functional as F

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def weights(module, grad=False):
    """Float64 copies of a module's parameters by name."""
    return {k: p.detach().double().clone().requires_grad_(grad) for k, p in module.named_parameters()}


def below(weight, prefix):
    """The entries of a submodule, its name removed."""
    return {k[len(prefix) + 1 :]: v for k, v in weight.items() if k.startswith(prefix + ".")}


def elu(x):
    return torch.where(x > 0, x, torch.exp(torch.minimum(x, torch.zeros_like(x))) - 1)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def linear(weight, name, x):
    return x @ weight[f"{name}.weight"].T + weight[f"{name}.bias"]


def mlp(weight, x):
    """Linear layers named by their place in a Sequential, ELU between them."""
    order = sorted({int(k.split(".")[0]) for k in weight})
    for i in order:
        x = linear(weight, str(i), x)
        if i != order[-1]:
            x = elu(x)
    return x


def softmax(logits):
    e = torch.exp(logits - logits.max(-1, keepdim=True).values.detach())
    return e / e.sum(-1, keepdim=True)


def one_hot(probs, noise):
    """Straight-through: the first class at which the sum of probabilities (..., groups, classes) exceeds ``noise``
    (..., groups, 1), uniform numbers.
    """
    hard = torch.zeros_like(probs).detach()
    for place in torch.cartesian_prod(*map(torch.arange, probs.shape[:-1])).reshape(-1, probs.dim() - 1).tolist():
        row, drawn = probs[tuple(place)].tolist(), noise[tuple(place)].item()
        chosen = next((k for k in range(len(row)) if sum(row[: k + 1]) > drawn), len(row) - 1)
        hard[(*place, chosen)] = 1.0
    return hard.detach() + probs - probs.detach()


def gru(weight, x, h):
    """r, c, u from one normalised linear map of [x, h]; h' = u c + (1 - u) h with u = sigmoid(. - 1)."""
    parts = linear(weight, "linear", torch.cat([x, h], -1))
    mean = parts.mean(-1, keepdim=True)
    variance = (parts - mean).square().mean(-1, keepdim=True)
    parts = (parts - mean) / torch.sqrt(variance + 1e-5) * weight["norm.weight"] + weight["norm.bias"]
    size = h.shape[-1]
    r, c, u = parts[..., :size], parts[..., size : 2 * size], parts[..., 2 * size :]
    c = torch.tanh(sigmoid(r) * c)
    u = sigmoid(u - 1)
    return u * c + (1 - u) * h


def rssm_deter(weight, stoch, deter, action):
    x = elu(linear(weight, "input", torch.cat([stoch.reshape(stoch.shape[0], -1), action], -1)))
    return gru(below(weight, "cell"), x, deter)


def rssm_prior(weight, deter, groups):
    hidden = elu(linear(weight, "prior_net.0", deter))
    return linear(weight, "prior_net.2", hidden).reshape(*deter.shape[:-1], *groups)


def rssm_posterior(weight, deter, embed, groups):
    hidden = elu(linear(weight, "posterior_in", torch.cat([deter, embed], -1)))
    return linear(weight, "posterior_out", hidden).reshape(*deter.shape[:-1], *groups)


def feature(stoch, deter):
    return torch.cat([stoch.reshape(*stoch.shape[:-2], -1), deter], -1)


def observe(weight, embed, action, is_first, noise, groups, deter_size, start=None):
    """Filter (B, T, ...); ``noise`` (T, B, stoch, 1). Returns deter, stoch, posterior and prior logits, (B, T, ...)."""
    embed, action = embed.double(), action.double()
    batch, length = is_first.shape
    deter = torch.zeros(batch, deter_size).double() if start is None else start[0].double()
    stoch = torch.zeros(batch, *groups).double() if start is None else start[1].double()
    out = []
    for t in range(length):
        states, samples, posts, priors = [], [], [], []
        for b in range(batch):
            reset = bool(is_first[b, t])
            s = torch.zeros_like(stoch[b]) if reset else stoch[b]
            h = torch.zeros_like(deter[b]) if reset else deter[b]
            a = torch.zeros_like(action[b, t]) if reset else action[b, t]
            h = rssm_deter(weight, s[None], h[None], a[None])[0]
            posterior = rssm_posterior(weight, h, embed[b, t], groups)
            states.append(h)
            posts.append(posterior)
            priors.append(rssm_prior(weight, h, groups))
            samples.append(one_hot(softmax(posterior), noise[t, b]))
        deter, stoch = torch.stack(states), torch.stack(samples)
        out.append((deter, stoch, torch.stack(posts), torch.stack(priors)))
    return [torch.stack(x, 1) for x in zip(*out, strict=True)]


def encode(weight, image):
    """(n, C, S, S) in [-0.5, 0.5] -> (n, E)."""
    x = image
    for i in range(len(weight) // 2):
        x = elu(F.conv2d(x, weight[f"layers.{i}.weight"], weight[f"layers.{i}.bias"], stride=2))
    return x.reshape(x.shape[0], -1)


def decode(weight, feat, elu_output=False):
    """(n, F) -> (n, C, S, S): linear to a 1x1 image, then transposed convolutions with ELU between them."""
    x = linear(weight, "input", feat)[:, :, None, None]
    count = len(weight) // 2 - 1
    for i in range(count):
        x = F.conv_transpose2d(x, weight[f"layers.{i}.weight"], weight[f"layers.{i}.bias"], stride=2)
        if i < count - 1 or elu_output:
            x = elu(x)
    return x


def log_softmax(logits):
    return torch.log(softmax(logits))


def kl(post, prior):
    """Sum over groups of KL(categorical, categorical)."""
    return (softmax(post) * (log_softmax(post) - log_softmax(prior))).sum((-2, -1))


def entropy(logits):
    return -(softmax(logits) * log_softmax(logits)).sum((-2, -1))


def balanced_kl(post, prior, free=1.0, balance=0.8):
    one = torch.ones(()).double() * free
    return (1 - balance) * torch.maximum(kl(post, prior.detach()).mean(), one) + balance * torch.maximum(
        kl(post.detach(), prior).mean(), one
    )


def world_model_loss(weight, batch, noise, groups, deter_size, grad_heads=("decoder",), elu_output=False):
    """Every term of the world model's loss for a batch; ``weight`` are those of the whole world model."""
    image = batch["observation"].double() / 255 - 0.5
    lead = image.shape[:2]
    embed = encode(below(weight, "encoder"), image.flatten(0, 1)).reshape(*lead, -1)
    deter, stoch, post, prior = observe(
        below(weight, "rssm"), embed, batch["action"], batch["is_first"], noise, groups, deter_size
    )
    feat = feature(stoch, deter)
    to_decoder = feat if "decoder" in grad_heads else feat.detach()
    to_reward = feat if "reward" in grad_heads else feat.detach()
    mean = decode(below(weight, "decoder"), to_decoder.flatten(0, 1), elu_output)
    error = (mean - image.flatten(0, 1)).square().sum((1, 2, 3))
    observation = (0.5 * error + image[0, 0].numel() * HALF_LOG_2PI).mean()
    reward_error = mlp(below(weight, "reward_head"), to_reward)[..., 0] - batch["reward"].double()
    reward = (0.5 * reward_error.square() + HALF_LOG_2PI).mean()
    kl_loss = balanced_kl(post, prior)
    return {
        "kl_loss": kl_loss,
        "observation_loss": observation,
        "reward_loss": reward,
        "model_loss": kl_loss + observation + reward,
        "model_kl": kl(post, prior).mean(),
        "post_ent": entropy(post).mean(),
        "prior_ent": entropy(prior).mean(),
    }


def n_step_mixture(reward, value, discount, lam):
    """G_t as the explicit lambda-weighted mixture of n-step returns, (H + 1, N) -> (H, N); H^2 terms."""
    horizon = reward.shape[0] - 1
    out = []
    for t in range(horizon):
        longest = horizon - t
        total = torch.zeros_like(value[0])
        for n in range(1, longest + 1):
            n_step = sum(discount**k * reward[t + k] for k in range(n)) + discount**n * value[t + n]
            share = lam ** (n - 1) * (1 - lam) if n < longest else lam ** (longest - 1)
            total = total + share * n_step
        out.append(total)
    return torch.stack(out)


class Adam:
    """Clip, p <- (1 - wd) p, Adam; float64, parameter by parameter."""

    def __init__(self, parameters, lr, eps, clip, wd):
        self.parameters = [p.detach().double().clone() for p in parameters]
        self.lr, self.eps, self.clip, self.wd = lr, eps, clip, wd
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = 0

    def step(self, gradients):
        norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients))
        self.count += 1
        for i, g in enumerate(gradients):
            g = g.double() * min(1.0, self.clip / (norm + 1e-6))  # torch's guard against division by zero
            self.first[i] = 0.9 * self.first[i] + 0.1 * g
            self.second[i] = 0.999 * self.second[i] + 0.001 * g * g
            m = self.first[i] / (1 - 0.9**self.count)
            v = self.second[i] / (1 - 0.999**self.count)
            p = (1 - self.wd) * self.parameters[i]
            self.parameters[i] = p - self.lr * m / (v.sqrt() + self.eps)
        return norm
