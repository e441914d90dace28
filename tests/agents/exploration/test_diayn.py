"""DIAYN: the classifier's loss and reward, where gradients go, the choice as published, and an update of the agent."""

import math

import pytest
import torch
from agent_kit import Remembered, composed, copies, make_agent, make_batch, method_of, moved, tiny
from reference64 import weights

from agents.exploration.diayn import DIAYN
from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes, TaskReward
from agents.nn.latent import Latent
from agents.nn.networks import parameter_count
from agents.nn.skill_classifier import SkillClassifier

PUBLISHED = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
SIZES = PUBLISHED._replace(feat=12, deter=4, action=2)
N = 4


def classifier(seed=0, inputs=12, hidden=9):
    """Biases that matter, too."""
    torch.manual_seed(seed)
    built = SkillClassifier(inputs, N, hidden)
    with torch.no_grad():
        for p in built.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return built


def log_probs(built, features):
    """log q(. | s) of one state (F,) by loops over units, as a list of n."""
    weight = weights(built.net)
    x = features.double().tolist()
    for i, last in (("0", False), ("2", False), ("4", True)):
        w, b = weight[f"{i}.weight"].tolist(), weight[f"{i}.bias"].tolist()
        x = [sum(a * c for a, c in zip(row, x, strict=True)) + bias for row, bias in zip(w, b, strict=True)]
        if not last:
            x = [max(v, 0.0) for v in x]
    total = sum(math.exp(v) for v in x)
    return [v - math.log(total) for v in x]


def one_hot(*lead, seed=1):
    index = torch.randint(N, lead, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(index, N).float()


def normal(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def view_of(feat, skill, valid):
    blank = torch.zeros(*valid.shape, 1)
    first = torch.zeros_like(valid)
    first[:, 0] = True
    latent = Latent(blank, blank[..., None], blank[..., None])
    action = 2 * torch.rand(*valid.shape, 2) - 1
    return ReplayView(blank, blank, action, skill, valid, first, latent, feat, blank[..., 0])


def make_method(*overrides, sizes=SIZES):
    agent = composed("pretrain", "agent=diayn_dreamer", "preset=debug", *overrides)["agent"]
    return method_of(agent, sizes)


# ---- loss


@pytest.mark.parametrize("numbers", [False, True])
def test_loss_by_hand(numbers):
    built, features, skill = classifier(), normal(2, 3, 12), one_hot(2, 3, seed=5)
    weight = (
        torch.tensor([[0.5, 2, 0], [1, 0, 3]]) if numbers else torch.tensor([[False, True, True], [True, False, True]])
    )
    loss, metrics = built.loss(features, skill, weight)
    total, right, share = 0.0, 0.0, 0.0
    for b in range(2):
        for t in range(3):
            row, z, w = log_probs(built, features[b, t]), int(skill[b, t].argmax()), float(weight[b, t])
            total -= w * row[z]
            right += w * (row[z] == max(row))
            share += w
    assert loss.shape == () and loss.item() == pytest.approx(total / share, rel=1e-5)
    assert metrics["diayn_acc"].item() == pytest.approx(right / share) and 0 < right < share


def test_records_that_no_skill_led_to_teach_nothing():
    built, features, skill = classifier(), normal(2, 3, 12), one_hot(2, 3)
    valid = torch.tensor([[False, True, True], [True, False, True]])

    def gradients(features, skill):
        built.zero_grad()
        built.loss(features, skill, valid)[0].backward()
        return [p.grad.clone() for p in built.parameters()]

    before = gradients(features, skill)
    features[0, 0], skill[1, 1] = 100.0, skill[1, 1].roll(1)
    after = gradients(features, skill)
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(before, after, strict=True))
    skill[0, 1] = skill[0, 1].roll(1)
    assert not torch.allclose(gradients(features, skill)[-1], before[-1])


def test_nothing_valid_gives_zero():
    built = classifier()
    loss, metrics = built.loss(normal(2, 3, 12), one_hot(2, 3), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == metrics["diayn_acc"].item() == 0
    assert all((p.grad == 0).all() for p in built.parameters())


def test_it_learns_what_can_be_told_apart():
    built = classifier(inputs=N, hidden=16)
    skill, valid = one_hot(64), torch.ones(64, dtype=torch.bool)
    optimizer = torch.optim.Adam(built.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        built.loss(skill + 0.1 * normal(64, N), skill, valid)[0].backward()
        optimizer.step()
    assert built.loss(skill, skill, valid)[1]["diayn_acc"] == 1
    reward = built.reward(skill, skill)
    assert (reward > 0.9 * math.log(N)).all() and (reward <= math.log(N) + 1e-6).all()
    assert (built.reward(skill, skill.roll(1, -1)) < 0).all()


# ---- reward


@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_reward_by_hand(scale):
    method = make_method(f"agent.diayn_scale={scale}")
    method.classifier = classifier()
    feat, skill = normal(4, 3, 12), one_hot(3).expand(4, 3, N)
    scored = method.score_imagined(Imagined(feat, feat, feat, skill))
    assert scored.value.shape == scored.valid.shape == (4, 3) and scored.valid.all()
    for t in range(4):
        for n in range(3):
            own = log_probs(method.classifier, feat[t, n])[int(skill[t, n].argmax())]
            assert scored.value[t, n].item() == pytest.approx(scale * (own + math.log(N)), rel=1e-4, abs=1e-5)


def test_reward_flows_to_its_own_state_only():
    method = make_method()
    feat = normal(4, 3, 12).requires_grad_()
    value = method.score_imagined(Imagined(feat, feat, feat, one_hot(3).expand(4, 3, N))).value
    (gradient,) = torch.autograd.grad(value[2, 1], feat)
    reached = gradient.abs().sum(-1) > 0
    assert reached[2, 1] and reached.sum() == 1


def test_loss_trains_every_parameter_and_nothing_else():
    method = make_method()
    feat = normal(4, 6, 12)
    loss, metrics = method.loss(view_of(feat, one_hot(4, 6), torch.ones(4, 6, dtype=torch.bool)))
    loss.backward()
    assert not feat.requires_grad and not metrics["diayn_acc"].requires_grad
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.parameters())


def test_loss_reads_the_records_skills_and_their_validity():
    method, valid = make_method(), torch.tensor([[False, True, True], [True, False, True]])
    feat, skill = normal(2, 3, 12), one_hot(2, 3)
    want = method.classifier.loss(feat, skill, valid)[0]
    assert torch.equal(method.loss(view_of(feat, skill, valid))[0], want)
    assert not torch.equal(method.loss(view_of(feat, skill, ~valid))[0], want)


def test_float32_under_autocast():
    """The logits are; a rounding of the hidden layers remains."""
    built, features, skill = classifier(), normal(5, 12), one_hot(5)
    with torch.autocast("cpu", torch.bfloat16):
        reward = built.reward(features, skill)
        loss, _ = built.loss(features, skill, torch.ones(5))
    assert reward.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(reward, built.reward(features, skill), atol=0.1, rtol=0.1)


# ---- sizes and start


def test_published_sizes():
    agent = composed("pretrain", "agent=diayn_dreamer")["agent"]
    method = method_of(agent, PUBLISHED)
    assert isinstance(method, DIAYN) and parameter_count(method) == 3_060_050
    assert method.skills.dim == 50 and method.scores == "imagination" and method.critic_head == "scalar"
    want = {
        "skill_dim": 50, "update_skill_every_step": 50, "num_init_frames": 4000, "diayn_scale": 1.0, "actor_ent": 0.1,
        "skill_choice": "reward", "skill_draw": "even", "train_before_choice": False,
    }  # fmt: skip
    assert {key: agent[key] for key in want} == want and agent["reward_norm"]["momentum"] == 0.95


def test_actor_and_critic_of_the_published_size():
    agent = make_agent(composed("pretrain", "agent=diayn_dreamer", "device=cpu"))
    behavior = agent.main.behavior
    assert parameter_count(behavior.actor) == 996_012
    assert parameter_count(behavior.critic) == 991_601


def test_orthogonal_start():
    net = SkillClassifier(8, N, 8).net
    for layer in (net[0], net[2], net[4]):
        rows = layer.weight @ layer.weight.T
        torch.testing.assert_close(rows, torch.eye(len(rows)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_depth(depth):
    """Hidden layers of 5 units between 8 inputs and the logits; the default is Dreamer's two."""
    built = SkillClassifier(8, N, 5, depth)
    shapes = [tuple(p.shape) for name, p in built.named_parameters() if name.endswith("weight")]
    assert shapes == [(5, 8), *[(5, 5)] * (depth - 1), (N, 5)]
    assert built.log_probs(normal(2, 8)).exp().sum(-1).tolist() == pytest.approx([1, 1])
    if depth == 2:
        assert [p.shape for p in SkillClassifier(8, N, 5).parameters()] == [p.shape for p in built.parameters()]


# ---- fine-tuning


def test_only_the_skills_stay():
    rest = make_method().finetuned()
    assert type(rest) is TaskReward and rest.skills.dim == N and not list(rest.parameters())


def test_the_choice_by_the_published_likelihood():
    agent = make_agent(tiny("finetune", "agent=diayn_dreamer", "agent.reference=true"), "finetune")
    batch = make_batch(4, 8, skill=N)
    line = agent.adapt(1000, Remembered(lambda: batch))
    assert line.startswith("skill chosen at frame 1000: skill ") and line.endswith(" (likelihood)")
    assert agent.skills.settled


# ---- configuration and the agent


def test_reference():
    agent = composed("pretrain", "agent=diayn_dreamer", "agent.reference=true")["agent"]
    assert (agent["skill_choice"], agent["skill_draw"]) == ("likelihood", "random")
    assert agent["decoder_elu_output"] and agent["entropy_in_targets"]


def test_an_update_of_the_agent():
    agent = make_agent(tiny("pretrain", "agent=diayn_dreamer"))
    before, actor = copies(agent.main.method), copies(agent.main.behavior.actor)
    metrics = agent.update(make_batch(4, 8, skill=N)).logged
    assert all(x.shape == () and x.isfinite() for x in metrics.values())
    assert {"diayn_loss", "diayn_grad_norm", "diayn_acc", "skill_spread"} <= metrics.keys()
    assert moved(agent.main.method, before) == set(before)
    assert moved(agent.main.behavior.actor, actor) == set(actor)
    assert metrics["actor_ent_scale"].item() == pytest.approx(0.1)


def test_the_reward_reaches_the_actor_through_the_model():
    """Table 5.1: with entropy off and a critic of zeros, only the reward's gradient is left."""
    agent = make_agent(tiny("pretrain", "agent=diayn_dreamer", "agent.skill_actor_ent=0"))
    behavior = agent.main.behavior
    for critic in (behavior.critic, behavior.slow_critic):
        for p in critic.parameters():
            torch.nn.init.zeros_(p)
    before = copies(agent.main.method)
    agent.main.method_opt.adam.param_groups[0]["lr"] = 0.0
    assert agent.update(make_batch(4, 8, skill=N)).logged["actor_grad_norm"] > 0
    assert not moved(agent.main.method, before)  # and the actor's loss left the classifier alone
