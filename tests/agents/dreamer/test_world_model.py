import pytest
import reference64 as ref
import torch
from agent_kit import OBS, make_batch, tiny
from torch.nn import functional as F

from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import Scored, everywhere
from agents.nn.phases import to_phases

GROUPS, DETER, ACTION = (4, 4), 16, 6


def build(grad_heads=("decoder",), free=1.0, seed=0, **more):
    torch.manual_seed(seed)
    config = tiny()
    parts = {k: config[k] for k in ("rssm", "encoder", "decoder", "reward_head", "loss_scales")}
    return WorldModel(OBS, ACTION, **{**parts, "kl": {"free": free, "balance": 0.8}, "grad_heads": grad_heads, **more})


def sharpen(model):
    """Make prior and posterior differ by more than the free nat."""
    with torch.no_grad():
        for layer in (model.rssm.posterior_out, model.rssm.prior_net[2]):
            layer.weight.mul_(4)
            layer.bias.add_(torch.randn_like(layer.bias))
    return model


def run(model, batch):
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    total, found = model.loss(seen, everywhere(batch["reward"]))
    return seen, total, found.logged


# ---- KL


def kl_parts(post, prior):
    return ref.kl(post.double(), prior.double())


@pytest.mark.parametrize("free, balance", [(1.0, 0.8), (0.0, 0.5), (3.0, 0.1)])
def test_kl_loss_value(free, balance):
    model = build(kl={"free": free, "balance": balance})
    for scale in (0.1, 1.0, 3.0):
        post, prior = scale * torch.randn(2, 5, 3, 4, 4)
        got = model.kl_loss(post, prior)
        want = max(kl_parts(post, prior).mean().item(), free)
        assert got.item() == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("balance", [0.8, 0.3])
def test_kl_gradient_shares(balance):
    model = build(kl={"free": 1.0, "balance": balance})
    post, prior = (2 * torch.randn(2, 5, 3, 4, 4)).unbind()
    post, prior = post.requires_grad_(), prior.requires_grad_()
    model.kl_loss(post, prior).backward()
    post64, prior64 = (x.detach().double().requires_grad_() for x in (post, prior))
    assert kl_parts(post, prior).mean() > 1
    # the plain KL's gradient, by formula: d/d prior = q - p; d/d post = p (log p/q - KL of that group)
    p, q = ref.softmax(post64.detach()), ref.softmax(prior64.detach())
    ratio = (p / q).log()
    to_post = p * (ratio - (p * ratio).sum(-1, keepdim=True)) / 15
    to_prior = (q - p) / 15
    torch.testing.assert_close(post.grad.double(), (1 - balance) * to_post, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(prior.grad.double(), balance * to_prior, rtol=1e-4, atol=1e-7)


def test_no_kl_gradient_below_one_nat_of_mean():
    model = build()
    post, prior = (0.1 * torch.randn(2, 5, 3, 4, 4)).unbind()
    post, prior = post.requires_grad_(), prior.requires_grad_()
    assert kl_parts(post, prior).mean() < 1
    loss = model.kl_loss(post, prior)
    loss.backward()
    assert loss.item() == 1
    assert (post.grad == 0).all() and (prior.grad == 0).all()


def test_free_nats_apply_to_the_batch_mean_not_to_each_step():
    post, prior = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    post[0, 0, :, 0] = 8.0  # one step of about 5.5 nats, one of 0: mean 2.7 (clamped per step it would be 3.2)
    mean = kl_parts(post, prior).mean().item()
    assert mean > 1
    prior.requires_grad_()
    loss = build().kl_loss(post, prior)
    assert loss.item() == pytest.approx(mean, rel=1e-5)
    # and below it in the mean, a single large step gets no gradient either
    post[0, 0, 1:] = 0.0
    post[0, 0, 0, 0] = 3.0
    small = prior.detach().clone().requires_grad_()
    build().kl_loss(post, small).backward()
    assert (small.grad == 0).all()


# ---- the whole loss


@pytest.mark.parametrize("elu_output", [False, True])
def test_loss_against_float64(noise, elu_output):
    model = sharpen(build(elu_output=elu_output))
    batch = make_batch(3, 6, resets=[(0, 3), (2, 5)])
    seen, total, metrics = run(model, batch)
    steps = noise.categorical_steps(3, GROUPS[0])[:6]
    want = ref.world_model_loss(ref.weights(model), batch, steps, GROUPS, DETER, elu_output=elu_output)
    assert want["model_kl"] > 1.1
    for key, value in want.items():
        assert metrics[key].item() == pytest.approx(value.item(), rel=1e-4), key
    assert total.item() == pytest.approx(want["model_loss"].item(), rel=1e-4)
    assert seen.kl.shape == (3, 6) and not seen.kl.requires_grad
    assert set(metrics) == set(want)


@pytest.mark.parametrize("grad_heads", [("decoder",), ("decoder", "reward"), ("reward",), ()])
def test_gradients_against_float64(noise, grad_heads):
    model = sharpen(build(grad_heads))
    batch = make_batch(2, 4, resets=[(1, 2)])
    _, total, _ = run(model, batch)
    total.backward()
    weight = ref.weights(model, grad=True)
    steps = noise.categorical_steps(2, GROUPS[0])[:4]
    ref.world_model_loss(weight, batch, steps, GROUPS, DETER, grad_heads)["model_loss"].backward()
    for name, p in model.named_parameters():
        want = weight[name].grad
        scale = want.abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(
            p.grad.double(), want, rtol=2e-3, atol=2e-4 * scale, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_reward_reaches_the_representation_only_when_asked():
    batch = make_batch(2, 4)
    for heads, reached in [(("decoder",), False), (("decoder", "reward"), True)]:
        # without the other two losses whatever reaches the encoder comes from the reward
        model = build(heads, loss_scales={"kl": 0.0, "observation": 0.0, "reward": 1.0})
        run(model, batch)[1].backward()
        for part in (model.encoder, model.rssm.posterior_out, model.rssm.cell):
            total = sum(p.grad.abs().sum().item() for p in part.parameters() if p.grad is not None)
            assert (total > 0) == reached
        assert all(p.grad.abs().sum() > 0 for p in model.reward_head.parameters())


def test_loss_scales():
    batch = make_batch(2, 4)
    torch.manual_seed(1)
    _, _, parts = run(build(), batch)
    torch.manual_seed(1)
    model = build(loss_scales={"kl": 2.0, "reward": 0.5})
    torch.manual_seed(1)
    _, total, _ = run(model, batch)
    torch.manual_seed(1)
    _, _, parts = run(model, batch)
    want = 2 * parts["kl_loss"] + parts["observation_loss"] + 0.5 * parts["reward_loss"]
    torch.testing.assert_close(total.detach(), want)


def test_perfect_reconstruction_costs_11291_9():
    model = build()
    batch = make_batch(2, 3)
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    image = batch["observation"].double() / 255 - 0.5
    model.decoder.beside = lambda given, feat: (given, to_phases(image))
    metrics = model.loss(seen, everywhere(batch["reward"]))[1].logged
    assert metrics["observation_loss"].item() == pytest.approx(11291.9, abs=0.05)


def test_perfect_reward_costs_0_919():
    model = build()
    batch = make_batch(2, 3)
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    metrics = model.loss(seen, everywhere(model.reward(seen.feat).detach()))[1].logged
    assert metrics["reward_loss"].item() == pytest.approx(0.919, abs=5e-4)


# ---- rewards and where they count


def test_invalid_rewards_do_not_count():
    model = build()
    batch = make_batch(2, 4)
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[0, 0] = valid[1, 2] = False
    value = batch["reward"].clone()
    value[~valid] = 1e6
    metrics = model.loss(seen, Scored(value, valid))[1].logged
    error = model.reward(seen.feat).detach().double() - batch["reward"].double()
    want = (0.5 * error.square() + ref.HALF_LOG_2PI)[valid].mean()
    assert metrics["reward_loss"].item() == pytest.approx(want.item(), rel=1e-5)


def test_invalid_rewards_may_be_nan():
    model = build()
    batch = make_batch(2, 4)
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    valid = torch.ones(2, 4, dtype=torch.bool)
    valid[0, 0] = False
    value = torch.where(valid, batch["reward"], torch.nan)
    total, found = model.loss(seen, Scored(value, valid))
    assert found.losses["reward_loss"].isfinite()
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_reward_head_with_one_output_per_skill():
    model = build(reward_outputs=3)
    batch = make_batch(2, 4)
    seen = model.observe(batch["observation"], batch["action"], batch["is_first"])
    value, valid = torch.randn(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
    valid[0, 1] = False
    metrics = model.loss(seen, Scored(value, valid))[1].logged
    out = ref.mlp(ref.weights(model.reward_head), seen.feat.detach().double())
    want = (0.5 * (out - value.double()).square() + ref.HALF_LOG_2PI).mean(-1)[valid].mean()
    assert metrics["reward_loss"].item() == pytest.approx(want.item(), rel=1e-5)
    skill = F.one_hot(torch.tensor([2, 0]), 3).float()[:, None].expand(2, 4, 3)
    read = model.reward(seen.feat, skill)
    torch.testing.assert_close(read.double(), torch.stack([out[0, :, 2], out[1, :, 0]]), rtol=1e-5, atol=1e-6)


# ---- open-loop video


def test_open_loop_video(noise):
    model = build()
    batch = make_batch(2, 8)
    video = model.open_loop(batch["observation"], batch["action"], batch["is_first"])
    assert video.shape == (2, 8, 3, 192, 64) and video.dtype == torch.float32
    assert video.min() >= 0 and video.max() <= 1
    truth, shown, error = video.double().split(64, -2)
    torch.testing.assert_close(truth, batch["observation"].double() / 255, rtol=0, atol=1e-6)
    torch.testing.assert_close(error, (shown - truth + 1) / 2, rtol=0, atol=1e-6)
    # five filtered steps, then the prior with the recorded actions
    weight, drawn = ref.weights(model), noise.categorical
    image = batch["observation"].double() / 255 - 0.5
    embed = ref.encode(ref.below(weight, "encoder"), image[:, :5].flatten(0, 1)).reshape(2, 5, -1)
    rssm = ref.below(weight, "rssm")
    steps = torch.stack(drawn[:5])
    deter, stoch, _, _ = ref.observe(
        rssm, embed, batch["action"][:, :5], batch["is_first"][:, :5], steps, GROUPS, DETER
    )
    feats = [ref.feature(stoch[:, t], deter[:, t]) for t in range(5)]
    h, s = deter[:, 4], stoch[:, 4]
    for t, step in zip(range(5, 8), drawn[-3:], strict=True):
        h = ref.rssm_deter(rssm, s, h, batch["action"][:, t].double())
        s = ref.one_hot(ref.softmax(ref.rssm_prior(rssm, h, GROUPS)), step.double())
        feats.append(ref.feature(s, h))
    for t, feat in enumerate(feats):
        want = (ref.decode(ref.below(weight, "decoder"), feat) + 0.5).clamp(0, 1)
        torch.testing.assert_close(shown[:, t], want.detach(), rtol=0, atol=1e-4)


def test_open_loop_video_of_a_short_window():
    batch = make_batch(2, 4)
    video = build().open_loop(batch["observation"], batch["action"], batch["is_first"])
    assert video.shape == (2, 4, 3, 192, 64)
