"""The Dreamer agent with skills: SD3 as composed from its configuration (card sections 3, 4 and 6)."""

import io
import re

import pytest
import torch
from agent_kit import OBS, composed, copies, make_agent, make_batch, moved, tiny

from agents.dreamer import agent as agent_module
from agents.dreamer.behavior import Behavior, imagine
from agents.exploration.density import SkillDensity
from agents.exploration.deviation import Deviation
from agents.nn.networks import parameter_count

N = 4
SD3 = "agent=deviation_dreamer"
ONE_OUTPUT = "agent.skill_conditioned_reward=false"


def pretraining(*overrides, seed=0):
    return make_agent(tiny("pretrain", SD3, *overrides), seed=seed)


def finetuning(*overrides, seed=0):
    return make_agent(tiny("finetune", SD3, "domain=walker", *overrides), "finetune", seed=seed)


def records(batch=3, length=6, seed=0, **more):
    return make_batch(batch, length, seed=seed, skill=N, **more)


class Spy:
    """Calls of a function that still does what it did: (arguments, result)."""

    def __init__(self, monkeypatch, owner, name):
        self.calls, original = [], getattr(owner, name)

        def spied(*args, **kwargs):
            result = original(*args, **kwargs)
            self.calls.append((args, result))
            return result

        monkeypatch.setattr(owner, name, spied)

    @property
    def one(self):
        assert len(self.calls) == 1
        return self.calls[0]


@pytest.fixture
def spy(monkeypatch):
    return lambda owner, name: Spy(monkeypatch, owner, name)


class Rotating:
    """Skills of a space replaced by one-hot vectors that differ from draw to draw."""

    def __init__(self, monkeypatch, agent):
        self.draws = 0
        monkeypatch.setattr(agent.skills.space, "sample", self.sample)

    def sample(self, count, device):
        self.draws += 1
        return torch.eye(N)[(torch.arange(count) + self.draws) % N]


# ---- the reward head


def test_outputs_of_the_reward_head():
    assert pretraining().world_model.reward_head[-1].out_features == N
    assert pretraining("agent.skill_dim=7").world_model.reward_head[-1].out_features == 7
    assert pretraining(ONE_OUTPUT).world_model.reward_head[-1].out_features == 1
    assert finetuning().world_model.reward_head[-1].out_features == 1


@pytest.mark.parametrize("overrides, shape", [((), (3, 6, N)), ((ONE_OUTPUT,), (3, 6))])
def test_the_head_learns_the_score(spy, overrides, shape):
    agent = pretraining(*overrides)
    scores, losses = spy(agent.method, "score_replay"), spy(agent.world_model, "loss")
    batch = records()
    metrics = agent.update(batch)
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
    _, metrics = agent.world_model.loss(seen, agent_module.everywhere(target))
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
        results.append(agent.update(batch))
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
    traj, _ = imagine(agent.world_model.rssm, agent.behaviors["main"].actor, start, skill, 5)
    value = agent._score(traj).value
    want = torch.tensor([10.0, 20, 30, 40])[torch.arange(18) % N].expand(6, 18)
    torch.testing.assert_close(value, want)


def test_an_update_imagines_with_one_skill_per_start(spy):
    agent = pretraining()
    updates, rewards = spy(agent.behaviors["main"], "update"), spy(agent.world_model, "reward")
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
    updates = spy(agent.behaviors["main"], "update")
    metrics = agent.update(records())
    (_, _, skill, *_), _ = updates.one
    want = (skill @ torch.tensor([10.0, 20, 30, 40])).mean().item()
    assert metrics["reward_mean"].item() == pytest.approx(want, rel=1e-5)


def test_a_head_with_one_output_ignores_the_skill(spy):
    agent = pretraining(ONE_OUTPUT)
    feat = torch.randn(2, 5, agent.world_model.rssm.feat_dim)
    a, b = (agent.world_model.reward(feat, torch.eye(N)[[z] * 5].expand(2, 5, N)) for z in (0, 1))
    assert a.shape == (2, 5) and torch.equal(a, b)


# ---- the density model


def test_the_density_model_is_trained_before_it_scores(monkeypatch):
    agent = pretraining()
    density, seen = agent.method.density, []
    score = agent.method.score_replay
    start = copies(density)
    monkeypatch.setattr(agent.method, "score_replay", lambda view: (seen.append(copies(density)), score(view))[1])
    agent.update(records(4, 8))
    (scoring,) = seen
    assert any(not torch.equal(scoring[name], start[name]) for name in start)
    assert moved(density, scoring) == set()


def test_the_density_loss_reaches_nothing_else():
    agent, batch = pretraining(), records()
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    view = agent._view(seen, batch)
    assert not any(x.requires_grad for x in (view.embed, view.feat, view.kl, *view.post, *view.prior))
    metrics = agent._train_method(view)
    for part in (agent.world_model, agent.behaviors):
        assert all(p.grad is None for p in part.parameters())
    assert sum(p.grad is not None for p in agent.method.parameters()) > 0
    assert set(metrics) == {"density_loss", "density_grad_norm", "density_error", "density_kl"}


def test_nothing_else_reaches_the_density_model():
    agent, batch = pretraining("agent.method_opt.lr=1e-30", "agent.method_opt.wd=0"), records()
    before = copies(agent.method)
    agent.update(batch)
    for name, p in agent.method.named_parameters():
        torch.testing.assert_close(p, before[name], rtol=0, atol=1e-20)


def cancelled(name):
    """Biases right before a batch normalisation, which takes them out again."""
    return name.endswith("norm_in.bias") or (".layers." in name and name.endswith("bias") and "norm" not in name)


@pytest.mark.parametrize("batch_norm", ["true", "false"])
def test_one_update_moves_everything(batch_norm):
    agent = pretraining("kl.free=0", f"agent.batch_norm={batch_norm}")
    before = copies(agent)
    metrics = agent.update(records(4, 8))
    still = set(before) - moved(agent, before)
    assert not {name for name in still if not (name.startswith("method.") and cancelled(name))}
    assert {"density_loss", "density_acc", "deviation", "exploration", "actor_loss", "critic_loss"} <= set(metrics)
    for key, value in metrics.items():
        assert value.shape == () and value.isfinite() and not value.requires_grad, key


def test_the_optimiser_of_the_density_model_is_its_own():
    agent = pretraining("agent.method_opt.lr=0.123", "agent.method_opt.clip=7", "model_opt.lr=0.456")
    assert {id(p) for p in agent.method_opt.parameters} == {id(p) for p in agent.method.parameters()}
    assert agent.method_opt.adam.param_groups[0]["lr"] == 0.123 and agent.method_opt.clip == 7
    assert agent.model_opt.adam.param_groups[0]["lr"] == 0.456


def test_finetuning_has_no_density_model():
    agent = finetuning()
    assert agent.method_opt is None and parameter_count(agent.method) == 0 and agent.skill_dim == N
    metrics = agent.update(records())
    assert not {key for key in metrics if "density" in key or "deviation" in key}
    assert agent.scores == "none"


def test_finetuning_learns_the_task_reward(spy):
    agent, batch = finetuning(), records()
    losses = spy(agent.world_model, "loss")
    agent.update(batch)
    (_, target), _ = losses.one
    assert torch.equal(target.value, batch["reward"])


def test_the_entropy_weight_of_finetuning_is_the_tasks():
    """The reference leaves that of pre-training (card section 6)."""
    config = composed("finetune", SD3, "domain=walker")
    assert config["agent"]["actor_ent"] == 1e-4 != composed("pretrain", SD3)["agent"]["actor_ent"]
    assert finetuning("task_actor_ent=0.25").behaviors["main"].actor_ent == 0.25
    assert config["agent"]["reward_norm"]["momentum"] == 1


# ---- acting


def walk(agent, acting, steps, mode="train", count=2):
    """Skills and ages over ``steps``."""
    skills, ages = [], []
    observation = torch.zeros(count, *OBS, dtype=torch.uint8)
    for step in range(steps):
        _, acting = agent.act(observation, acting, torch.full((count,), step == 0), mode)
        skills.append(acting.skill)
        ages.append(acting.age.clone())
    return torch.stack(skills), torch.stack(ages), acting


@pytest.mark.parametrize("mode", ["train", "random"])
@pytest.mark.parametrize("build", [pretraining, finetuning])
def test_a_skill_is_held_for_its_steps(monkeypatch, mode, build):
    agent = build("agent.update_skill_every_step=5")
    Rotating(monkeypatch, agent)
    acting = agent.start(2)
    first = acting.skill.clone()
    skills, ages, _ = walk(agent, acting, 15, mode)
    assert torch.equal(skills[0], first)
    for block in skills.split(5):
        assert (block == block[0]).all()
    for old, new in ((4, 5), (9, 10)):
        assert (skills[old] != skills[new]).any(-1).all()
    assert ages[:, 0].tolist() == [1, 2, 3, 4, 5] * 3


def test_the_default_number_of_steps():
    agent = pretraining()
    assert agent.skills.period == 50 == composed("pretrain", SD3)["agent"]["update_skill_every_step"]


def test_evaluation_never_redraws(monkeypatch):
    agent = pretraining("agent.update_skill_every_step=3")
    rotating = Rotating(monkeypatch, agent)
    acting = agent.start(2)
    skills, ages, _ = walk(agent, acting, 12, "eval")
    assert (skills == acting.skill).all() and rotating.draws == 1 and (ages == 0).all()


def test_the_policy_sees_the_skill(spy):
    agent = pretraining()
    heads = spy(agent.behaviors["main"].actor, "forward")
    acting = agent.start(2)
    agent.act(torch.zeros(2, *OBS, dtype=torch.uint8), acting, torch.ones(2, dtype=torch.bool), "eval")
    (_, skill), _ = heads.one
    assert torch.equal(skill, acting.skill)


def test_begin_redraws_only_where_asked(monkeypatch):
    agent = pretraining("agent.update_skill_every_step=5")
    Rotating(monkeypatch, agent)
    _, _, acting = walk(agent, agent.start(3), 2, count=3)
    begins = torch.tensor([False, True, False])
    new = agent.begin(acting, begins)
    assert new.age.tolist() == [2, 0, 2] and acting.age.tolist() == [2, 2, 2]
    assert (new.skill != acting.skill).any(-1).tolist() == [False, True, False]
    assert torch.equal(new.action, acting.action)
    skills, _, _ = walk(agent, new, 6, count=3)
    changes = (skills[1:] != skills[:-1]).any(-1)
    # three steps are left where the episode went on, five where it began
    assert changes[:, 0].tolist() == changes[:, 2].tolist() == [False, False, True, False, False]
    assert changes[:, 1].tolist() == [False, False, False, False, True]


# ---- the choice


@pytest.fixture
def few(monkeypatch):
    """A choice from 40 records, in milliseconds."""
    monkeypatch.setattr(agent_module, "CHOICE_RECORDS", 40)


class Batches:
    def __init__(self, **more):
        self.drawn, self.more = 0, more

    def __call__(self):
        self.drawn += 1
        return records(seed=self.drawn, **self.more)


def forbidden():
    raise AssertionError("no batch is needed")


def test_no_choice_before_its_time():
    agent = finetuning("agent.num_init_frames=1000")
    for frame in (0, 2, 998, 999):
        assert agent.adapt(frame, forbidden) is None
    assert not agent.skills.settled


def test_no_choice_in_pretraining_or_without_skills():
    assert pretraining().adapt(10**9, forbidden) is None
    assert make_agent(tiny("finetune"), "finetune").adapt(10**9, forbidden) is None


@pytest.mark.parametrize("choice", ["likelihood", "imagination"])
def test_a_skill_is_chosen_once(few, choice):
    agent = finetuning("agent.num_init_frames=1000", f"agent.skill_choice={choice}")
    sample, before = Batches(), copies(agent)
    note = agent.adapt(1000, sample)
    assert sample.drawn == 3  # 18 records each, 40 wanted
    found = re.fullmatch(r"skill chosen at frame 1000: skill (\d)", note)
    assert found and agent.skills.settled
    assert torch.equal(agent.skills.chosen, torch.eye(N)[int(found[1])])
    assert agent.adapt(1002, forbidden) is None
    assert moved(agent, before) == set() and all(p.grad is None for p in agent.parameters())


def test_how_many_records_a_choice_reads():
    sample = Batches(batch=16, length=64)
    finetuning().adapt(10**6, sample)
    assert sample.drawn == 4 and agent_module.CHOICE_RECORDS == 4096


def test_the_likelihood_choice_is_that_of_its_values(few, spy):
    agent = finetuning("clip_rewards=tanh")
    choices = spy(agent.method, "choose_skill")
    sample = Batches()
    agent.adapt(4000, sample)
    (view, reward, actor), chosen = choices.one
    assert actor is agent.behaviors["main"].actor and torch.equal(chosen, agent.skills.chosen)
    assert view.feat.shape[:2] == reward.shape == (9, 6)
    batches = [records(seed=i) for i in (1, 2, 3)]
    assert torch.equal(view.action, torch.cat([b["action"] for b in batches]))
    assert torch.equal(view.is_first, torch.cat([b["is_first"] for b in batches]))
    assert torch.equal(view.obs, torch.cat([b["observation"] for b in batches]))
    torch.testing.assert_close(reward, torch.tanh(torch.cat([b["reward"] for b in batches])))
    assert torch.equal(view.feat, view.post.feat)


@pytest.mark.parametrize("best", range(N))
def test_a_planted_skill_is_chosen_by_likelihood(few, monkeypatch, best):
    """Sequences with a return were acted by the policy of one skill, those without by others."""
    agent = finetuning()
    actor = agent.behaviors["main"].actor
    with torch.no_grad():
        actor.net[0].weight[:, -N:] += 3 * torch.randn(16, N)  # skills that act differently
        actor.net[-1].weight.mul_(3)

    def sample():
        batch = records(6, 8)
        seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
        monkeypatch.setattr(agent.world_model, "observe", lambda *args: seen)  # the same draws of the latents
        for i in range(6):
            skill = torch.eye(N)[best if i < 3 else (best + 1 + i) % N].expand(8, N)
            batch["action"][i, 1:] = actor(seen.feat[i], skill).mean[:-1]
            batch["reward"][i] = 1.0 if i < 3 else 0.0
        return batch

    assert agent.adapt(4000, sample).endswith(f"skill {best}")


@pytest.mark.parametrize("best", range(N))
def test_a_planted_skill_is_chosen_by_imagined_return(few, monkeypatch, best):
    agent = finetuning("agent.skill_choice=imagination")
    monkeypatch.setattr(agent.world_model, "reward", lambda feat, skill=None: 10 * skill[..., best])
    assert agent.adapt(4000, Batches()).endswith(f"skill {best}")


@pytest.mark.parametrize("best", range(N))
def test_imagination_prefers_the_policy_that_gets_the_reward(few, monkeypatch, best):
    """The reward is of states and does not know skills: what differs is where their policies lead."""
    agent = finetuning("agent.skill_choice=imagination", "actor.min_std=0.01", "rssm.deter=16")
    behavior, rssm = agent.behaviors["main"], agent.world_model.rssm
    signs = torch.tensor([1.0 if z == best else -1.0 for z in range(N)])
    with torch.no_grad():  # skill ``best`` acts with +tanh(4), the others with -tanh(4), exactly
        for p in behavior.actor.parameters():
            p.zero_()
        behavior.actor.net[0].weight[0, -N:] = signs
        behavior.actor.net[0].bias[0] = 1.0  # through the ELU: 2 or 0
        behavior.actor.net[-1].weight[: agent.action_dim, 0] = 4.0
        behavior.actor.net[-1].bias[: agent.action_dim] = -4.0
        behavior.actor.net[-1].bias[agent.action_dim :] = -12.0
        for p in behavior.slow_critic.parameters():
            p.zero_()
    step = rssm.imagine_step

    def marked(latent, action):
        """The first entry of the state remembers the action."""
        new = step(latent, action)
        deter = new.deter.clone()
        deter[:, 0] = action[:, 0]
        return new._replace(deter=deter)

    monkeypatch.setattr(rssm, "imagine_step", marked)
    place = rssm.stoch * rssm.discrete
    monkeypatch.setattr(agent.world_model, "reward", lambda feat, skill=None: feat[..., place])
    assert agent.adapt(4000, Batches()).endswith(f"skill {best}")


def settled(best=2, *overrides, seed=0):
    agent = finetuning("agent.update_skill_every_step=2", *overrides, seed=seed)
    agent.skills.settle(torch.eye(N)[best])
    return agent, torch.eye(N)[best]


@pytest.mark.parametrize("mode", ["train", "random", "eval"])
def test_the_chosen_skill_acts(mode):
    agent, chosen = settled()
    acting = agent.start(2)
    assert (acting.skill == chosen).all()
    skills, _, acting = walk(agent, acting, 6, mode)
    assert (skills == chosen).all()
    assert (agent.begin(acting, torch.tensor([True, False])).skill == chosen).all()


def test_the_chosen_skill_takes_over_within_an_episode():
    agent = finetuning()
    _, _, acting = walk(agent, agent.start(8), 3, count=8)
    assert acting.skill.unique(dim=0).shape[0] > 1
    agent.skills.settle(torch.eye(N)[1])
    skills, _, _ = walk(agent, acting, 2, count=8)
    assert (skills == torch.eye(N)[1]).all()


def test_finetuning_trains_on_random_skills_until_one_is_chosen(spy):
    agent = finetuning()
    updates = spy(Behavior, "update")
    before = copies(agent.behaviors["main"].actor)
    agent.update(records(4, 8))
    assert moved(agent.behaviors["main"].actor, before)  # from the first update on (card section 4)
    agent.skills.settle(torch.eye(N)[3])
    agent.update(records(4, 8))
    drawn, chosen = (args[3] for args, _ in updates.calls)
    assert drawn.shape == chosen.shape == (32, N)
    assert (drawn.sum(0) > 0).all() and (chosen == torch.eye(N)[3]).all()


@pytest.mark.parametrize("chosen", [False, True])
def test_the_choice_survives_a_resume(chosen):
    agent = settled(2)[0] if chosen else finetuning("agent.update_skill_every_step=2")
    agent.update(records())
    buffer = io.BytesIO()
    torch.save(agent.training_state(), buffer)
    buffer.seek(0)
    other = finetuning("agent.update_skill_every_step=2", seed=9)
    other.load_training_state(torch.load(buffer, weights_only=True))
    assert other.skills.settled is chosen and torch.equal(other.skills.chosen, agent.skills.chosen)
    results = []
    for each in (agent, other):
        torch.manual_seed(5)
        results.append(each.update(records(seed=1)))
    assert all(torch.equal(results[0][k], results[1][k]) for k in results[0])
    if chosen:
        assert other.adapt(10**9, forbidden) is None


def test_a_resumed_pretraining_goes_on_bit_for_bit():
    agent = pretraining()
    for i in range(2):
        agent.update(records(seed=i))
    buffer = io.BytesIO()
    torch.save(agent.training_state(), buffer)
    buffer.seek(0)
    other = pretraining(seed=9)
    other.load_training_state(torch.load(buffer, weights_only=True))
    for each in (agent, other):
        torch.manual_seed(5)
        each.update(records(seed=3))
    a, b = agent.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key], key


def test_a_pretrained_snapshot_is_finetuned():
    """The plain reward head is fresh, actor and critic come with their skills."""
    source = pretraining()
    source.update(records())
    buffer = io.BytesIO()
    torch.save(source.snapshot_modules(), buffer)
    buffer.seek(0)
    target = finetuning(seed=9)
    target.load_snapshot(torch.load(buffer, weights_only=True), init_actor=True, init_critic=True)
    assert not target.skills.settled
    for name in ("actor", "critic"):
        loaded, given = getattr(target.behaviors["main"], name), getattr(source.behaviors["main"], name)
        assert moved(loaded, copies(given)) == set()
    assert all(x.isfinite() for x in target.update(records()).values())


# ---- published sizes


@pytest.fixture(scope="module")
def published():
    return make_agent(composed("pretrain", SD3, "device=cpu"))


def body(hidden, modules, layers):
    """Card table 2.1 and section 2.2, with batch normalisation before and after every linear map."""
    linear = hidden * hidden + hidden
    norms = 2 * 2 * hidden
    logits = (layers - 1) * (hidden + 1) * modules**2 + (hidden + 1) * modules
    conditions = sum((modules**2 * known + 1) * hidden for known in range(1, layers))
    return layers * modules * (linear + norms) + linear + logits + conditions


def test_parameter_counts_at_the_published_sizes(published):
    n, hidden, latent, depth = 16, 1024, 64, 48
    density = published.method.density
    assert isinstance(published.method, Deviation) and isinstance(density, SkillDensity)
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
    assert parameter_count(published.method) == sum(want.values())
    assert parameter_count(published.world_model.reward_head) == 971_601 + 15 * 401
    assert parameter_count(published.behaviors["main"].actor) == 976_012 + 16 * 400
    assert parameter_count(published.behaviors["main"].critic) == 971_601 + 16 * 400


def test_two_updates_at_the_published_sizes(published):
    before = copies(published)
    for i in range(2):
        metrics = published.update(make_batch(1, 3, seed=i, skill=16))
        assert all(v.isfinite() for v in metrics.values())
    assert not {name for name in set(before) - moved(published, before) if not cancelled(name)}
