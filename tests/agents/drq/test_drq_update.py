"""One update against equations 2 and 3 of DrQ (Kostrikov et al. 2021) and those of SAC; who moves whom, and when."""

import math

import drq_reference as ref
import pytest
import torch
from agent_kit import copies, moved
from drq_kit import ACTIONS, BATCH, REFERENCE, STACK, make_drq, transitions
from reference64 import weights
from skill_kit import Spy

import agents.drq.augmentations as module


@pytest.fixture
def shifts(monkeypatch):
    """The calls of ``random_shift``: of the states, then of the next states, each giving (2, B, C, S, S)."""
    return Spy(monkeypatch, module, "random_shift")


def after_critic_step(agent, weight):
    """The weights the actor's losses see: the critic has moved, the rest has not."""
    new = weights(agent.critic)
    return weight | {f"critic.{k}": v for k, v in new.items()}


def bonus_of(weight, image, skill, own):
    """r_int of one transition from the two shifted stacks of the state that is judged."""
    total = 0.0
    for k in range(2):
        name = "discriminator.encoder" if own else "critic.encoder"
        features = ref.head(weight, name, ref.convs(weight, f"{name}.convs", image[k]))
        total = total + ref.log_q(weight, features)[int(skill.argmax())]
    return total / 2 + math.log(len(skill))


def target_of(weight, image, skill, reward, terminal, noise, discount=0.99):
    """y of one transition; ``image`` and ``noise`` hold both shifted next states."""
    total = 0.0
    for k in range(2):
        action, log_prob = ref.policy(weight, ref.convs(weight, "critic.encoder.convs", image[k]), skill, noise[k])
        maps = ref.convs(weight, "critic_target.encoder.convs", image[k])
        q = min(ref.values(weight, "critic_target", maps, skill, action))
        total = total + q - torch.exp(weight["log_alpha"]) * log_prob
    return reward if terminal else reward + discount * total.item() / 2


CASES = {
    "skills": {},
    "no skills": {"num_skills": 0},
    "task and skills": {"extrinsic_coeff": 0.7, "diayn_intrinsic_reward_coeff": 1.9},
    "features of the critic": {"discriminator_features": "critic"},
    "judging the current state": {"reward_state": "current"},
    "published": REFERENCE,
    "published, two coefficients": REFERENCE | {"extrinsic_coeff": 0.5, "diayn_intrinsic_reward_coeff": 2.0},
}
COEFFICIENTS = {  # of the task's reward and of the skills'
    "skills": (0, 1), "no skills": (1, 0), "task and skills": (0.7, 1.9), "features of the critic": (0, 1),
    "judging the current state": (0, 1), "published": (1, 1), "published, two coefficients": (0.5, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case, shifts, noise):
    """Every loss and every gradient of an update in which everything is trained, transition by transition."""
    agent = make_drq(**CASES[case])
    n = agent.skill_dim
    batch = transitions(skills=n)
    skill = batch.get("skill", torch.zeros(BATCH, 0))
    weight = weights(agent, grad=True)
    noise.clear()
    metrics = agent.update(batch).logged
    (_, now), (_, then) = shifts.calls
    for (image, pad), of in zip(
        (args for args, _ in shifts.calls), (slice(0, STACK), slice(1, STACK + 1)), strict=True
    ):
        stacks = torch.stack([torch.cat(list(row[of])) for row in batch["observation"]])
        assert pad == 2 and torch.equal(image, torch.stack([stacks, stacks]))
    first, second = noise.normals()
    assert first.shape == (2, BATCH, ACTIONS) and second.shape == (BATCH, ACTIONS)
    published = case.startswith("published")
    own = not published and case != "features of the critic"
    judged = now if published or case == "judging the current state" else then
    extrinsic, intrinsic = COEFFICIENTS[case]

    bonus = [bonus_of(weight, judged[:, b], skill[b], own).item() if n else 0.0 for b in range(BATCH)]
    reward = [extrinsic * float(batch["reward"][b]) + intrinsic * bonus[b] for b in range(BATCH)]
    target = [
        target_of(weight, then[:, b], skill[b], reward[b], bool(batch["is_terminal"][b]), first[:, b])
        for b in range(BATCH)
    ]
    critic_loss = 0.0
    for m in range(2):
        for b in range(BATCH):
            maps = ref.convs(weight, "critic.encoder.convs", now[m, b])
            for q in ref.values(weight, "critic", maps, skill[b], batch["action"][b]):
                critic_loss = critic_loss + (q - target[b]) ** 2 / BATCH
    expect(metrics, "critic_loss", critic_loss)
    expect(metrics, "batch_reward", sum(batch["reward"].tolist()) / BATCH)
    expect(metrics, "critic_total_reward", sum(reward) / BATCH)
    expect_gradients(agent.critic, "critic", critic_loss, weight, metrics["critic_grad_norm"])

    if n:
        loss, right, count = 0.0, 0, 0
        for b in range(BATCH):
            if not batch["skill_valid"][b]:
                continue
            for k in range(2):
                name = "discriminator.encoder" if own else "critic.encoder"
                features = ref.head(weight, name, ref.convs(weight, f"{name}.convs", judged[k, b]))
                row = ref.log_q(weight, features if own else features.detach())
                loss, count = loss - row[int(skill[b].argmax())], count + 1
                right += int(row.argmax()) == int(skill[b].argmax())
        expect(metrics, "critic_intrinsic_reward", sum(bonus) / BATCH)
        expect(metrics, "discriminator_loss", loss / count)
        expect(metrics, "diayn_acc", right / count)
        norm = metrics["discriminator_grad_norm"]
        expect_gradients(agent.discriminator, "discriminator", loss / count, weight, norm)
    else:
        assert not any("diayn" in key or "discriminator" in key or "intrinsic" in key for key in metrics)

    weight = after_critic_step(agent, weight)
    alpha = torch.exp(weight["log_alpha"])
    actor_loss = alpha_loss = entropy = 0.0
    for b in range(BATCH):
        maps = ref.convs(weight, "critic.encoder.convs", now[0, b])
        action, log_prob = ref.policy(weight, maps, skill[b], second[b])
        q = min(ref.values(weight, "critic", maps, skill[b], action))
        actor_loss = actor_loss + (alpha.detach() * log_prob - q) / BATCH
        alpha_loss = alpha_loss + alpha * (-log_prob.detach() + ACTIONS) / BATCH
        entropy -= float(log_prob.detach()) / BATCH
    expect(metrics, "actor_loss", actor_loss)
    expect(metrics, "alpha_loss", alpha_loss)
    expect(metrics, "alpha_value", alpha)
    expect(metrics, "actor_entropy", entropy)
    expect(metrics, "actor_target_entropy", -ACTIONS)
    expect_gradients(agent.actor, "actor", actor_loss, weight, metrics["actor_grad_norm"], skip="encoder.convs")
    (gradient,) = torch.autograd.grad(alpha_loss, weight["log_alpha"])
    torch.testing.assert_close(agent.log_alpha.grad.double(), gradient, rtol=1e-4, atol=1e-6)
    assert all(x.shape == () and not x.requires_grad for x in metrics.values())


def expect(metrics, name, value):
    value = torch.as_tensor(value).detach().item()
    assert metrics[name].item() == pytest.approx(value, rel=2e-4, abs=1e-5), name


def expect_gradients(part, name, loss, weight, norm, skip="nothing"):
    """What is left in ``grad`` of every parameter, and the norm that was reported."""
    names = [key for key, _ in part.named_parameters() if not key.startswith(skip)]
    found = torch.autograd.grad(loss, [weight[f"{name}.{key}"] for key in names], retain_graph=True)
    parameters = dict(part.named_parameters())
    for key, want in zip(names, found, strict=True):
        assert want.abs().max() > 0, key
        torch.testing.assert_close(parameters[key].grad.double(), want, rtol=2e-3, atol=2e-4 * float(want.abs().max()))
    assert norm.item() == pytest.approx(math.sqrt(sum(float((g**2).sum()) for g in found)), rel=1e-3)


def test_the_reward_carries_no_gradient_into_the_critic():
    """Otherwise the critic could raise its own reward: with features of the critic, its loss must not reach them so."""
    agent = make_drq(discriminator_features="critic")
    batch = transitions()
    image = agent.augment.copies(batch["observation"][:, 1:])
    given = batch["skill"], batch["skill_valid"], agent.critic.encoder, agent._optimizers["discriminator"]
    bonus, _ = agent.discriminator.learn(image, *given)
    assert not bonus.requires_grad and all(p.grad is None for p in agent.critic.parameters())


# ---- who moves whom


def test_only_the_critic_moves_the_convolutions():
    agent = make_drq()
    batch = transitions()
    before = copies(agent)
    image = agent.augment.copies(batch["observation"][:, :STACK])
    agent._train_actor(image[0], batch["skill"])
    names = moved(agent, before)
    head_and_trunk = {f"actor.{k}" for k, _ in agent.actor.named_parameters() if not k.startswith("encoder.convs")}
    assert names == head_and_trunk | {"log_alpha"}
    assert any(k.startswith("actor.encoder.linear") for k in names)

    before = copies(agent)
    agent._train_critic(image, batch["skill"], batch["action"], torch.zeros(BATCH))
    names = moved(agent, before)
    assert names == {f"critic.{k}" for k, _ in agent.critic.named_parameters()}
    assert torch.equal(agent.actor.encoder.convs.layers[0].weight, agent.critic.encoder.convs.layers[0].weight)

    before = copies(agent)
    agent.discriminator.learn(
        image, batch["skill"], batch["skill_valid"], agent.critic.encoder, agent._optimizers["discriminator"]
    )
    assert moved(agent, before) == {f"discriminator.{k}" for k, _ in agent.discriminator.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {"num_skills": 0}, REFERENCE])
def test_an_update_moves_everything(changes):
    agent = make_drq(**changes)
    before = copies(agent)
    agent.update(transitions(skills=agent.skill_dim))
    assert moved(agent, before) == set(before)


# ---- schedule


@pytest.mark.parametrize("actor_every, target_every", [(2, 2), (1, 3), (3, 1)])
def test_schedule(actor_every, target_every):
    agent = make_drq(actor_update_frequency=actor_every, critic_target_update_frequency=target_every)
    for update in range(6):
        before = copies(agent)
        metrics = agent.update(transitions(seed=update)).logged
        parts = {name.split(".")[0] for name in moved(agent, before)}
        due = {"critic", "discriminator"}
        due |= {"actor", "log_alpha"} if update % actor_every == 0 else set()
        due |= {"critic_target"} if update % target_every == 0 else set()
        assert parts == due and agent.updates == update + 1
        trained = update % actor_every == 0
        for name in ("actor_loss", "actor_entropy", "actor_target_entropy", "alpha_loss", "alpha_value"):
            assert (name in metrics) == trained


def test_the_target_follows_slowly():
    agent = make_drq(critic_tau=0.25)
    before = copies(agent.critic_target)
    agent.update(transitions())
    for name, p in agent.critic_target.named_parameters():
        online = dict(agent.critic.named_parameters())[name].detach()
        torch.testing.assert_close(p, 0.25 * online + 0.75 * before[name])
    assert any(name.startswith("encoder.convs") for name in before)


# ---- ends of episodes


def loss_with(terminal, last):
    agent = make_drq(num_skills=0)
    batch = transitions(skills=0)
    batch["is_terminal"], batch["is_last"] = torch.full((BATCH,), terminal), torch.full((BATCH,), last)
    torch.manual_seed(1)
    return agent.update(batch).logged["critic_loss"].item()


def test_time_limits_bootstrap_and_terminal_states_do_not():
    assert loss_with(False, True) == loss_with(False, False)
    assert loss_with(True, True) != loss_with(False, True)


def test_a_terminal_target_is_the_reward():
    agent = make_drq()
    batch = transitions()
    image = agent.augment.copies(batch["observation"][:, 1:])
    target = agent._target(image, batch["skill"], batch["reward"], torch.ones(BATCH, dtype=torch.bool))
    assert torch.equal(target, batch["reward"]) and not target.requires_grad


# ---- temperature


@pytest.mark.parametrize("log_std, rises", [(-9.0, True), (0.0, False)])
def test_temperature_rises_when_the_policy_is_too_certain(log_std, rises):
    """An entropy of -A is asked for; a narrow policy has less, one of std 1 (almost uniform) more."""
    agent = make_drq(spread=0, lr=1e-2)
    with torch.no_grad():  # atanh of the place of log_std in [-10, 2]
        agent.actor.trunk[-1].weight.zero_()
        agent.actor.trunk[-1].bias[ACTIONS:] = math.atanh((log_std + 10) / 6 - 1)
    metrics = agent.update(transitions()).logged
    assert metrics["alpha_value"].item() == pytest.approx(0.1)
    assert (metrics["actor_entropy"] < metrics["actor_target_entropy"]).item() == rises
    assert agent.log_alpha.item() == pytest.approx(math.log(0.1) + (0.01 if rises else -0.01), abs=1e-5)


# ---- skills


def test_random_actions_teach_the_discriminator_nothing_and_are_rewarded():
    def run(batch):
        agent = make_drq()
        torch.manual_seed(1)
        metrics = agent.update(batch).logged
        return metrics, agent

    batch = transitions()
    other = transitions()
    assert not batch["skill_valid"][2]
    other["skill"][2] = batch["skill"][2].roll(1)
    first, a = run(batch)
    second, b = run(other)
    assert torch.equal(first["discriminator_loss"], second["discriminator_loss"])
    assert all(
        torch.equal(p, q) for p, q in zip(a.discriminator.parameters(), b.discriminator.parameters(), strict=True)
    )
    assert first["critic_intrinsic_reward"] != second["critic_intrinsic_reward"]


@pytest.mark.parametrize("features, least", [("own", 0.95), ("critic", 0.7)])
def test_the_discriminator_learns_skills_that_can_be_seen(features, least):
    """Three skills, three places of a bright band: named rightly after some updates, the reward near log 3.

    The critic's features move on, so what is read from them lags behind.
    """
    sizes = {"encoder_feature_dim": 20, "discriminator_hidden_dim": 32, "lr_discriminator": 1e-2}
    agent = make_drq(spread=0, discriminator_features=features, **sizes)
    batch = transitions(batch=24)
    images, index = torch.randint(0, 40, batch["observation"].shape), batch["skill"].argmax(-1)
    for b in range(24):
        images[b, ..., 5 * index[b] + 1 : 5 * index[b] + 6, :] += 200
    batch["observation"] = images.to(torch.uint8)
    for _ in range(60):
        metrics = agent.update(batch).logged
    assert metrics["diayn_acc"] > least and metrics["critic_intrinsic_reward"] > 0.5 * math.log(3)


# ---- settings


def test_learning_rates_and_clipping():
    agent = make_drq(lr=1e-4, lr_discriminator=3e-5, grad_clip=0.5)
    rates = {name: o.adam.param_groups[0]["lr"] for name, o in agent._optimizers.items()}
    assert rates == {"actor": 1e-4, "critic": 1e-4, "alpha": 1e-4, "discriminator": 3e-5}
    assert {o.adam.param_groups[0]["eps"] for o in agent._optimizers.values()} == {1e-8}
    assert {o.adam.param_groups[0]["weight_decay"] for o in agent._optimizers.values()} == {0}
    metrics = agent.update(transitions()).logged
    assert metrics["critic_grad_norm"] > 0.5
    norm = torch.stack([p.grad.norm() for p in agent.critic.parameters()]).norm()
    assert norm.item() == pytest.approx(0.5, rel=1e-3)
    assert make_drq()._optimizers["discriminator"].adam.param_groups[0]["lr"] == 1e-3
