import pytest
import reference64 as ref
import torch
from agent_kit import OBS, copies, make_agent, make_batch, moved, tiny
from torch.utils._python_dispatch import TorchDispatchMode

GROUPS, DETER = (4, 4), 16

MODEL_KEYS = {
    "kl_loss", "observation_loss", "reward_loss", "model_loss", "model_kl", "prior_ent", "post_ent", "model_grad_norm",
}  # fmt: skip
BEHAVIOR_KEYS = {
    "actor_loss", "actor_grad_norm", "actor_ent", "actor_ent_scale",
    "critic_loss", "critic_grad_norm", "critic", "critic_slow", "critic_target",
    "reward_mean", "reward_std", "reward_normed_mean", "reward_normed_std",
}  # fmt: skip


SKILL_KEYS = (
    "+agent.skill_dim=3",
    "+agent.update_skill_every_step=50",
    "+agent.num_init_frames=4000",
    "+agent.skill_choice=reward",
)


def method(name, *more):
    return (f"agent.method=agent_kit.{name}", *more)


NOVELTY = method("Novelty", "+agent.novelty_units=8")


# ---- metrics


@pytest.mark.parametrize(
    "phase, overrides, keys",
    [
        ("pretrain", (), MODEL_KEYS | BEHAVIOR_KEYS),
        ("finetune", (), MODEL_KEYS | BEHAVIOR_KEYS),
        ("pretrain", ("agent=random_dreamer",), MODEL_KEYS),
        ("finetune", ("agent=random_dreamer",), MODEL_KEYS | BEHAVIOR_KEYS),
        ("pretrain", NOVELTY, MODEL_KEYS | BEHAVIOR_KEYS | {"novelty_loss", "novelty_grad_norm", "novelty_error"}),
        ("finetune", NOVELTY, MODEL_KEYS | BEHAVIOR_KEYS),
    ],
)
def test_update_returns_detached_scalars_under_the_published_names(phase, overrides, keys):
    agent = make_agent(tiny(phase, *overrides), phase)
    metrics = agent.update(make_batch()).logged
    assert set(metrics) == keys
    for key, value in metrics.items():
        assert isinstance(value, torch.Tensor) and value.shape == () and not value.requires_grad, key
        assert value.isfinite(), key


class HostRead(Exception):
    pass


class Watch(TorchDispatchMode):
    """Raises on operations that wait for the device: reads of values and shapes that depend on values."""

    WAITING = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "is_nonzero",
        "equal",
        "unique",
        "_unique2",
        "bincount",
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.split(".")[0]
        masked = name.startswith("index") and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool
            for a in args
            if isinstance(a, list | tuple)
            for i in a
        )
        if name in self.WAITING or masked:
            raise HostRead(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_host_reads(monkeypatch):
    def forbid(name):
        def read(self, *args, **kwargs):
            raise HostRead(name)

        monkeypatch.setattr(torch.Tensor, name, read)

    for name in ("item", "cpu", "numpy", "tolist", "__bool__", "__float__", "__int__", "__index__"):
        forbid(name)


@pytest.mark.parametrize(
    "phase, overrides",
    [
        ("pretrain", ()),
        ("pretrain", ("agent=random_dreamer",)),
        ("pretrain", ("actor_grad=reinforce", "actor.dist=truncated_normal", "agent.reward_norm.momentum=0.9")),
        ("pretrain", NOVELTY),
        ("pretrain", method("Brightness")),
        ("finetune", ("agent.reference=true", "slow_target=false", "slow_target_fraction=0.5")),
    ],
)
def test_update_reads_nothing_back(no_host_reads, phase, overrides):
    agent, batch = make_agent(tiny(phase, *overrides), phase), make_batch()
    with Watch():
        for _ in range(2):
            agent.update(batch)


def test_the_watch_sees_reads():
    """Otherwise the test above could not fail."""
    x = torch.arange(3.0)
    for read in (lambda: x.sum().item(), lambda: bool(x[0] > 0), lambda: x[x > 1], lambda: x.nonzero()):
        with Watch(), pytest.raises(HostRead):
            read()


# ---- what an update trains


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_every_parameter_learns_in_one_update(phase):
    agent = make_agent(tiny(phase, "kl.free=0"), phase)
    behavior = agent.main.behavior
    before = copies(agent)
    agent.update(make_batch())
    trained = (agent.world_model, behavior.actor, behavior.critic)
    for part in trained:
        for name, p in part.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0, name
    slow = {f"drives.main.behavior.slow_critic.{n}" for n, _ in behavior.slow_critic.named_parameters()}
    assert moved(agent, before) == set(before)
    assert {n for n, p in agent.named_parameters() if not p.requires_grad} == slow


def test_the_random_agent_trains_its_world_model_only():
    agent = make_agent(tiny("pretrain", "agent=random_dreamer", "kl.free=0"))
    assert agent.collects == "random"
    behavior = agent.main.behavior
    actor, critic, model = copies(behavior.actor), copies(behavior.critic), copies(agent.world_model)
    for _ in range(2):
        agent.update(make_batch())
    assert not moved(behavior.actor, actor) and not moved(behavior.critic, critic)
    assert moved(agent.world_model, model) == set(model)


def test_the_random_agent_acts_in_finetuning():
    agent = make_agent(tiny("finetune", "agent=random_dreamer"), "finetune")
    assert agent.collects == "train"
    before = copies(agent.main.behavior.actor)
    agent.update(make_batch())
    assert moved(agent.main.behavior.actor, before) == set(before)


def test_world_model_steps_descend():
    agent = make_agent(tiny("pretrain", "agent=random_dreamer", "model_opt.lr=3e-3"))
    batch = make_batch(2, 4)
    losses = [agent.update(batch).logged["model_loss"].item() for _ in range(40)]
    assert losses[-1] < losses[0] - 20


def test_clip_rewards():
    batch = make_batch()
    batch["reward"] = batch["reward"] * 10 - 5
    found = {}
    for clip in ("identity", "sign", "tanh"):
        agent = make_agent(tiny("pretrain", f"clip_rewards={clip}"))
        torch.manual_seed(2)
        seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
        prediction = agent.world_model.reward(seen.feat).double()
        reward = batch["reward"].double()
        target = {"identity": reward, "sign": reward / reward.abs(), "tanh": reward.tanh()}[clip]
        want = (0.5 * (prediction - target).square() + ref.HALF_LOG_2PI).mean().item()
        torch.manual_seed(2)
        found[clip] = agent.update(batch).logged["reward_loss"].item()
        assert found[clip] == pytest.approx(want, rel=1e-4)
    assert len(set(found.values())) == 3


def test_the_slow_target_follows_the_agents_own_count():
    agent = make_agent(tiny("pretrain", "slow_target_update=3"))
    behavior, batch, equal = agent.main.behavior, make_batch(), []
    for _ in range(5):
        agent.update(batch)
        pairs = zip(behavior.slow_critic.parameters(), behavior.critic.parameters(), strict=True)
        equal.append(all(torch.equal(a, b) for a, b in pairs))
    assert equal == [True, False, False, True, False]
    assert agent.updates == 5


# ---- exploration methods


def test_a_method_that_scores_replay_teaches_the_reward_head():
    agent, batch = make_agent(tiny("pretrain", *method("Brightness"))), make_batch()
    torch.manual_seed(2)
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    error = agent.world_model.reward(seen.feat).double() - batch["observation"].double().mean((-3, -2, -1)) / 10
    want = (0.5 * error.square() + ref.HALF_LOG_2PI)[:, 1:].mean().item()
    torch.manual_seed(2)
    assert agent.update(batch).logged["reward_loss"].item() == pytest.approx(want, rel=1e-4)


def test_in_finetuning_the_head_learns_the_task_again():
    batch, rewards = make_batch(), []
    for overrides in ((), method("Brightness"), NOVELTY):
        agent = make_agent(tiny("finetune", *overrides), "finetune")
        assert agent.main.scores == "none"
        torch.manual_seed(2)
        seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
        error = agent.world_model.reward(seen.feat).double() - batch["reward"].double()
        torch.manual_seed(2)
        got = agent.update(batch).logged["reward_loss"].item()
        assert got == pytest.approx((0.5 * error.square() + ref.HALF_LOG_2PI).mean().item(), rel=1e-4)
        rewards.append(got)


def test_a_method_that_scores_imagination_replaces_the_head_and_learns_apart():
    agent, batch = make_agent(tiny("pretrain", *NOVELTY)), make_batch()
    before = copies(agent.main.method)
    seen = []
    score = agent.main.method.score_imagined

    def spy(traj):
        seen.append((traj, score(traj)))
        return seen[-1][1]

    agent.main.method.score_imagined = spy
    own, step = [], agent.main.method_opt.step

    def recorded_step(loss):
        norm = step(loss)
        own.append([p.grad.clone() for p in agent.main.method.parameters()])
        return norm

    agent.main.method_opt.step = recorded_step
    metrics = agent.update(batch).logged
    assert moved(agent.main.method, before) == set(before)
    (traj, scored), = seen  # fmt: skip
    horizon = agent.main.behavior.horizon
    assert traj.feat.shape == (horizon + 1, 18, 32) and traj.skill.shape == (horizon + 1, 18, 0)
    assert metrics["reward_mean"].item() == pytest.approx(scored.value[1:].mean().item(), rel=1e-4)
    # the behaviour's losses leave no gradient in the method: what is there is that of its own loss
    assert len(own) == 1 and len(own[0]) == len(before)
    for p, grad in zip(agent.main.method.parameters(), own[0], strict=True):
        assert p.requires_grad and torch.equal(p.grad, grad)


def test_the_replay_view_is_cut_from_the_world_model():
    agent, batch = make_agent(tiny("pretrain", *NOVELTY)), make_batch(resets=[(1, 3)])
    views, passes = [], []
    loss, observe = agent.main.method.loss, agent.world_model.observe
    agent.main.method.loss = lambda view: (views.append(view), loss(view))[1]
    agent.world_model.observe = lambda *args: (passes.append(observe(*args)), passes[-1])[1]
    agent.update(batch)
    (view,), (seen,) = views, passes
    for x in (view.embed, view.feat, view.kl, *view.post):
        assert not x.requires_grad and x.shape[:2] == (3, 6)
    assert torch.equal(view.obs, batch["observation"]) and torch.equal(view.action, batch["action"])
    assert torch.equal(view.is_first, batch["is_first"])
    assert view.skill.shape == (3, 6, 0) and view.skill_valid.all() and view.skill_valid.shape == (3, 6)
    p, q = view.post.logits.double(), seen.prior_logits.double()
    torch.testing.assert_close(view.kl.double(), ref.kl(p, q), rtol=1e-3, atol=1e-5)


def test_a_new_episode_gets_a_new_skill_and_the_others_keep_theirs():
    agent = make_agent(tiny("pretrain", *method("ThreeSkills"), *SKILL_KEYS))
    torch.manual_seed(0)
    acting = agent.start(200)
    begins = torch.arange(200) % 2 == 0
    after = agent.begin(acting, begins)
    assert torch.equal(after.skill[~begins], acting.skill[~begins])
    changed = (after.skill[begins] != acting.skill[begins]).any(-1).float().mean()
    assert 0.5 < changed < 0.8  # two of three draws differ
    assert (after.skill.sum(-1) == 1).all() and after.memory is acting.memory


def test_skills_condition_actor_and_critic():
    agent = make_agent(tiny("pretrain", *method("ThreeSkills"), *SKILL_KEYS))
    assert agent.skill_dim == 3
    behavior = agent.main.behavior
    assert behavior.actor.net[0].in_features == behavior.critic.net[0].in_features == 32 + 3
    metrics = agent.update(make_batch(skill=3)).logged
    assert all(v.isfinite() for v in metrics.values())
    acting = agent.start(5)
    assert acting.skill.shape == (5, 3) and (acting.skill.sum(-1) == 1).all()
    first = torch.ones(5, dtype=torch.bool)
    image = torch.randint(0, 256, (5, *OBS), dtype=torch.uint8)
    torch.manual_seed(1)
    action, after = agent.act(image, acting, first, "eval")
    assert torch.equal(after.skill, acting.skill)
    torch.manual_seed(1)
    other, _ = agent.act(image, acting._replace(skill=acting.skill.roll(1, -1)), first, "eval")
    assert not torch.allclose(action, other)


def test_a_skill_method_stays_in_finetuning_but_neither_scores_nor_collects():
    batch = make_batch(skill=3)
    before = make_agent(tiny("pretrain", *method("UniformSkills"), *SKILL_KEYS))
    assert (before.main.scores, before.collects, before.skill_dim) == ("replay", "random", 3)
    agent = make_agent(tiny("finetune", *method("UniformSkills"), *SKILL_KEYS), "finetune")
    assert (agent.main.scores, agent.collects, agent.skill_dim) == ("none", "train", 3)
    torch.manual_seed(2)
    seen = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"])
    error = agent.world_model.reward(seen.feat).double() - batch["reward"].double()
    torch.manual_seed(2)
    metrics = agent.update(batch).logged
    want = (0.5 * error.square() + ref.HALF_LOG_2PI).mean().item()
    assert metrics["reward_loss"].item() == pytest.approx(want, rel=1e-4)
    assert set(metrics) >= BEHAVIOR_KEYS


@pytest.mark.parametrize("reads", [False, True])
def test_after_update_is_called_with_the_count_and_with_the_batch_if_asked_for(monkeypatch, reads):
    agent, calls = make_agent(tiny()), []
    monkeypatch.setattr(type(agent.main.method), "reads_view", reads)
    agent.main.method.after_update = lambda *given: calls.append(given)
    batches = [make_batch(2, 3, seed=seed) for seed in range(3)]
    for batch in batches:
        agent.update(batch)
    assert [count for count, _ in calls] == [0, 1, 2]
    for batch, (_, view) in zip(batches, calls, strict=True):
        assert torch.equal(view.obs, batch["observation"]) and not view.feat.requires_grad if reads else view is None


# ---- flags and report


def test_reference_switches_both_flags():
    config = tiny("pretrain", "agent.reference=true")
    assert config["agent"]["decoder_elu_output"] is True and config["agent"]["entropy_in_targets"] is True
    for value in (True, False):
        for name in ("dreamer", "random_dreamer"):
            agent = make_agent(tiny("finetune", f"agent={name}", f"agent.reference={value}"), "finetune")
            assert agent.world_model.decoder.elu_output is value
            assert agent.main.behavior.entropy_in_targets is value
    single = make_agent(tiny("pretrain", "agent.entropy_in_targets=true"))
    assert single.main.behavior.entropy_in_targets and not single.world_model.decoder.elu_output


def test_report_shows_eight_rows():
    agent = make_agent(tiny())
    videos = agent.report(make_batch(9, 7))
    assert set(videos) == {"openl_observation"}
    assert videos["openl_observation"].shape == (8, 7, 3, 192, 64)
    assert agent.report(make_batch(2, 7))["openl_observation"].shape == (2, 7, 3, 192, 64)


def test_same_seed_same_numbers():
    def run():
        agent = make_agent(tiny(), seed=4)
        for i in range(3):
            metrics = agent.update(make_batch(seed=i)).logged
        return agent.state_dict(), metrics

    (a, x), (b, y) = run(), run()
    assert all(torch.equal(a[k], b[k]) for k in a) and all(torch.equal(x[k], y[k]) for k in x)
