"""The density model on states: one linear layer at each end, errors summed over the raw numbers."""

import pytest
import torch
from agent_kit import composed
from torch.distributions import Normal, kl_divergence

from agents.exploration.density import SkillDensity
from agents.nn.networks import parameter_count
from agents.nn.optimizer import Optimizer

N, STATE, HIDDEN, LATENT = 3, 5, 12, 4


def build(seed=0, **more):
    torch.manual_seed(seed)
    settings = {"latent_dim": LATENT, "num_modules": 2, "module_hidden": HIDDEN, "batch_norm": False} | more
    return SkillDensity((STATE,), N, **settings)


def test_errors_and_divergences_by_hand(monkeypatch):
    model, noise = build(), torch.randn(6, 1, LATENT)
    obs = 10 * torch.randn(2, 3, STATE)
    monkeypatch.setattr(torch, "randn", lambda *shape, **_: noise.reshape(shape))
    error, divergence = model.all_skills(obs)
    assert error.shape == divergence.shape == (2, 3, N)
    for row, state in enumerate(obs.flatten(0, 1)):
        for z in range(N):
            embedding = model.skill_in(torch.eye(N)[z])[None]
            moments = model.moments(model.encoder(model.state_in(state[None]), embedding))[0].double()
            mean, std = moments[:LATENT], torch.exp(moments[LATENT:] / 2)
            k = kl_divergence(Normal(mean, std), Normal(torch.zeros(LATENT).double(), 1.0)).sum()
            latent = (mean + std * noise[row, 0].double()).float()
            back = model.state_out(model.decoder(model.latent_in(latent[None]), embedding))[0].double()
            e = sum((a - b) ** 2 for a, b in zip(state.tolist(), back.tolist(), strict=True))
            assert error.flatten(0, 1)[row, z].item() == pytest.approx(e, rel=1e-4)
            assert divergence.flatten(0, 1)[row, z].item() == pytest.approx(k.item(), rel=1e-4)
    skill, valid = torch.eye(N)[torch.tensor([[0, 1, 2], [2, 1, 0]])], torch.ones(2, 3, dtype=torch.bool)
    valid[1, 2] = False
    loss, _ = model.loss(obs, skill, valid, beta=0.5)
    want = ((error + 0.5 * divergence) * skill).sum(-1)[valid].mean()
    assert loss.item() == pytest.approx(want.item(), rel=1e-4)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_every_parameter_is_there_once_and_gets_a_gradient(batch_norm):
    model = build(batch_norm=batch_norm)
    assert parameter_count(model.state_in) == (STATE + 1) * HIDDEN
    assert parameter_count(model.state_out) == (HIDDEN + 1) * STATE
    assert not hasattr(model, "image_in")
    skill = torch.eye(N)[torch.arange(16) % N].reshape(4, 4, N)
    model.loss(torch.randn(4, 4, STATE), skill, torch.ones(4, 4, dtype=torch.bool), 0.5)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_learns_whose_states_they_are():
    model = build(latent_dim=2, module_hidden=32)
    optimizer = Optimizer(
        model.parameters(),
        **composed("pretrain", "agent=deviation_dreamer", "configs=dmc_states", "agent.method_opt.lr=3e-3")["agent"][
            "method_opt"
        ],
    )
    assert optimizer.clip == 0.5
    centres = 4 * torch.eye(N, STATE)
    for _ in range(150):
        index = torch.randint(N, (1, 64))
        obs = centres[index] + 0.3 * torch.randn(1, 64, STATE)
        optimizer.step(model.loss(obs, torch.eye(N)[index], torch.ones(1, 64, dtype=torch.bool), 0.5)[0])
    index = torch.arange(60) % N
    error, _ = model.all_skills(centres[index] + 0.3 * torch.randn(60, STATE))
    assert (error.argmin(-1) == index).float().mean() > 0.9
