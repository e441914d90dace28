"""Methods of agents/exploration on steps of DrQ's replay: what they learn from, what they pay, and whom they move."""

import copy

import drq_reference as ref
import pytest
import torch
from agent_kit import copies, moved
from drq_kit import ACTIONS, BATCH, STACK, make_drq, transitions
from reference64 import weights
from skill_kit import Spy

import agents.drq.augmentations as module
from agents.drq.step_method import STATES
from agents.exploration.metra import centred
from agents.nn.optimizer import Optimizer

N = 3
KINDS = {
    "metra": {"method": "metra", "discrete": False},
    "metra of one-hot skills": {"method": "metra"},
    "metra, the mean": {"method": "metra", "discrete": False, "constraint": "mean"},
    "cic": {"method": "cic", "discrete": False, "knn_k": 2},
    "cic of steps": {"method": "cic", "discrete": False, "knn_k": 2, "cic_particles": "transition"},
    "rnd": {"method": "rnd", "num_skills": 0, "rnd_cnn_kernels": [3, 3, 3], "rnd_cnn_depth": 2, "rnd_rep_dim": 4},
    "apt": {"method": "apt", "num_skills": 0, "knn_k": 2, "knn_scale": "none", "knn_clip": 0.0},
}


def make(case, **changes):
    return make_drq(**(KINDS[case] | changes))


def batch_of(agent, seed=0):
    """Transitions under skills of the agent's own space."""
    batch = transitions(skills=agent.skill_dim, seed=seed)
    if agent.skill_dim:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            batch["skill"] = agent.skills.space.sample(BATCH, torch.device("cpu"))
    return batch


@pytest.fixture
def shifts(monkeypatch):
    """Of the states, of the next states, and of both together for the method."""
    return Spy(monkeypatch, module, "random_shift")


def both(moved_frames):
    """s and s' of frames that were moved as one: (2, B, STACK * C, S, S) each."""
    frames = moved_frames.unflatten(2, (STACK + 1, 3))
    return frames[:, :, :STACK].flatten(2, 3), frames[:, :, 1:].flatten(2, 3)


# ---- METRA, by hand


def phi(weight, image):
    x = ref.head(weight, "method.encoder", ref.convs(weight, "method.encoder.convs", image))
    x = ref.mlp(weight, "method.rewards.abstraction.phi.hidden", x)
    return weight["method.rewards.abstraction.phi.4.weight"] @ torch.relu(x)


def named_for_reference(weight):
    """Its hidden layers apart from the output, which has no bias."""
    hidden = "method.rewards.abstraction.phi"
    return weight | {
        f"{hidden}.hidden.{i}.{part}": weight[f"{hidden}.{i}.{part}"] for i in (0, 2) for part in ("weight", "bias")
    }


@pytest.mark.parametrize("case", [case for case in KINDS if "metra" in case])
def test_metra_in_an_update_transition_by_transition(case, shifts):
    """Loss and gradients of phi, its encoder and the dual variable; then r_int by what has learned, which the critic
    is paid.
    """
    agent = make(case, diayn_intrinsic_reward_coeff=1.9)
    batch = batch_of(agent)
    weight = weights(agent, grad=True)
    metrics = agent.update(batch).logged
    *_, ((image, pad), shifted) = shifts.calls
    assert image.shape[2] == 3 * (STACK + 1) and pad == 2
    before, after = both(shifted)
    direction = (centred(batch["skill"]) if case == "metra of one-hot skills" else batch["skill"]).double()

    def steps(named):
        """delta . z and min(eps, 1 - |delta|^2) of every copy and transition."""
        named = named_for_reference(named)
        rewards, slacks = [], []
        for k in range(2):
            for b in range(BATCH):
                delta = phi(named, after[k, b]) - phi(named, before[k, b])
                square = (delta**2).mean() if "mean" in case else (delta**2).sum()
                rewards.append(delta @ direction[b])
                slacks.append(torch.minimum(1 - square, torch.tensor(1e-3).double()))
        return torch.stack(rewards).reshape(2, BATCH), torch.stack(slacks).reshape(2, BATCH)

    reward, slack = steps(weight)
    followed, log_dual = reward[:, batch["skill_valid"]].mean(), weight["method.rewards.abstraction.log_dual"]
    loss = -followed - torch.exp(log_dual).detach() * slack.mean() + log_dual * slack.mean().detach()
    expect(metrics, "metra_loss", loss)
    expect(metrics, "metra_reward", followed)
    expect(metrics, "metra_slack", slack.mean())
    names = [key for key, _ in agent.method.named_parameters()]
    found = torch.autograd.grad(loss, [weight[f"method.{key}"] for key in names])
    assert len(names) == 8 + 4 + 5 + 1  # convolutions, head, phi, dual variable
    for key, want in zip(names, found, strict=True):
        assert want.abs().max() > 0, key
        grad = agent.method.get_parameter(key).grad.double()
        torch.testing.assert_close(grad, want, rtol=2e-3, atol=2e-4 * float(want.abs().max()))
    norm = torch.sqrt(sum((grad**2).sum() for grad in found))
    expect(metrics, "metra_grad_norm", norm)

    bonus = steps(weights(agent))[0].mean(0)
    assert (bonus - reward.mean(0)).abs().max() > 1e-4  # phi has moved
    expect(metrics, "critic_intrinsic_reward", bonus.mean())
    expect(metrics, "critic_total_reward", 1.9 * bonus.mean())


def expect(metrics, name, value):
    assert metrics[name].item() == pytest.approx(float(torch.as_tensor(value).detach()), rel=5e-4, abs=2e-5), name


# ---- the others, against the class used alone


def seen_by(agent, shifted, batch):
    """Features of the critic as it was, (2, B, 2, F), or the images of s', as they are."""
    if agent.method.augment is None:
        return batch["observation"][:, 1:].flatten(1, 2)
    with torch.no_grad():
        return torch.stack([agent.critic.encoder(image) for image in both(shifted)], 2)


@pytest.mark.parametrize("case", ["cic", "cic of steps"])
def test_cic_in_an_update(case, shifts):
    """The contrastive step on the steps of each copy, then entropy of the states reached, or of the steps."""
    agent = make(case)
    batch, before = batch_of(agent), copy.deepcopy(agent)
    metrics = agent.update(batch).logged
    seen = seen_by(before, shifts.calls[-1][1], batch)
    alone = before.method.rewards
    losses = [
        alone.control.loss(one[:, 0], one[:, 1], batch["skill"], batch["skill_valid"], exact=True)[0] for one in seen
    ]
    loss = torch.stack(losses).mean()
    norm = Optimizer(alone.parameters(), lr=1e-3, eps=1e-8, clip=None, wd=0.0).step(loss)
    expect(metrics, "cic_loss", loss)
    expect(metrics, "cic_grad_norm", norm)
    for key, want in alone.named_parameters():
        torch.testing.assert_close(agent.method.rewards.get_parameter(key), want, rtol=0, atol=2e-5)
    with torch.no_grad():
        particles = [alone.control.embed(one) for one in seen]
        if case == "cic":
            particles = [one[:, 1] for one in particles]
        else:
            particles = [alone.control.key(one[:, 0], one[:, 1]) for one in particles]
        bonus = torch.stack([alone.entropy(one) for one in particles]).mean(0)
    expect(metrics, "critic_intrinsic_reward", bonus.mean())
    torch.testing.assert_close(agent.method.rewards.entropy.moments.mean, alone.entropy.moments.mean)
    assert alone.entropy.moments.count.item() == pytest.approx(2 * BATCH * 2, abs=1e-2)  # no s, no s with its s'


def test_rnd_in_an_update():
    """Stacks of the states reached, not shifted; their error after the step, over its running deviation."""
    agent = make("rnd")
    batch, before = batch_of(agent), copy.deepcopy(agent)
    metrics = agent.update(batch).logged
    alone = before.method.rewards
    rows = (batch["observation"][:, 1:].flatten(1, 2).double() / 255 - 0.5).movedim(1, -1)
    mean, var = rows.flatten(0, -2).mean(0), rows.flatten(0, -2).var(0)
    x = ((rows - mean) / (var + 1e-5).sqrt()).clamp(-5, 5).movedim(-1, 1).float()
    loss = alone.distillation.loss(x)
    assert [p.requires_grad for p in alone.distillation.target.parameters()].count(True) == 0
    Optimizer(alone.distillation.predictor.parameters(), lr=1e-3, eps=1e-8, clip=None, wd=0.0).step(loss)
    expect(metrics, "rnd_loss", loss)
    with torch.no_grad():
        error = alone.distillation.error(x)
    expect(metrics, "rnd_error", error.mean())
    expect(metrics, "critic_intrinsic_reward", (error / error.std()).mean())


def test_apt_in_an_update_by_hand(shifts):
    """log(1 + mean distance to the two nearest of the states reached), copies apart; nothing is learned."""
    agent = make("apt")
    batch, before = batch_of(agent), copy.deepcopy(agent)
    metrics = agent.update(batch).logged
    seen = seen_by(before, shifts.calls[-1][1], batch)[:, :, 1].double()
    bonus = torch.zeros(BATCH).double()
    for particles in seen:
        for b in range(BATCH):
            distances = sorted(float((particles[b] - particles[c]).norm()) for c in range(BATCH) if c != b)
            bonus[b] += torch.log(torch.tensor(1 + (distances[0] + distances[1]) / 2)) / 2
    expect(metrics, "critic_intrinsic_reward", bonus.mean())
    expect(metrics, "critic_total_reward", bonus.mean())  # the task's has no weight
    assert "method" not in agent._optimizers and not any("apt" in key for key in metrics)


# ---- all of them


@pytest.mark.parametrize("augmentation", ["shift", ["shift", "rotation", {"RandomErasing": {"p": 0.9}}]], ids=str)
@pytest.mark.parametrize("case", [case for case in KINDS if case not in ("rnd", "apt")])
def test_where_nothing_moves_no_shift_makes_a_step(case, augmentation):
    """All frames alike: s and s' are the same image, whatever the shift."""
    agent = make(case, augmentation=augmentation)
    batch = batch_of(agent)
    batch["observation"] = batch["observation"][:, :1].expand(-1, STACK + 1, -1, -1, -1)
    views = agent.method._views(agent.method._images(batch["observation"]), batch, batch["skill"], agent.critic.encoder)
    for view in views:
        assert torch.equal(view.obs[:, 0], view.obs[:, 1]) and torch.equal(view.feat[:, 0], view.feat[:, 1])
    assert len(views) == 2 and not torch.equal(views[0].obs, views[1].obs)
    if "metra" in case:
        assert agent.update(batch).logged["critic_intrinsic_reward"] == 0


def test_a_step_as_methods_see_it():
    agent = make("cic")
    batch = batch_of(agent)
    seen = agent.method._images(batch["observation"])
    assert seen.shape == (2, BATCH, STATES, 3 * STACK, 17, 17)
    view = agent.method._views(seen, batch, batch["skill"], agent.critic.encoder)[0]
    assert view.feat.shape == (BATCH, STATES, 5) and not view.feat.requires_grad and not view.is_first.any()
    assert torch.equal(view.action[:, 1], batch["action"]) and view.action.shape == (BATCH, STATES, ACTIONS)
    for t in range(STATES):
        assert torch.equal(view.skill[:, t], batch["skill"])
        assert torch.equal(view.skill_valid[:, t], batch["skill_valid"])


@pytest.mark.parametrize("case", KINDS)
def test_an_update_moves_everything_that_learns(case):
    agent = make(case)
    before = copies(agent)
    agent.update(batch_of(agent))
    still = {name for name in before if "distillation.target" in name}
    assert moved(agent, before) == set(before) - still and bool(still) == (case == "rnd")


@pytest.mark.parametrize("case", KINDS)
def test_a_methods_step_leaves_critic_and_actor_alone(case):
    agent = make(case)
    batch, before = batch_of(agent), copies(agent)
    skill = batch.get("skill", torch.zeros(BATCH, 0))
    bonus, _ = agent.method.learn(batch, skill, agent.critic.encoder, agent._optimizers.get("method"))
    assert bonus.shape == (BATCH,) and not bonus.requires_grad
    assert all(name.startswith("method.") for name in moved(agent, before))
    assert all(p.grad is None for part in (agent.critic, agent.actor) for p in part.parameters())


def test_skills_of_seed_steps_are_no_evidence():
    """Neither METRA's reward on replay nor CIC's contrast sees them; they are paid all the same."""
    for case in ("metra", "cic"):
        agent = make(case)
        batch = batch_of(agent)
        batch["skill_valid"] = torch.zeros(BATCH, dtype=torch.bool)
        metrics = agent.update(batch).logged
        name = "metra_reward" if case == "metra" else "cic_loss"
        assert metrics[name] == 0 and metrics["critic_intrinsic_reward"] != 0


def test_clipping_stays_out_of_the_dual_variable():
    """A tiny bound on the norm leaves METRA's step what it is without."""
    batch = batch_of(make("metra"))
    found = []
    for clip in (None, 1e-6):
        agent = make("metra", grad_clip=clip)
        torch.manual_seed(3)
        agent.update(batch)
        found.append(copies(agent.method))
    assert all(torch.equal(found[0][key], value) for key, value in found[1].items())


def test_continuous_skills_go_through_the_table():
    """A sum of its rows, weighted by the skill; of a one-hot skill, its row."""
    table = make("metra").actor.skills
    skill = torch.tensor([[0.6, 0.0, -0.8], [0.0, 1.0, 0.0]])
    want = torch.stack([0.6 * table.weight[0] - 0.8 * table.weight[2], table.weight[1]])
    torch.testing.assert_close(table(skill), want)


def squares(space, size=17, batch=64):
    """Steps of a spot of light from anywhere, 2 px along a direction of ``space``."""
    skill = space.sample(batch, torch.device("cpu"))
    start = 4 + 8 * torch.rand(batch, 2)
    at = torch.stack([start] * STACK + [start + 2 * skill], 1)[..., None, None]
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    light = torch.exp(-((rows - at[:, :, 0]).square() + (columns - at[:, :, 1]).square()) / 8)
    frames = (255 * light)[:, :, None].expand(-1, -1, 3, -1, -1).to(torch.uint8)
    return {
        "observation": frames,
        "action": torch.zeros(batch, ACTIONS),
        "skill_valid": torch.ones(batch).bool(),
    }, skill


@pytest.mark.parametrize("follows", [True, False])
def test_metra_finds_the_direction_of_what_moves(follows):
    """From shifted images, with steps of length 1 at most; and none where the skill did not lead anywhere."""
    sizes = {"encoder_channels": 8, "encoder_feature_dim": 16, "discriminator_hidden_dim": 32}
    agent = make("metra", num_skills=2, spread=0, **sizes)
    for _ in range(120):
        batch, skill = squares(agent.skills.space)
        skill = skill if follows else skill.roll(1, 0)
        bonus, updated = agent.method.learn(batch, skill, agent.critic.encoder, agent._optimizers["method"])
    assert (bonus.mean() > 0.3) if follows else (bonus.mean().abs() < 0.1)
    assert updated.metrics["metra_step"] < 1.1
