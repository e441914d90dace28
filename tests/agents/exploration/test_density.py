"""The density model of all skills: its loss, the errors under every skill, and that it learns whose image it is."""

import copy
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from agents.exploration import density as density_module
from agents.exploration.density import SkillDensity
from agents.nn.optimizer import Optimizer
from utils.errors import UserError

N = 3


def build(*, image_size=32, source=64, seed=0, spread=True, **more):
    """A small model of ``source`` px images; ``spread`` makes weights so large that skills and routes matter."""
    torch.manual_seed(seed)
    settings = {"latent_dim": 4, "num_modules": 2, "module_hidden": 12, "cnn_depth": 2} | more
    model = SkillDensity((3, source, source), N, image_size=image_size, **settings)
    if spread:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.dim() > 1 and "norm" not in name and "moments" not in name:
                    p.mul_(2)
            for name, b in model.named_buffers():
                if "mean" in name:
                    b.normal_(0, 0.1)
                elif "var" in name:
                    b.uniform_(0.5, 2)
    return model


def images(*lead, source=64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*lead, 3, source, source), generator=generator, dtype=torch.uint8)


def one_hot(*lead, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.one_hot(torch.randint(N, lead, generator=generator), N).float()


@pytest.fixture
def draws(monkeypatch):
    """Every torch.randn the model makes, in order."""
    found, randn = [], torch.randn

    def recorded(*args, **kwargs):
        found.append(randn(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(torch, "randn", recorded)
    return found


def modelled(obs, image_size):
    """One uint8 image (3, S, S) as the model's target, by loops over blocks of pixels."""
    x = obs.double() / 255 - 0.5
    block = x.shape[-1] // image_size
    rows = [x[:, i * block : (i + 1) * block].mean(1) for i in range(image_size)]
    x = torch.stack(rows, 1)
    columns = [x[:, :, i * block : (i + 1) * block].mean(2) for i in range(image_size)]
    return torch.stack(columns, 2)


@torch.no_grad()
def evaluate_one(model, obs, skill, noise, image_size=32):
    """e and k of one image under one skill with its latent noise (latent,): networks in float32, else float64."""
    image = modelled(obs, image_size)
    embedding = model.skill_in(skill)[None]
    moments = model.moments(model.encoder(model.image_in(image.float()[None]), embedding))[0].double()
    mean, log_var = moments[: model.latent_dim], moments[model.latent_dim :]
    std = torch.exp(log_var / 2)
    divergence = kl_divergence(Normal(mean, std), Normal(torch.zeros(()).double(), 1.0)).sum()
    latent = (mean + std * noise.double()).float()
    reconstruction = model.image_out(model.decoder(model.latent_in(latent[None]), embedding))[0].double()
    error = sum((a - b) ** 2 for a, b in zip(image.flatten().tolist(), reconstruction.flatten().tolist(), strict=True))
    return error, divergence.item()


# ---- loss


@pytest.mark.parametrize("beta", [0.1, 2.0])
@pytest.mark.parametrize("image_size, source", [(32, 32), (32, 64), (64, 64)])
def test_loss_is_the_mean_over_valid_pairs(draws, beta, image_size, source):
    """Evaluation mode: with the statistics of a batch no pair could be computed alone."""
    model = build(image_size=image_size, source=source, batch_norm=True).eval()
    obs, skill = images(2, 3, source=source), one_hot(2, 3)
    valid = torch.tensor([[False, True, True], [True, False, True]])
    draws.clear()
    loss, metrics = model.loss(obs, skill, valid, beta)
    noise = torch.cat([x.flatten() for x in draws]).reshape(2, 3, 4)
    found = [
        evaluate_one(model, obs[b, t], skill[b, t], noise[b, t], image_size)
        for b, t in ((0, 1), (0, 2), (1, 0), (1, 2))
    ]
    error, divergence = (sum(x) / 4 for x in zip(*found, strict=True))
    assert loss.shape == () and loss.item() == pytest.approx(error + beta * divergence, rel=1e-5)
    assert metrics["density_error"].item() == pytest.approx(error, rel=1e-5)
    assert metrics["density_kl"].item() == pytest.approx(divergence, rel=1e-4) and divergence > 0.05
    assert not any(x.requires_grad for x in metrics.values())


def test_invalid_pairs_count_nowhere():
    """Without batch normalisation, whose statistics are of the whole batch, invalid pairs included."""
    model = build(batch_norm=False)
    obs, skill, valid = images(2, 3), one_hot(2, 3), torch.tensor([[False, True, True], [True, False, True]])

    def run(obs, skill):
        model.zero_grad()
        torch.manual_seed(4)
        loss, metrics = model.loss(obs, skill, valid, 0.1)
        loss.backward()
        return loss.item(), metrics, {name: p.grad.clone() for name, p in model.named_parameters()}

    loss, metrics, gradients = run(obs, skill)
    obs, skill = obs.clone(), skill.clone()
    obs[0, 0], obs[1, 1] = 255 - obs[0, 0], 0
    skill[0, 0], skill[1, 1] = skill[0, 0].roll(1), skill[1, 1].roll(1)
    other_loss, other_metrics, other_gradients = run(obs, skill)
    assert other_loss == loss and all(torch.equal(metrics[k], other_metrics[k]) for k in metrics)
    for name, gradient in gradients.items():
        torch.testing.assert_close(other_gradients[name], gradient, rtol=1e-5, atol=1e-6)
    # and the same change of a valid pair is seen
    obs[0, 1] = 255 - obs[0, 1]
    assert run(obs, skill)[0] != loss


def test_nothing_valid_gives_zero():
    model = build()
    loss, metrics = model.loss(images(2, 2), one_hot(2, 2), torch.zeros(2, 2, dtype=torch.bool), 0.1)
    loss.backward()
    assert loss.item() == 0 and all(x.item() == 0 for x in metrics.values())
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())


# ---- parameters


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("num_layers", [2, 3])
def test_every_parameter_gets_a_gradient(batch_norm, image_size, num_layers):
    """Above all those of the encoder's modules, which the published program never trained."""
    model = build(batch_norm=batch_norm, image_size=image_size, num_layers=num_layers)
    loss, _ = model.loss(images(6, 4), one_hot(6, 4), torch.ones(6, 4, dtype=torch.bool), 0.1)
    loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
        assert p.grad.abs().max() > 1e-6, name
    for body in (model.encoder, model.decoder):
        for layer in body.layers:
            assert (layer.weight.grad.abs().amax((1, 2)) > 1e-6).all()  # of every module


@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_step_moves_every_parameter(batch_norm):
    model = build(batch_norm=batch_norm)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = Optimizer(model.parameters(), lr=1e-3)
    optimizer.step(model.loss(images(6, 4), one_hot(6, 4), torch.ones(6, 4, dtype=torch.bool), 0.1)[0])
    same = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    assert not same


def test_the_skill_embedding_is_shared_and_the_bodies_are_not():
    model = build(num_modules=2, module_hidden=12)
    parts = {"image_in", "skill_in", "encoder", "moments", "latent_in", "decoder", "image_out"}
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == parts
    assert not {id(p) for p in model.encoder.parameters()} & {id(p) for p in model.decoder.parameters()}
    embedded = []
    for body in (model.encoder, model.decoder):
        body.register_forward_pre_hook(lambda _, inputs: embedded.append(inputs[1]))
    skill = one_hot(2, 2)
    model.loss(images(2, 2), skill, torch.ones(2, 2, dtype=torch.bool), 0.1)
    assert torch.equal(embedded[0], embedded[1])
    torch.testing.assert_close(embedded[0].reshape(2, 2, -1), model.skill_in(skill))


# ---- every skill


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("image_size, source", [(32, 32), (32, 64), (64, 64)])
def test_all_skills_is_every_pair_alone(draws, batch_norm, image_size, source):
    model = build(image_size=image_size, source=source, batch_norm=batch_norm)
    obs = images(2, 2, source=source)
    draws.clear()
    error, divergence = model.all_skills(obs)
    assert error.shape == divergence.shape == (2, 2, N)
    noise = torch.cat([x.flatten() for x in draws]).reshape(2, 2, 4)  # one draw per image, for all skills
    model.eval()
    for b in range(2):
        for t in range(2):
            for z in range(N):
                e, k = evaluate_one(model, obs[b, t], torch.eye(N)[z], noise[b, t], image_size)
                assert error[b, t, z].item() == pytest.approx(e, rel=1e-5)
                assert divergence[b, t, z].item() == pytest.approx(k, rel=1e-4, abs=1e-6)
    assert (error.std(-1) > 1e-3).all() and (divergence.std(-1) > 1e-4).all()  # skills differ


def test_the_stored_skill_has_the_error_of_the_loss():
    model = build(batch_norm=True).eval()
    obs, skill = images(4, 2), one_hot(4, 2)
    torch.manual_seed(7)
    loss, metrics = model.loss(obs, skill, torch.ones(4, 2, dtype=torch.bool), 0.1)
    torch.manual_seed(7)
    error, divergence = model.all_skills(obs)
    assert metrics["density_error"].item() == pytest.approx((error * skill).sum(-1).mean().item(), rel=1e-5)
    assert metrics["density_kl"].item() == pytest.approx((divergence * skill).sum(-1).mean().item(), rel=1e-4)


@pytest.mark.parametrize("chunk", [1, N, N + 1, 2 * N, 7 * N, 10_000])
def test_chunks_change_nothing(monkeypatch, chunk):
    model, obs = build(batch_norm=True), images(7)
    torch.manual_seed(3)
    want = model.all_skills(obs)
    rows = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    monkeypatch.setattr(density_module, "CHUNK", chunk)
    torch.manual_seed(3)
    found = model.all_skills(obs)
    assert sum(rows) == 7 and max(rows) <= max(chunk // N, 1)
    for a, b in zip(found, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_score_that_fails_leaves_the_mode_as_it_was(monkeypatch):
    """A capture that CUDA refuses ends anywhere, and learning goes on after it."""
    model = build(batch_norm=True)
    monkeypatch.setattr(model.moments, "forward", lambda x: x / None)
    with pytest.raises(TypeError):
        model.all_skills(images(2))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("training", [True, False])
def test_all_skills_leaves_the_model_as_it_was(training):
    model, obs = build(batch_norm=True).train(training), images(4)
    before = copy.deepcopy(model.state_dict())
    error, divergence = model.all_skills(obs)
    assert not error.requires_grad and not divergence.requires_grad
    assert all(module.training is training for module in model.modules())
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert all(p.requires_grad for p in model.parameters())


def test_the_rest_of_a_batch_does_not_matter():
    """Running statistics, not those of the batch, even while training."""
    model, obs = build(batch_norm=True), images(5)
    results = []
    for batch in (obs, torch.cat([obs[:1], 255 - obs[1:]])):
        torch.manual_seed(3)
        results.append(model.all_skills(batch)[0][0])
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)


def test_the_loss_moves_the_running_statistics():
    model = build(batch_norm=True)
    before = copy.deepcopy(dict(model.named_buffers()))
    model.loss(images(4, 2), one_hot(4, 2), torch.ones(4, 2, dtype=torch.bool), 0.1)
    assert before and not any(torch.equal(b, before[name]) for name, b in model.named_buffers())


@pytest.mark.parametrize("lead", [(1,), (5,), (2, 3), (1, 1)])
@pytest.mark.parametrize("image_size, source", [(32, 32), (32, 64), (64, 64)])
def test_shapes(lead, image_size, source):
    model = build(image_size=image_size, source=source, batch_norm=False)
    error, divergence = model.all_skills(images(*lead, source=source))
    assert error.shape == divergence.shape == (*lead, N)
    assert (error > 0).all() and (divergence >= 0).all()
    loss, _ = model.loss(images(*lead, source=source), one_hot(*lead), torch.ones(*lead, dtype=torch.bool), 0.1)
    assert loss.shape == ()


@pytest.mark.parametrize("log_var", [3.0, 5.0, 40.0])
def test_a_posterior_far_outside_the_data_is_bounded_when_scored(log_var):
    """0.5 (exp(v) - 1 - v) for each of the 4 latents, v at most 5; the loss sees v as it is."""
    model, obs = build(), images(2)
    with torch.no_grad():
        model.moments.weight.zero_()
        model.moments.bias.copy_(torch.tensor([0.0] * 4 + [log_var] * 4))

    def divergence(v):
        return torch.full((2,), 4 * 0.5 * (math.exp(v) - 1 - v))

    scored = model.all_skills(obs)[1]
    torch.testing.assert_close(scored, divergence(min(log_var, 5.0))[:, None].expand(2, N))
    _, metrics = model.train().loss(obs, one_hot(2), torch.ones(2, dtype=torch.bool), 0.1)
    torch.testing.assert_close(metrics["density_kl"], divergence(log_var)[0])


def test_noise_is_drawn_anew():
    model, obs = build(), images(3)
    assert not torch.equal(model.all_skills(obs)[0], model.all_skills(obs)[0])


# ---- learning


def two_regions(count, seed):
    """(2, count, 3, 32, 32): bright squares on dark ground for skill 0, dark bars on light ground for skill 1."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.empty((2, count, 3, 32, 32), dtype=torch.uint8)
    x[0], x[1] = 40, 200
    for i in range(count):
        row, column, bar = torch.randint(24, (3,), generator=generator).tolist()
        x[0, i, :, row : row + 8, column : column + 8] = 220
        x[1, i, :, :, bar : bar + 4] = 20
    return x


def learn(batch_norm, steps, seed=0):
    """Errors (2 regions, images, 2 skills) of unseen images before and after training."""
    torch.manual_seed(seed)
    model = SkillDensity(
        (3, 32, 32), 2, latent_dim=8, num_modules=2, module_hidden=32, image_size=32, cnn_depth=4, batch_norm=batch_norm
    )
    optimizer = Optimizer(model.parameters(), lr=1e-3)
    data, unseen = two_regions(200, seed=1), two_regions(100, seed=2)
    skill = torch.eye(2)[:, None].expand(2, 16, 2)
    before = model.all_skills(unseen)[0]
    for _ in range(steps):
        obs = data[:, torch.randint(200, (16,))]
        optimizer.step(model.loss(obs, skill, torch.ones(2, 16, dtype=torch.bool), 0.1)[0])
    return before, model.all_skills(unseen)[0]


def own_is_smaller(error):
    """Share of images whose own skill has the smaller error, by region."""
    return [(error[z, :, z] < error[z, :, 1 - z]).float().mean().item() for z in range(2)]


def test_it_learns_which_images_belong_to_a_skill():
    before, after = learn(batch_norm=False, steps=250)
    own, other = (torch.stack([after[0, :, z], after[1, :, 1 - z]]).mean().item() for z in (0, 1))
    assert own < 0.5 * before.mean().item() and own < 0.9 * other
    assert min(own_is_smaller(after)) > 0.7 and sum(own_is_smaller(after)) / 2 > 0.85


def test_it_learns_which_images_belong_to_a_skill_with_batch_norm():
    """It reconstructs much sooner, and tells the skills apart much later: most images, by a little, is all so far."""
    before, after = learn(batch_norm=True, steps=300)
    own, other = (torch.stack([after[0, :, z], after[1, :, 1 - z]]).mean().item() for z in (0, 1))
    assert own < 0.5 * before.mean().item() and own < other
    assert sum(own_is_smaller(after)) / 2 > 0.55


def test_images_that_cannot_be_averaged_down_are_refused():
    with pytest.raises(UserError, match=r"agent\.density_image_size=64 .*84 px"):
        SkillDensity((3, 84, 84), 3, image_size=64)
