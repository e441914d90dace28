"""Soft modularisation against the equations of Yang et al. 2020, sample by sample, module by module."""

import copy
import math

import pytest
import torch

from agents.exploration.density import SkillDensity
from agents.nn.soft_modular import SoftModular, UnitNorm

M, H = 3, 8


def build(layers, *, temperature=1.0, batch_norm=False, modules=M, size=H, seed=0):
    """Weights large enough that the routing is far from uniform; random statistics and scales of the normalisation."""
    torch.manual_seed(seed)
    net = SoftModular(size, modules=modules, layers=layers, temperature=temperature, batch_norm=batch_norm)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "norm" in name:
                p.add_(0.5 * torch.randn_like(p))
            else:
                p.normal_(0, 1.5 / math.sqrt(size))
        for name, b in net.named_buffers():
            if "mean" in name:
                b.normal_()
            elif "var" in name:
                b.uniform_(0.3, 3)
            else:
                b.fill_(3)  # batches seen
    return net


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def softmax(x):
    e = torch.exp(x - x.max())
    return e / e.sum()


def dense(state, name, x):
    return state[f"{name}.weight"] @ x + state[f"{name}.bias"]


def normalised(state, name, module, rows, modules, size, training):
    """Batch normalisation of one module's units over the samples; rows is a list of (H,)."""
    if f"{name}.weight" not in state:
        return rows
    weight = state[f"{name}.weight"].reshape(modules, size)[module]
    bias = state[f"{name}.bias"].reshape(modules, size)[module] if f"{name}.bias" in state else 0
    if training:
        mean = sum(rows) / len(rows)
        var = sum((row - mean) ** 2 for row in rows) / len(rows)
    else:
        of_batches = 1 - 0.9 ** state[f"{name}.num_batches_tracked"]
        running = (state[f"{name}.running_{k}"] / of_batches for k in ("mean", "var"))
        mean, var = (x.reshape(modules, size)[module] for x in running)
    return [(row - mean) / torch.sqrt(var + 1e-5) * weight + bias for row in rows]


def slow_layer(state, index, inputs, modules, size, training):
    """inputs[sample][module] -> outputs[sample][module]: [norm,] linear [, norm]."""
    outputs = [[None] * modules for _ in inputs]
    for j in range(modules):
        rows = [sample[j] for sample in inputs]
        rows = normalised(state, f"layers.{index}.norm_in", j, rows, modules, size, training)
        weight = state[f"layers.{index}.weight"][j]
        bias = state[f"layers.{index}.bias"][j, 0] if f"layers.{index}.bias" in state else 0
        rows = [weight.T @ row + bias for row in rows]
        rows = normalised(state, f"layers.{index}.norm_out", j, rows, modules, size, training)
        for sample, row in enumerate(rows):
            outputs[sample][j] = row
    return outputs


def slow_routing(state, f, g, layers, modules, temperature):
    """p^1 .. p^L of one sample."""
    u = dense(state, "gate", relu(g * f))
    found, earlier = [], []
    for index in range(layers):
        condition = dense(state, f"conditions.{index - 1}", torch.cat(earlier)) if index else torch.ones_like(u)
        raw = dense(state, f"logits.{index}", relu(condition * u)) / temperature
        if index == layers - 1:
            found.append(softmax(raw))
        else:
            rows = [softmax(raw[j * modules : (j + 1) * modules]) for j in range(modules)]
            found.append(torch.stack(rows))
            earlier += rows
    return found


def slow(net, f, g, *, training=False):
    """Features and embeddings (N, H) -> outputs (N, H) and routings [(N, ...)], in float64."""
    state = {name: x.detach().double() for name, x in net.state_dict().items()}
    layers, modules, size = len(net.layers), net.count, f.shape[-1]
    f, g = f.detach().double(), g.detach().double()
    routes = [slow_routing(state, f[i], g[i], layers, modules, net.temperature) for i in range(len(f))]
    out = slow_layer(state, 0, [[relu(row)] * modules for row in f], modules, size, training)
    for index in range(1, layers):
        inputs = [
            [relu(sum(route[index - 1][j, i] * parts[i] for i in range(modules))) for j in range(modules)]
            for route, parts in zip(routes, out, strict=True)
        ]
        out = slow_layer(state, index, inputs, modules, size, training)
    result = [
        relu(sum(route[-1][i] * parts[i] for i in range(modules))) for route, parts in zip(routes, out, strict=True)
    ]
    return torch.stack(result), [torch.stack(parts) for parts in zip(*routes, strict=True)]


def close(a, b):
    torch.testing.assert_close(a.double(), b.double(), rtol=1e-4, atol=1e-5)


# ---- against the equations


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("batch_norm, training", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_output_and_routing(layers, batch_norm, training, temperature):
    net = build(layers, temperature=temperature, batch_norm=batch_norm, seed=layers).train(training)
    f, g = torch.randn(6, H), torch.randn(6, H)
    out, routes = slow(net, f, g, training=training)
    found = net.routing(f, g)
    assert [tuple(p.shape) for p in found] == [(6, M, M)] * (layers - 1) + [(6, M)]
    for p, want in zip(found, routes, strict=True):
        close(p, want)
    close(net(f, g), out)
    assert (out > 0).float().mean() > 0.1  # not zeros against zeros
    assert max(p.max() for p in routes) > 1 / M + 0.15  # not uniform against uniform


def test_rows_and_columns_of_the_routing_are_not_mixed_up():
    """Module j of the next layer reads row j: all weight on one entry of one row reaches that module only."""
    net = build(2, temperature=0.01)
    target = torch.tensor([2, 0, 0])  # module 0 reads module 2, the others module 0
    with torch.no_grad():
        net.logits[0].weight.zero_()
        net.logits[0].bias.copy_(torch.nn.functional.one_hot(target, M).float().flatten())
        for last in range(M):
            net.logits[1].weight.zero_()
            net.logits[1].bias.copy_(torch.nn.functional.one_hot(torch.tensor(last), M).float())
            f, g = torch.randn(4, H), torch.randn(4, H)
            first = [relu(f) @ net.layers[0].weight[i] + net.layers[0].bias[i] for i in range(M)]
            read = relu(first[target[last]])
            close(net(f, g), relu(read @ net.layers[1].weight[last] + net.layers[1].bias[last]))


def test_the_routing_sees_the_feature_before_its_relu():
    net = build(2)
    f, g = -torch.rand(5, H) - 0.5, -torch.rand(5, H) - 0.5
    assert not torch.allclose(net.routing(f, g)[0], net.routing(f.clamp(min=0), g)[0])


@pytest.mark.parametrize("layers", [2, 3])
def test_every_routing_is_a_distribution(layers):
    net = build(layers)
    for p in net.routing(torch.randn(7, H), torch.randn(7, H)):
        assert (p >= 0).all()
        torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1]))


def test_temperature():
    f, g = torch.randn(20, H), torch.randn(20, H)
    routes = {t: build(2, temperature=t).routing(f, g) for t in (1e-3, 1.0, 1e3)}
    for cold, warm, hot in zip(*routes.values(), strict=True):
        assert cold.max(-1).values.mean() > 0.99
        assert (hot - 1 / M).abs().max() < 0.01
        assert (warm.max(-1).values - 1 / M).mean() > 0.05 and warm.max(-1).values.mean() < 0.95
    # the first routing depends on the temperature through the division alone
    scaled = build(2)
    with torch.no_grad():
        scaled.logits[0].weight /= 2.0
        scaled.logits[0].bias /= 2.0
    close(build(2, temperature=2.0).routing(f, g)[0], scaled.routing(f, g)[0])


def test_the_task_decides_the_path():
    net = build(2)
    f = torch.randn(1, H).expand(4, H)
    outs = net(f, torch.randn(4, H))
    assert all((outs[i] - outs[j]).abs().max() > 1e-3 for i in range(4) for j in range(i))


# ---- shapes


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_pair_at_once_is_every_pair_alone(layers, batch_norm):
    net = build(layers, batch_norm=batch_norm).eval()
    f, g = torch.randn(5, H), torch.randn(4, H)
    together = net(f[:, None], g)
    assert together.shape == (5, 4, H)
    for i in range(5):
        for k in range(4):
            close(together[i, k], net(f[i : i + 1], g[k : k + 1])[0])
    per_pair = torch.randn(5, 4, H)  # as in a decoder: another feature for every pair
    together = net(per_pair, g)
    for i in range(5):
        for k in range(4):
            close(together[i, k], net(per_pair[i, k], g[k]))


def test_no_and_many_leading_dimensions():
    net = build(2, batch_norm=True).eval()
    f, g = torch.randn(2, 3, 5, H), torch.randn(2, 3, 5, H)
    out = net(f, g)
    assert out.shape == f.shape
    close(out[1, 2, 3], net(f[1, 2, 3], g[1, 2, 3]))


# ---- batch normalisation


def test_running_statistics_follow_the_batches_and_only_in_training():
    net = build(2, batch_norm=True)
    before = copy.deepcopy(dict(net.named_buffers()))
    f, g = torch.randn(500, H), torch.randn(500, H)
    net.eval()(f, g)
    assert all(torch.equal(b, before[name]) for name, b in net.named_buffers())
    net.train()
    for _ in range(200):
        net(f, g)
    rows = relu(f)  # what every module of the first layer receives
    for name, want in (("running_mean", rows.mean(0)), ("running_var", rows.var(0))):
        found = getattr(net.layers[0].norm_in, name).reshape(M, H)
        torch.testing.assert_close(found, want.expand(M, H), rtol=1e-3, atol=1e-4)
    train = net(f, g)
    # the biased variance of the batch against the unbiased running one
    torch.testing.assert_close(net.eval()(f, g), train, rtol=0.03, atol=0.03)


def test_the_running_statistics_are_weighted_means_of_the_batches_alone():
    """0.9^(n - i) for batch i of n; the start, which is no data, has no share. Before any batch: mean 0, variance 1."""
    norm = UnitNorm(1, H, bias=False)
    probe = torch.randn(5, 1, H) * 100
    close(norm.eval()(probe), probe / math.sqrt(1 + 1e-5))
    batches = [torch.randn(20, 1, H) * 0.01 * (i + 1) + 50 * i for i in range(4)]
    for count, batch in enumerate(batches, 1):
        norm.train()(batch)
        weight = [0.9 ** (count - i) for i in range(1, count + 1)]
        seen = [b[:, 0].double() for b in batches[:count]]
        mean = sum(w * b.mean(0) for w, b in zip(weight, seen, strict=True)) / sum(weight)
        var = sum(w * b.var(0) for w, b in zip(weight, seen, strict=True)) / sum(weight)
        torch.testing.assert_close(
            norm.eval()(probe)[:, 0].double(),
            (probe[:, 0].double() - mean) / torch.sqrt(var + 1e-5),
            rtol=1e-3,
            atol=1e-3,
        )


def test_batch_norm_is_off_on_request():
    names = {name for name, _ in build(2).state_dict().items()}
    assert not any("norm" in name for name in names)
    assert any("norm" in name for name in build(2, batch_norm=True).state_dict())


# ---- parameters


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_parameter_gets_a_gradient(layers, batch_norm):
    net = build(layers, batch_norm=batch_norm).train()
    out = net(torch.randn(32, H), torch.randn(32, H))
    (out * torch.randn_like(out)).sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 1e-3, name


@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_module_gets_a_gradient(batch_norm):
    """Not just the tensor that holds all of them."""
    net = build(2, batch_norm=batch_norm).train()
    net(torch.randn(32, H), torch.randn(32, H)).square().sum().backward()
    for layer in net.layers:
        assert (layer.weight.grad.abs().amax((1, 2)) > 1e-4).all()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_parameter_count(layers):
    """Table 2.1: M linear maps per layer, one gate, one logits layer per routing, a condition for all but the first."""
    net = SoftModular(H, modules=M, layers=layers, batch_norm=False)
    modules = layers * M * (H * H + H)
    logits = (layers - 1) * (H + 1) * M * M + (H + 1) * M
    conditions = sum((M * M * known + 1) * H for known in range(1, layers))
    assert sum(p.numel() for p in net.parameters()) == modules + (H * H + H) + logits + conditions


def test_modules_start_different_and_bounded_like_a_linear_layer():
    net = SoftModular(64, modules=4, layers=2, batch_norm=False)
    for layer in net.layers:
        assert layer.weight.shape == (4, 64, 64)
        assert layer.weight.abs().max() <= 1 / 8 and layer.bias.abs().max() <= 1 / 8
        assert abs(layer.weight.std().item() - 1 / 8 / math.sqrt(3)) < 0.003
        assert (layer.weight[0] - layer.weight[1]).abs().max() > 0.05


@pytest.mark.parametrize("batch_norm", [False, True])
def test_encoder_and_decoder_of_the_density_model_are_two_networks(batch_norm):
    """A defect of the published program: the decoder's modules replaced the encoder's."""
    model = SkillDensity((3, 32, 32), 3, latent_dim=4, num_modules=2, module_hidden=8, image_size=32, cnn_depth=2,
                         batch_norm=batch_norm)  # fmt: skip
    inside, outside = (
        {id(x) for x in body.state_dict(keep_vars=True).values()} for body in (model.encoder, model.decoder)
    )
    assert len(inside) == len(outside) > 0 and not inside & outside
    assert {name for name, _ in model.encoder.named_parameters()} == {n for n, _ in model.decoder.named_parameters()}
    every = [id(p) for p in model.parameters()]
    assert len(every) == len(set(every)) and {id(p) for p in model.encoder.parameters()} <= set(every)
