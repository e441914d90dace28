"""RND (Burda et al. 2019): the distillation core on plain tensors, and the method on images and on states."""

import copy
import math

import pytest
import torch
from agent_kit import composed, copies, make_agent, make_batch, method_of, moved, tiny
from reference64 import below, encode, linear, weights
from torch import nn

from agents.exploration.intrinsic_reward import ReplayView, Sizes
from agents.exploration.rnd import RND, RandomDistillation
from agents.nn.latent import Latent
from agents.nn.networks import MLP, parameter_count

WALKER = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
IMAGES = Sizes((3, 16, 16), 2, 5, 7, 3, "walker")
STATES = Sizes((6,), 2, 5, 7, 3, "walker")
EPS = 1e-5


def make(sizes=IMAGES, rnd_scale=1.0, target_decay=0.0, batch_statistics=False, spread=True):
    """Small networks; ``spread`` gives them biases, unlike at the start."""
    method = RND(sizes, rnd_scale, 4, 8, 2, [4, 4], target_decay, batch_statistics)
    if spread:
        with torch.no_grad():
            for name, p in method.named_parameters():
                if name.endswith("bias"):
                    p.normal_(0, 0.2)
    return method


def make_view(sizes=IMAGES, lead=(2, 3), seed=1):
    """Dark red, bright blue images, or states of entries of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    if len(sizes.obs_shape) == 3:
        obs = torch.randint(0, 80, (*lead, *sizes.obs_shape), generator=generator, dtype=torch.uint8)
        obs[..., 2, :, :] += 150
    else:
        obs = torch.randn(*lead, *sizes.obs_shape, generator=generator) * 10.0 ** torch.arange(-2, 4) + 3
    blank = torch.zeros(*lead, 0)
    first = torch.zeros(lead, dtype=torch.bool)
    first[:, 0] = True
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(
        obs=obs, embed=blank, action=blank, skill=blank, skill_valid=~first, is_first=first, post=latent,
        feat=blank, kl=blank,
    )  # fmt: skip


def columns(obs):
    """What shares its statistics, as lists of float64 numbers: the pixels of a channel, or an entry of a state."""
    if obs.dtype == torch.uint8:
        return [(obs[:, :, c].double() / 255 - 0.5).flatten().tolist() for c in range(obs.shape[2])]
    return [obs[..., d].double().flatten().tolist() for d in range(obs.shape[-1])]


def mean_variance(values, unbiased):
    mean = sum(values) / len(values)
    return mean, sum((v - mean) ** 2 for v in values) / (len(values) - unbiased)


def running(batches):
    """Mean and variance of 1e-4 values of mean 0 and variance 1, and batches, each with its unbiased variance."""
    count, total, squares = 1e-4, 0.0, 1e-4
    for batch in batches:
        mean, variance = mean_variance(batch, unbiased=1)
        count += len(batch)
        total += len(batch) * mean
        squares += len(batch) * (variance + mean**2)
    return total / count, squares / count - (total / count) ** 2


def normalised(obs, statistics):
    """One image (C, S, S) or state (D,), entry by entry: (x - mean) / sqrt(variance + eps), clamped to 5."""
    x = obs.double() / 255 - 0.5 if obs.dtype == torch.uint8 else obs.double()
    parts = [(part - m) / math.sqrt(v + EPS) for part, (m, v) in zip(x, statistics, strict=True)]
    return torch.stack(parts).clamp(-5, 5)


def output(weight, x):
    """The network in float64: convolutions with ELU if it has some, then two ReLU layers and a linear one."""
    mlp = below(weight, "1") if any(k.startswith("1.") for k in weight) else weight
    x = encode(below(weight, "0"), x[None])[0] if mlp is not weight else x
    for i in (0, 2):
        x = linear(mlp, str(i), x)
        x = torch.where(x > 0, x, torch.zeros_like(x))
    return linear(mlp, "4", x)


def errors(method, obs, statistics):
    """e of every observation (B, T, ...), nested lists."""
    target, predictor = weights(method.distillation.target), weights(method.distillation.predictor)
    out = []
    for row in obs:
        inputs = [normalised(x, statistics) for x in row]
        differences = [(output(target, x) - output(predictor, x)).tolist() for x in inputs]
        out.append([sum(d * d for d in difference) / len(difference) for difference in differences])
    return out


def flat(nested):
    return [x for row in nested for x in row]


# ---- the core


def core(outputs=5):
    return RandomDistillation(MLP(3, outputs, 2, 8, nn.Tanh), MLP(3, outputs, 2, 8, nn.Tanh))


def test_core_error_is_the_mean_square():
    model, x = core(), torch.randn(2, 4, 3)
    error = model.error(x)
    assert error.shape == (2, 4)
    for b in range(2):
        for t in range(4):
            pairs = zip(model.target(x[b, t]).tolist(), model.predictor(x[b, t]).tolist(), strict=True)
            assert error[b, t].item() == pytest.approx(sum((a - c) ** 2 for a, c in pairs) / 5, rel=1e-4)
    assert model.loss(x).item() == pytest.approx(sum(flat(error.tolist())) / 8, rel=1e-5)


def test_core_weights():
    model, x = core(), torch.randn(4, 3)
    error = model.error(x).tolist()
    weighted = model.loss(x, torch.tensor([0.5, 0.0, 2.0, 0.0]))
    assert weighted.item() == pytest.approx((0.5 * error[0] + 2 * error[2]) / 2.5, rel=1e-5)
    masked = model.loss(x, torch.tensor([True, False, True, False]))
    assert masked.item() == pytest.approx((error[0] + error[2]) / 2, rel=1e-5)
    assert model.loss(x, torch.zeros(4)).item() == 0


def test_core_trains_the_predictor_only_and_is_differentiable_in_its_input():
    model, x = core(), torch.randn(6, 3, requires_grad=True)
    model.loss(x).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.target.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.predictor.parameters())
    step, at = 1e-3, x.detach().clone()
    for index in ((0, 0), (3, 2)):  # through target and predictor, by differences
        values = []
        for sign in (1, -1):
            moved_x = at.clone()
            moved_x[index] += sign * step
            values.append(model.loss(moved_x).item())
        assert x.grad[index].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=0.02, abs=1e-5)


def test_core_learns_what_it_has_seen():
    generator = torch.Generator().manual_seed(0)
    seen = torch.randn(64, 3, generator=generator) * 0.3
    model = RandomDistillation(*(MLP(3, 5, 2, 64, nn.Tanh) for _ in range(2)))
    optimizer = torch.optim.Adam(model.predictor.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(seen).backward()
        optimizer.step()
    assert model.error(seen).mean() < 0.05 * model.error(seen + 4).mean()


# ---- the method: loss


@pytest.mark.parametrize("sizes", [IMAGES, STATES], ids=["images", "states"])
def test_loss_with_running_statistics(sizes):
    """The batch is taken in first, then normalised; the second batch with the statistics of both."""
    method, seen = make(sizes), []
    for seed in (1, 2):
        view = make_view(sizes, seed=seed)
        loss, metrics = method.loss(view)
        seen.append(columns(view.obs))
        want = flat(errors(method, view.obs, [running(batches) for batches in zip(*seen, strict=True)]))
        assert metrics == {} and loss.shape == ()
        assert loss.item() == pytest.approx(sum(want) / 6, rel=2e-4)


@pytest.mark.parametrize("sizes", [IMAGES, STATES], ids=["images", "states"])
def test_batch_statistics(sizes):
    """As batch normalisation: the biased variance of this batch, and nothing of the past."""
    method = make(sizes, batch_statistics=True)
    before = copy.deepcopy(method.input_moments.state_dict())
    method.loss(make_view(sizes, seed=2))
    view = make_view(sizes)
    statistics = [mean_variance(c, unbiased=0) for c in columns(view.obs)]
    want = flat(errors(method, view.obs, statistics))
    assert method.loss(view)[0].item() == pytest.approx(sum(want) / 6, rel=2e-4)
    assert all(torch.equal(v, before[k]) for k, v in method.input_moments.state_dict().items())
    x = (view.obs.double() / 255 - 0.5 if sizes is IMAGES else view.obs.double()).float()
    rows = x.flatten(0, 1)
    like = nn.functional.batch_norm(rows, None, None, training=True).clamp(-5, 5)
    torch.testing.assert_close(method._normalise(x).flatten(0, 1), like, rtol=1e-4, atol=1e-4)


def test_inputs_are_clamped():
    method, view = make(STATES), make_view(STATES, (8, 8))
    method.loss(view)
    obs = view.obs.clone()
    obs[0, 0], obs[0, 1] = 1e9, 1e7
    obs[1, 0] = -1e9
    value = method.score_replay(view._replace(obs=obs)).value
    assert value[0, 0] == value[0, 1] != value[1, 0]


def test_one_value_everywhere_is_no_division_by_zero():
    method, view = make(), make_view()
    view = view._replace(obs=torch.full_like(view.obs, 90))
    loss, _ = method.loss(view)
    loss.backward()
    assert loss.isfinite() and method.score_replay(view).value.isfinite().all()


@pytest.mark.parametrize("sizes", [IMAGES, STATES], ids=["images", "states"])
def test_every_parameter_of_the_predictor_gets_a_gradient(sizes):
    method = make(sizes)
    method.loss(make_view(sizes, (4, 5)))[0].backward()
    for name, p in method.distillation.predictor.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 1e-6, name
    assert all(p.grad is None and not p.requires_grad for p in method.distillation.target.parameters())


def test_the_images_stay_as_they_are():
    """The published code normalises the batch in place, so the reward sees other images than the loss."""
    method, view = make(), make_view()
    obs = view.obs.clone()
    method.loss(view)
    first = method.distillation.error(method._normalise(method._prepare(view.obs)))
    method.score_replay(view)
    assert torch.equal(view.obs, obs)
    assert torch.equal(first, method.distillation.error(method._normalise(method._prepare(view.obs))))


# ---- the method: reward


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("sizes", [IMAGES, STATES], ids=["images", "states"])
def test_reward_is_the_error_in_running_standard_deviations(sizes, scale):
    """V holds the errors of all calls, this one included; the first record counts; nothing is subtracted."""
    method = make(sizes, rnd_scale=scale)
    method.loss(make_view(sizes, seed=9))
    statistics, seen = [running([c]) for c in columns(make_view(sizes, seed=9).obs)], []
    for seed in (1, 2, 3):
        view = make_view(sizes, seed=seed)
        want = errors(method, view.obs, statistics)
        seen.append(flat(want))
        std = math.sqrt(running(seen)[1])
        scored = method.score_replay(view)
        assert scored.value.shape == (2, 3) and scored.valid.all() and not scored.value.requires_grad
        for b in range(2):
            for t in range(3):
                assert scored.value[b, t].item() == pytest.approx(scale * want[b][t] / std, rel=2e-3)
        assert scored.metrics["rnd_error"].item() == pytest.approx(sum(flat(want)) / 6, rel=1e-3)
        assert scored.metrics["rnd_std"].item() == pytest.approx(std, rel=2e-3)


def test_scoring_does_not_touch_the_input_statistics():
    method = make()
    method.loss(make_view())
    before = copy.deepcopy(method.input_moments.state_dict())
    method.score_replay(make_view(seed=2))
    assert all(torch.equal(v, before[k]) for k, v in method.input_moments.state_dict().items())


def test_float32_under_autocast():
    method, view = make(), make_view()
    low = copy.deepcopy(method)
    loss, score = method.loss(view)[0], method.score_replay(view).value
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(low.loss(view)[0], loss) and torch.equal(low.score_replay(view).value, score)


# ---- the target


def test_target_and_predictor_are_independent():
    method = make(spread=False)
    target, predictor = method.distillation.target, method.distillation.predictor
    assert not {p.data_ptr() for p in target.parameters()} & {p.data_ptr() for p in predictor.parameters()}
    for mine, other in zip(target.parameters(), predictor.parameters(), strict=True):
        assert mine.dim() == 1 or not torch.equal(mine, other)


@pytest.mark.parametrize("part", ["target", "predictor"])
def test_orthogonal_initialisation(part):
    network = getattr(make(spread=False).distillation, part)
    gains = {nn.Conv2d: math.sqrt(2), nn.Linear: 1.0}
    layers = [m for m in network.modules() if type(m) in gains]
    assert len(layers) == 5
    for layer in layers:
        assert not layer.bias.any()
        matrix = layer.weight.detach().flatten(1)
        matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
        want = gains[type(layer)] ** 2 * torch.eye(len(matrix))
        torch.testing.assert_close(matrix @ matrix.T, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("decay", [0.0, 1e-6, 0.01])
def test_target_decay(decay):
    method = make(target_decay=decay)
    before = copies(method)
    for count in range(3):
        method.after_update(count, None)
    for name, p in method.named_parameters():
        factor = (1 - decay) ** 3 if ".target." in name else 1.0
        torch.testing.assert_close(p.detach().double(), before[name].double() * factor, rtol=3e-7, atol=0)
        if decay and ".target." in name:
            assert not torch.equal(p, before[name])


# ---- sizes, configuration


def test_published_sizes():
    agent = composed("pretrain", "agent=rnd_dreamer")["agent"]
    assert (agent["target_decay"], agent["batch_statistics"], agent["rnd_scale"]) == (0.0, False, 1.0)
    assert agent["actor_ent"] == 0 and agent["reward_norm"]["momentum"] == 1
    method = method_of(agent, WALKER)
    assert type(method) is RND and method.scores == "replay"
    assert parameter_count(method.distillation.target) == 7_059_920
    assert parameter_count(method.distillation.predictor) == 7_059_920
    assert parameter_count(method) == 2 * 7_059_920


def test_states_have_no_convolutions():
    method = make(STATES)
    assert isinstance(method.distillation.predictor, MLP) and method.input_moments.mean.shape == (6,)
    assert not any(isinstance(m, nn.Conv2d) for m in method.modules())


def test_reference():
    agent = composed("pretrain", "agent=rnd_dreamer", "agent.reference=true")["agent"]
    assert agent["target_decay"] == 1e-6 and agent["batch_statistics"]
    assert agent["decoder_elu_output"] and agent["entropy_in_targets"]


# ---- in the agent


@pytest.mark.parametrize("overrides", [(), ("agent.reference=true",)])
def test_one_update(overrides):
    """The predictor moves; the target only in the reference, by its decay."""
    agent = make_agent(tiny("pretrain", "agent=rnd_dreamer", *overrides))
    before = copies(agent.main.method)
    metrics = agent.update(make_batch()).logged
    assert all(v.shape == () and v.isfinite() for v in metrics.values())
    assert {"rnd_loss", "rnd_grad_norm", "rnd_error", "rnd_std"} <= metrics.keys()
    names = {name for name in before if ".predictor." in name}
    shrunk = {name for name, p in before.items() if ".target." in name and p.any()} if overrides else set()
    assert names and moved(agent.main.method, before) == names | shrunk


def test_the_target_is_in_no_optimiser():
    agent = make_agent(tiny("pretrain", "agent=rnd_dreamer"))
    predictor = {id(p) for p in agent.main.method.distillation.predictor.parameters()}
    assert {id(p) for p in agent.main.method_opt.parameters} == predictor


def test_the_statistics_are_saved():
    agent, other = (make_agent(tiny("pretrain", "agent=rnd_dreamer"), seed=seed) for seed in (0, 1))
    agent.update(make_batch())
    other.load_state_dict(agent.state_dict())
    assert other.main.method.error_moments.count > 18 and other.main.method.input_moments.count > 1
    view = make_view(WALKER)
    assert torch.equal(agent.main.method.score_replay(view).value, other.main.method.score_replay(view).value)
