"""Critic heads, and fine-tuning that waits with actor and critic until a skill is chosen."""

import pytest
import reference64 as ref
import torch
from agent_kit import Remembered, copies, make_agent, make_batch, moved, tiny
from skill_kit import N, finetuning, pretraining, records

from agents.dreamer import pilot as pilot_module
from agents.dreamer.actor_critic import Critic, SuccessorCritic
from agents.dreamer.behavior import build_behavior
from agents.dreamer.rssm import RSSM
from agents.exploration.intrinsic_reward import IntrinsicReward, everywhere
from agents.nn.latent import Latent
from agents.nn.networks import MLP, parameter_count
from agents.skills import OneHot, UnitSphere

FEAT, A, D, STARTS, H = 17, 2, 3, 7, 5
OPT = {"lr": 8e-5, "eps": 1e-5, "clip": 1e6, "wd": 1e-6}


class Directions(IntrinsicReward):
    """Skills on a sphere, valued by psi . z."""

    def __init__(self, sizes, skill_dim):
        super().__init__(sizes)
        self.skills = UnitSphere(skill_dim)
        self.critic_head = "successor"


class OneHotSuccessors(Directions):
    def __init__(self, sizes, skill_dim):
        super().__init__(sizes, skill_dim)
        self.skills = OneHot(skill_dim)


SKILL_KEYS = (
    f"+agent.skill_dim={D}",
    "+agent.update_skill_every_step=50",
    "+agent.num_init_frames=4000",
    "+agent.skill_choice=reward",
)


def agent_of(method, phase):
    return make_agent(tiny(phase, f"agent.method={__name__}.{method.__name__}", *SKILL_KEYS), phase)


def behavior(feat=FEAT, skill_dim=D, action=A, layers=2, units=8, head="successor"):
    sizes = {"layers": layers, "units": units}
    return build_behavior(
        feat, action, skill_dim, actor={**sizes, "min_std": 0.1, "dist": "clipped_normal"}, critic=sizes,
        critic_head=head, actor_opt=OPT, critic_opt=OPT, reward_norm={"momentum": 1.0}, actor_ent=0.3, imag_horizon=H,
    )  # fmt: skip


def world():
    rssm, head = RSSM(A, 4, deter=5, hidden=6, stoch=3, discrete=4), MLP(FEAT, 1, 1, 6)
    stoch = torch.nn.functional.one_hot(torch.randint(4, (STARTS, 3)), 4).float()
    start = Latent(torch.randn(STARTS, 5), stoch, torch.zeros(STARTS, 3, 4))
    skill = torch.nn.functional.normalize(torch.randn(STARTS, D), dim=-1)
    return rssm, head, start, skill


def grow(*modules):
    """Weights large enough that inputs matter."""
    with torch.no_grad():
        for p in (p for module in modules for p in module.parameters()):
            p.mul_(2).add_(0.1 * torch.randn(p.shape))


def psi_z(weight, feat, skill):
    """psi(f, z) . z, one state at a time, float64."""
    values = []
    for f, z in zip(feat, skill, strict=True):
        psi = ref.mlp(weight, torch.cat([f, z])[None].double())[0]
        values.append(sum(psi[i] * z[i].double() for i in range(len(z))))
    return torch.stack(values)


# ---- the head


def test_the_value_is_psi_times_z():
    critic = SuccessorCritic(FEAT, D, layers=2, units=8)
    grow(critic)
    feat, skill = torch.randn(4, 6, FEAT), torch.randn(4, 6, D)
    value = critic(feat, skill)
    assert value.shape == (4, 6) and value.dtype == torch.float32
    want = psi_z(ref.weights(critic.net), feat.flatten(0, 1), skill.flatten(0, 1)).reshape(4, 6)
    torch.testing.assert_close(value.double(), want, rtol=1e-4, atol=1e-5)
    # psi itself depends on the skill: the value is not linear in it
    assert (critic(feat, 2 * skill) - 2 * value).abs().max() > 0.01


def test_losses_of_both_heads():
    value, target = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([1.0, 1.0, 2.5])
    assert SuccessorCritic(FEAT, D).loss(value, target).tolist() == [0, 9, 0.25]
    floor = 0.9189385
    found = Critic(FEAT, D).loss(value, target).tolist()
    assert found == pytest.approx([floor, floor + 4.5, floor + 0.125], rel=1e-6)


def test_loss_and_gradient_in_an_update():
    """mean of w_t (psi . z - G_t)^2, G from the scalar reward and the scalar values of the slow critic."""
    parts, (rssm, head, start, skill) = behavior(), world()
    grow(rssm, head, parts.critic, parts.slow_critic)
    critic, slow = ref.weights(parts.critic.net, grad=True), ref.weights(parts.slow_critic.net)
    seen = []

    def score(traj):
        seen.append(traj)
        return everywhere(head(traj.feat)[..., 0])

    metrics = parts.update(rssm, start, skill, score, head).logged
    feat = seen[0].feat.detach().double()
    reward = torch.stack([ref.mlp(ref.weights(head), f)[:, 0] for f in feat])
    value = torch.stack([psi_z(slow, f, skill) for f in feat])
    target = ref.n_step_mixture(reward, value, 0.99, 0.95)
    terms = []
    for t in range(H):
        prediction = psi_z(critic, feat[t], skill)
        terms += [0.99**t * (prediction[n] - target[t, n]) ** 2 for n in range(STARTS)]
    loss = sum(terms) / len(terms)
    loss.backward()
    assert len(terms) == H * STARTS and metrics["critic_loss"].item() == pytest.approx(loss.item(), rel=1e-4)
    assert metrics["critic_slow"].item() == pytest.approx(value.mean().item(), rel=1e-4)
    for name, p in parts.critic.net.named_parameters():
        scale = critic[name].grad.abs().max().item()
        assert scale > 0
        torch.testing.assert_close(p.grad.double(), critic[name].grad, rtol=2e-3, atol=2e-4 * scale)


def test_an_update_moves_actor_and_critic_and_the_slow_critic_follows():
    parts, (rssm, head, start, skill) = behavior(), world()
    before = {name: copies(getattr(parts, name)) for name in ("actor", "critic", "slow_critic")}
    updated = parts.update(rssm, start, skill, lambda traj: everywhere(head(traj.feat)[..., 0]), head)
    assert all(value.isfinite() for value in updated.logged.values())
    for name in ("actor", "critic"):
        assert moved(getattr(parts, name), before[name]) == set(before[name])
    assert not moved(parts.slow_critic, before["slow_critic"])
    parts.after_update(0)
    assert moved(parts.slow_critic, copies(parts.critic)) == set()


def test_actor_gradients_flow_through_the_successor_values():
    """With a reward of nothing, the actor learns from psi . z alone."""
    parts, (rssm, _, start, skill) = behavior(), world()
    parts.terms["actor"].entropy = 0.0
    zero = lambda traj: everywhere(torch.zeros_like(traj.feat[..., 0]))  # noqa: E731
    assert parts.update(rssm, start, skill, zero).losses["actor_grad_norm"] > 1e-6
    assert all(p.grad is None for p in parts.slow_critic.parameters())


def test_parameter_counts_of_the_card():
    published = {"feat": 1224, "action": 6, "layers": 4, "units": 400}
    aps = behavior(skill_dim=5, **published)
    assert parameter_count(aps.critic) == parameter_count(aps.slow_critic) == 975_205
    assert parameter_count(aps.actor) == 978_012
    diayn = behavior(skill_dim=50, head="scalar", **published)
    assert parameter_count(diayn.critic) == 991_601 and parameter_count(diayn.actor) == 996_012


# ---- a method that asks for it


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_the_method_chooses_the_head(phase):
    """Fine-tuning, which drops the method, keeps its skills and its head."""
    main = agent_of(Directions, phase).main.behavior
    assert type(main.critic) is type(main.slow_critic) is SuccessorCritic and main.critic.net[-1].out_features == D
    scalar = pretraining() if phase == "pretrain" else finetuning()
    assert type(scalar.main.behavior.critic) is Critic


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_an_agent_with_successor_values_learns(phase):
    agent = agent_of(OneHotSuccessors, phase)
    main = agent.main.behavior
    actor, critic = copies(main.actor), copies(main.critic)
    metrics = agent.update(make_batch(4, 8, skill=D)).logged
    assert all(value.isfinite() for value in metrics.values())
    assert moved(main.actor, actor) == set(actor) and moved(main.critic, critic) == set(critic)


# ---- training before the choice of a skill


BEHAVIOR_KEYS = {"actor_loss", "critic_loss", "actor_ent", "critic", "reward_mean", "skill_spread"}


def parts_of(agent):
    main = agent.main.behavior
    return {"model": agent.world_model, "actor": main.actor, "critic": main.critic}


def learned(agent):
    """The parts of the agent one update moved, and its metrics."""
    before = {name: copies(part) for name, part in parts_of(agent).items()}
    metrics = agent.update(records(4, 8)).logged
    return {name for name, part in parts_of(agent).items() if moved(part, before[name])}, set(metrics)


def test_actor_and_critic_wait_for_the_choice(monkeypatch):
    monkeypatch.setattr(pilot_module, "CHOICE_RECORDS", 18)
    agent = finetuning("agent.train_before_choice=false")
    for count in range(3):
        parts, metrics = learned(agent)
        assert parts == {"model"} and {"model_loss", "reward_loss"} <= metrics
        assert not {key for key in metrics if key.startswith(("actor", "critic", "skill", "reward_mean"))}
        assert agent.updates == count + 1
    assert agent.adapt(10_000, Remembered(records))
    for _ in range(2):
        parts, metrics = learned(agent)
        assert parts == {"model", "actor", "critic"} and metrics >= BEHAVIOR_KEYS


def test_a_resumed_agent_does_not_wait_again():
    agent = finetuning("agent.train_before_choice=false")
    agent.skills.settle(torch.eye(N)[1])
    other = finetuning("agent.train_before_choice=false", seed=3)
    assert learned(other)[0] == {"model"}
    other.load_training_state(agent.training_state())
    assert learned(other)[0] == {"model", "actor", "critic"}


def test_by_default_they_train_from_the_beginning():
    agent = finetuning()
    assert agent.pilot.undecided and not agent.main.waits
    parts, metrics = learned(agent)
    assert parts == {"model", "actor", "critic"} and metrics >= BEHAVIOR_KEYS
    assert not agent.skills.settled


def test_pretraining_does_not_wait_for_anything():
    parts, metrics = learned(pretraining("agent.train_before_choice=false"))
    assert parts == {"model", "actor", "critic"} and metrics >= BEHAVIOR_KEYS
