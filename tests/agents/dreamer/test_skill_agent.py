"""The Dreamer agent with skills: SD3 as composed from its configuration."""

import pytest
import torch
from agent_kit import composed, copies, make_agent, make_batch, moved, tiny
from skill_kit import ONE_OUTPUT, SD3, N, finetuning, pretraining, records

from agents.dreamer.behavior import imagine
from agents.exploration.density import SkillDensity
from agents.exploration.deviation import Deviation
from agents.exploration.intrinsic_reward import everywhere
from agents.nn.networks import parameter_count

# ---- the reward head


def test_outputs_of_the_reward_head():
    assert pretraining().world_model.reward_head[-1].out_features == N
    assert pretraining("agent.skill_dim=7").world_model.reward_head[-1].out_features == 7
    assert pretraining(ONE_OUTPUT).world_model.reward_head[-1].out_features == 1
    assert finetuning().world_model.reward_head[-1].out_features == 1


@pytest.mark.parametrize("overrides, shape", [((), (3, 6, N)), ((ONE_OUTPUT,), (3, 6))])
def test_the_head_learns_the_score(spy, overrides, shape):
    agent = pretraining(*overrides)
    scores, losses = spy(agent.main.method, "score_replay"), spy(agent.world_model, "loss")
    batch = records()
    metrics = agent.update(batch).logged
    (view,), scored = scores.one
    (_, target), _ = losses.one
    assert scored.value.shape == shape and torch.equal(target.value, scored.value)
    assert not target.value.requires_grad
    assert torch.equal(view.obs, batch["observation"]) and torch.equal(view.skill, batch["skill"])
    assert torch.equal(view.skill_valid, batch["skill_valid"])
    for key, value in scored.metrics.items():
        assert torch.equal(metrics[key], value)


def test_the_loss_of_the_head_is_over_all_skills():
    """Unit-variance Gaussian, averaged over records and skills."""
    agent, batch = pretraining(), records()
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    target = torch.randn(3, 6, N)
    metrics = agent.world_model.loss(seen, everywhere(target))[1].logged
    out = agent.world_model.reward_head(seen.feat)
    total = 0.0
    for b in range(3):
        for t in range(6):
            for z in range(N):
                total += 0.5 * (out[b, t, z] - target[b, t, z]).item() ** 2 + 0.9189385
    assert metrics["reward_loss"].item() == pytest.approx(total / (3 * 6 * N), rel=1e-5)


def test_the_task_reward_does_not_matter_in_pretraining():
    results = []
    for reward in (0.0, 100.0):
        agent, batch = pretraining(), records()
        batch["reward"] = torch.full_like(batch["reward"], reward)
        torch.manual_seed(1)
        results.append(agent.update(batch).logged)
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])


def plant_rewards(agent, rewards=(10.0, 20.0, 30.0, 40.0)):
    """Every state gives rewards[z] under skill z."""
    last = agent.world_model.reward_head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(rewards))


def test_imagination_reads_the_output_of_its_own_skill():
    agent, batch = pretraining(), records()
    plant_rewards(agent)
    start = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"]).post.detach().flatten()
    skill = torch.eye(N)[torch.arange(18) % N]
    traj, _ = imagine(agent.world_model.rssm, agent.main.behavior.actor, start, skill, 5)
    value = agent.main.score(agent.world_model, traj).value
    want = torch.tensor([10.0, 20, 30, 40])[torch.arange(18) % N].expand(6, 18)
    torch.testing.assert_close(value, want)


def test_an_update_imagines_with_one_skill_per_start(spy):
    agent = pretraining()
    updates, rewards = spy(agent.main.behavior, "update"), spy(agent.world_model, "reward")
    agent.update(records(4, 8))
    (_, start, skill, *_), _ = updates.one
    assert skill.shape == (32, N) == (len(start.deter), N) and (skill.sum(-1) == 1).all()
    assert (skill.sum(0) > 0).all()  # fresh draws, not the stored ones
    (feat, held), value = rewards.one
    assert value.shape == feat.shape[:2] == (6, 32)
    assert all(torch.equal(x, skill) for x in held)


def test_the_imagined_reward_differs_by_skill_through_one_update(spy):
    agent = pretraining("agent.reward_norm.momentum=1")
    plant_rewards(agent)
    agent.model_opt.step = lambda loss: loss.detach()  # the head stays as planted
    updates = spy(agent.main.behavior, "update")
    metrics = agent.update(records()).logged
    (_, _, skill, *_), _ = updates.one
    want = (skill @ torch.tensor([10.0, 20, 30, 40])).mean().item()
    assert metrics["reward_mean"].item() == pytest.approx(want, rel=1e-5)


def test_a_head_with_one_output_ignores_the_skill(spy):
    agent = pretraining(ONE_OUTPUT)
    feat = torch.randn(2, 5, agent.world_model.rssm.feat_dim)
    a, b = (agent.world_model.reward(feat, torch.eye(N)[[z] * 5].expand(2, 5, N)) for z in (0, 1))
    assert a.shape == (2, 5) and torch.equal(a, b)


def test_skill_spread_is_the_deviation_of_the_mean_action_over_skills():
    agent = pretraining()
    feat = torch.randn(70, 32)
    spread = agent.main.skill_spread(feat)
    actor = agent.main.behavior.actor
    means = torch.stack([actor(feat[:64], skill.expand(64, -1)).mean for skill in torch.eye(N)]).double()
    assert spread.item() == pytest.approx(means.std(0).mean().item(), rel=1e-4)
    with torch.no_grad():
        actor.net[0].weight[:, 32:] = 0  # blind to the skill
    assert agent.main.skill_spread(feat) < 1e-6
    assert "skill_spread" in agent.update(records()).metrics
    assert "skill_spread" not in make_agent(tiny()).update(make_batch()).metrics


# ---- the density model


def test_the_density_model_is_trained_before_it_scores(monkeypatch):
    agent = pretraining()
    density, seen = agent.main.method.density, []
    score = agent.main.method.score_replay
    start = copies(density)
    monkeypatch.setattr(agent.main.method, "score_replay", lambda view: (seen.append(copies(density)), score(view))[1])
    agent.update(records(4, 8))
    (scoring,) = seen
    assert any(not torch.equal(scoring[name], start[name]) for name in start)
    assert moved(density, scoring) == set()


def test_the_density_loss_reaches_nothing_else():
    agent, batch = pretraining(), records()
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    view = agent._view(seen, batch)
    assert not any(x.requires_grad for x in (view.embed, view.feat, view.kl, *view.post))
    metrics = agent.main.train_method(view).logged
    for part in (agent.world_model, agent.main.behavior):
        assert all(p.grad is None for p in part.parameters())
    assert sum(p.grad is not None for p in agent.main.method.parameters()) > 0
    assert set(metrics) == {"density_loss", "density_grad_norm", "density_error", "density_kl"}


def test_nothing_else_reaches_the_density_model():
    agent, batch = pretraining("agent.method_opt.lr=1e-30", "agent.method_opt.wd=0"), records()
    before = copies(agent.main.method)
    agent.update(batch)
    for name, p in agent.main.method.named_parameters():
        torch.testing.assert_close(p, before[name], rtol=0, atol=1e-20)


@pytest.mark.parametrize("batch_norm", ["true", "false"])
def test_one_update_moves_everything(batch_norm):
    agent = pretraining("kl.free=0", f"agent.batch_norm={batch_norm}")
    before = copies(agent)
    metrics = agent.update(records(4, 8)).logged
    assert not set(before) - moved(agent, before)
    assert {"density_loss", "density_acc", "deviation", "exploration", "actor_loss", "critic_loss"} <= set(metrics)
    for key, value in metrics.items():
        assert value.shape == () and value.isfinite() and not value.requires_grad, key


def test_the_optimiser_of_the_density_model_is_its_own():
    agent = pretraining("agent.method_opt.lr=0.123", "agent.method_opt.clip=7", "model_opt.lr=0.456")
    assert {id(p) for p in agent.main.method_opt.parameters} == {id(p) for p in agent.main.method.parameters()}
    assert agent.main.method_opt.adam.param_groups[0]["lr"] == 0.123 and agent.main.method_opt.clip == 7
    assert agent.model_opt.adam.param_groups[0]["lr"] == 0.456


def test_finetuning_has_no_density_model():
    agent = finetuning()
    assert agent.main.method_opt is None and parameter_count(agent.main.method) == 0 and agent.skill_dim == N
    metrics = agent.update(records()).logged
    assert not {key for key in metrics if "density" in key or "deviation" in key}
    assert agent.main.scores == "none"


def test_finetuning_learns_the_task_reward(spy):
    agent, batch = finetuning(), records()
    losses = spy(agent.world_model, "loss")
    agent.update(batch)
    (_, target), _ = losses.one
    assert torch.equal(target.value, batch["reward"])


def test_the_entropy_weight_of_finetuning_is_the_tasks():
    """The published program leaves that of pre-training."""
    config = composed("finetune", SD3, "domain=walker")
    assert config["agent"]["actor_ent"] == 1e-4 != composed("pretrain", SD3)["agent"]["actor_ent"]
    assert finetuning("task_actor_ent=0.25").main.behavior.terms["actor"].entropy == 0.25
    assert config["agent"]["reward_norm"]["momentum"] == 1


# ---- published sizes


@pytest.fixture(scope="module")
def published():
    return make_agent(composed("pretrain", SD3, "device=cpu"))


def body(hidden, modules, layers):
    """The body of soft modules that SD3 publishes, with batch normalisation before and after every linear map."""
    linear = hidden * hidden + hidden
    module = hidden * hidden + (1 + 2) * hidden  # the first normalisation and the linear map need no bias
    logits = (layers - 1) * (hidden + 1) * modules**2 + (hidden + 1) * modules
    conditions = sum((modules**2 * known + 1) * hidden for known in range(1, layers))
    return layers * modules * module + linear + logits + conditions


def test_parameter_counts_at_the_published_sizes(published):
    n, hidden, latent, depth = 16, 1024, 2, 48
    density = published.main.method.density
    assert isinstance(published.main.method, Deviation) and isinstance(density, SkillDensity)
    counts = {name: parameter_count(part) for name, part in density.named_children()}
    widths = [3, depth, 2 * depth, 4 * depth, 8 * depth]
    convolutions = sum((i * 16 + 1) * o for i, o in zip(widths, widths[1:], strict=False))
    assert convolutions == 1_551_312  # the encoder of the agent itself
    up = [32 * depth, 4 * depth, 2 * depth, depth, 3]
    transposed = sum((i * k * k + 1) * o for i, o, k in zip(up, up[1:], (5, 5, 6, 6), strict=False))
    want = {
        "image_in": convolutions + (4 * 8 * depth + 1) * hidden,
        "skill_in": (n + 1) * hidden,
        "encoder": body(hidden, 4, 2),
        "moments": (hidden + 1) * 2 * latent,
        "latent_in": (latent + 1) * hidden,
        "decoder": body(hidden, 4, 2),
        "image_out": (hidden + 1) * 32 * depth + transposed,
    }
    assert counts == want
    assert parameter_count(published.main.method) == sum(want.values())
    assert parameter_count(published.world_model.reward_head) == 971_601 + 15 * 401
    assert parameter_count(published.main.behavior.actor) == 976_012 + 16 * 400
    assert parameter_count(published.main.behavior.critic) == 971_601 + 16 * 400


def test_two_updates_at_the_published_sizes(published):
    before = copies(published)
    for i in range(2):
        metrics = published.update(make_batch(1, 3, seed=i, skill=16)).logged
        assert all(v.isfinite() for v in metrics.values())
    assert not set(before) - moved(published, before)
