"""The published configuration: parameter counts of the published program, values at the start, one update."""

import pytest
import torch
from agent_kit import OBS, composed, copies, make_agent, make_batch, moved

from agents.nn.networks import parameter_count
from utils.config import CONFIGS

OVERRIDES = ("device=cpu",)


@pytest.fixture(scope="module")
def published():
    return make_agent(composed("pretrain", *OVERRIDES))


def test_the_published_values_are_composed():
    config = composed("pretrain")
    assert config["rssm"] == {"deter": 200, "hidden": 200, "stoch": 32, "discrete": 32}
    assert (config["batch_size"], config["batch_length"], config["imag_horizon"]) == (50, 50, 15)
    assert (config["discount"], config["discount_lambda"], config["actor_grad"]) == (0.99, 0.95, "dynamics")
    assert (config["slow_target"], config["slow_target_update"], config["slow_target_fraction"]) == (True, 100, 1)
    assert config["model_opt"] == {"lr": 3e-4, "eps": 1e-5, "clip": 100, "wd": 1e-6}
    assert config["actor_opt"] == config["critic_opt"] == {"lr": 8e-5, "eps": 1e-5, "clip": 100, "wd": 1e-6}
    assert config["kl"] == {"free": 1.0, "balance": 0.8}
    assert set(config["loss_scales"].values()) == {1.0}
    assert config["agent"]["grad_heads"] == ["decoder"] and config["agent"]["actor_ent"] == 1e-4


@pytest.mark.parametrize("name", ["dreamer", "random_dreamer"])
def test_finetuning_settings_win_over_the_agent(name):
    agent = composed("finetune", f"agent={name}", "agent.actor_ent=1e-4")["agent"]
    assert agent["name"] == name and agent["grad_heads"] == ["decoder", "reward"]
    assert agent["reward_norm"]["momentum"] == 1 and agent["actor_ent"] == 1e-4


def test_parameter_counts(published):
    model = published.world_model
    assert parameter_count(model) == 13_656_772
    assert parameter_count(model.encoder) == 1_551_312
    assert parameter_count(model.rssm) == 1_247_248
    assert parameter_count(model.decoder) == 9_886_611
    assert parameter_count(model.reward_head) == 971_601
    behavior = published.main.behavior
    assert parameter_count(behavior.actor) == 976_012
    assert parameter_count(behavior.critic) == parameter_count(behavior.slow_critic) == 971_601
    assert parameter_count(published.main.method) == 0


@torch.no_grad()
def test_shapes(published):
    model = published.world_model
    image = torch.rand(2, 3, *OBS) - 0.5
    assert model.encoder(image).shape == (2, 3, 1536)
    latent = model.rssm.initial(4)
    assert latent.feat.shape == (4, 1224)
    assert model.decoder(latent.feat.reshape(2, 2, 1224)).shape == (2, 2, *OBS)
    assert model.reward(latent.feat).shape == (4,)


def test_every_parameter_is_in_exactly_one_optimiser(published):
    behavior = published.main.behavior
    optimised = [p for o in (published.model_opt, *behavior.optimizers.values()) for p in o.parameters]
    assert len({id(p) for p in optimised}) == len(optimised)
    assert {id(p) for p in optimised} == {id(p) for p in published.parameters() if p.requires_grad}
    assert sum(p.numel() for p in optimised) == 13_656_772 + 976_012 + 971_601
    for optimizer, lr in [(published.model_opt, 3e-4), *((o, 8e-5) for o in behavior.optimizers.values())]:
        (group,) = optimizer.adam.param_groups
        assert (group["lr"], group["eps"], group["betas"], optimizer.clip) == (lr, 1e-5, (0.9, 0.999), 100)


AGENTS = sorted(path.stem for path in (CONFIGS / "agent").glob("*.yaml"))


@pytest.mark.parametrize("script, name", [("finetune", "dreamer"), *(("pretrain", name) for name in AGENTS)])
def test_one_update(script, name):
    agent = make_agent(composed(script, f"agent={name}", *OVERRIDES), phase=script)
    behavior = agent.main.behavior
    parts = {
        "model": agent.world_model,
        "actor": behavior.actor,
        "critic": behavior.critic,
        "method": agent.main.method,
    }
    before = {key: copies(part) for key, part in parts.items()}
    metrics = agent.update(make_batch(2, 50, skill=agent.skill_dim)).logged
    assert all(v.isfinite() for v in metrics.values())
    assert metrics["post_ent"].item() == pytest.approx(110.8, abs=0.15)
    assert metrics["prior_ent"].item() == pytest.approx(110.8, abs=0.15)
    assert metrics["kl_loss"].item() == 1  # free nats
    untouched = {"actor", "critic"} if name == "random_dreamer" else set()
    if not untouched:
        assert metrics["actor_ent"].item() == pytest.approx(9.1, abs=0.1)
    for key, part in parts.items():
        learned = {n for n, p in part.named_parameters() if p.requires_grad}
        assert moved(part, before[key]) == (set() if key in untouched else learned)
