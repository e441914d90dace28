"""APS: features, reward, where no gradient goes, the regression of fine-tuning, and an update of the agent."""

import math

import pytest
import torch
from agent_kit import Remembered, composed, copies, make_agent, make_batch, method_of, moved, tiny
from reference64 import weights
from torch.nn import functional as F

from agents.exploration.aps import APS
from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes
from agents.nn.latent import Latent
from agents.nn.networks import parameter_count

PUBLISHED = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
SIZES = PUBLISHED._replace(feat=12, deter=4, action=2)
D = 5


def make_method(*overrides, sizes=SIZES, seed=0, noise=0.3):
    """Biases that matter, too."""
    torch.manual_seed(seed)
    agent = composed("pretrain", "agent=aps_dreamer", "preset=debug", *overrides)["agent"]
    method = method_of(agent, sizes)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(noise * torch.randn_like(p))
    return method


def phi(method, features):
    """phi of one state (F,) by loops over units, as a list of d."""
    weight = weights(method.features.phi)
    x = features.detach().double().tolist()
    for i, last in (("0", False), ("2", False), ("4", True)):
        w, b = weight[f"{i}.weight"].tolist(), weight[f"{i}.bias"].tolist()
        x = [sum(a * c for a, c in zip(row, x, strict=True)) + bias for row, bias in zip(w, b, strict=True)]
        if not last:
            x = [max(v, 0.0) for v in x]
    return x


def alignment(features, w):
    return sum(a * b for a, b in zip(features, w.tolist(), strict=True)) / math.hypot(*features)


def normal(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tasks(*lead, seed=3):
    return F.normalize(normal(*lead, D, seed=seed), dim=-1)


def view_of(feat, skill=None, valid=None, first=None):
    lead = feat.shape[:2]
    blank = torch.zeros(*lead, 1)
    if first is None:
        first = torch.zeros(*lead, dtype=torch.bool)
        first[:, 0] = True
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(
        obs=blank, embed=blank, action=blank, skill=tasks(*lead) if skill is None else skill,
        skill_valid=torch.ones_like(first) if valid is None else valid,
        is_first=first, post=latent, feat=feat, kl=blank[..., 0],
    )  # fmt: skip


def rollout(seed=0, horizon=3, count=5):
    feat = normal(horizon + 1, count, 12, seed=seed).requires_grad_()
    return Imagined(feat, feat[..., :4], feat[..., :2], tasks(count).expand(horizon + 1, count, D))


# ---- loss


@pytest.mark.parametrize("numbers", [False, True])
def test_loss_by_hand(numbers):
    method, feat, skill = make_method(), normal(2, 3, 12), tasks(2, 3)
    weight = torch.tensor([[False, True, True], [True, False, True]])
    if numbers:
        weight = torch.tensor([[0.5, 2, 0], [1, 0, 0.3]])
        loss, _ = method.features.loss(feat, skill, weight)
    else:
        loss, _ = method.loss(view_of(feat, skill, weight))
    total = sum(
        float(weight[b, t]) * alignment(phi(method, feat[b, t]), skill[b, t]) for b in range(2) for t in range(3)
    )
    assert loss.shape == () and loss.item() == pytest.approx(-total / float(weight.sum()), rel=1e-5)


def test_loss_trains_every_parameter_and_nothing_else():
    method, feat = make_method(), normal(4, 6, 12)
    loss, _ = method.loss(view_of(feat))
    loss.backward()
    assert not feat.requires_grad and feat.grad is None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.parameters())


def test_records_that_no_skill_led_to_teach_nothing():
    method, feat, skill = make_method(), normal(2, 3, 12), tasks(2, 3)
    valid = torch.tensor([[False, True, True], [True, False, True]])
    want = method.loss(view_of(feat, skill, valid))[0]
    other = skill.clone()
    other[0, 0], other[1, 1] = -skill[0, 0], -skill[1, 1]
    torch.testing.assert_close(method.loss(view_of(feat, other, valid))[0], want)
    other[0, 1] = -skill[0, 1]
    assert not torch.allclose(method.loss(view_of(feat, other, valid))[0], want)
    nothing, _ = method.loss(view_of(feat, skill, torch.zeros_like(valid)))
    assert nothing.item() == 0


# ---- reward


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("rms", [True, False])
def test_reward_by_hand(rms, reference):
    """Three rollouts: the running mean M of all distances is carried on."""
    method = make_method("agent.knn_k=4", f"agent.knn_rms={rms}", f"agent.reference={reference}", "agent.knn_clip=0.4")
    total, number = 0.0, 1e-4
    for seed in range(3):
        traj = rollout(seed)
        scored = method.score_imagined(traj)
        assert scored.value.shape == scored.valid.shape == (4, 5) and scored.valid.all()
        assert not scored.value.requires_grad
        points = [phi(method, x) for x in traj.feat.reshape(-1, 12)]
        nearest = [
            sorted(math.dist(x, y) for j, y in enumerate(points) if reference or j != i)[:4]
            for i, x in enumerate(points)
        ]
        total, number = total + sum(map(sum, nearest)), number + 4 * len(points)
        scale = total / number if rms else 1.0
        entropy = [math.log(1 + sum(max(d / scale - 0.4, 0) for d in row) / 4) for row in nearest]
        skill = traj.skill.reshape(-1, D)
        aligned = [alignment(x, w) for x, w in zip(points, skill, strict=True)]
        want = [a + b for a, b in zip(entropy, aligned, strict=True)]
        torch.testing.assert_close(scored.value.flatten().double(), torch.tensor(want).double(), rtol=1e-4, atol=1e-5)
        assert scored.metrics["aps_entropy"].item() == pytest.approx(sum(entropy) / 20, rel=1e-4)
        assert scored.metrics["aps_alignment"].item() == pytest.approx(sum(aligned) / 20, rel=1e-4, abs=1e-6)


def test_float32_under_autocast():
    method, traj = make_method("agent.knn_k=4"), rollout()
    with torch.autocast("cpu", torch.bfloat16):
        value, loss = method.score_imagined(traj).value, method.loss(view_of(normal(2, 3, 12)))[0]
    assert value.dtype == loss.dtype == torch.float32


# ---- sizes and start


def test_published_sizes():
    agent = composed("pretrain", "agent=aps_dreamer")["agent"]
    method = method_of(agent, PUBLISHED)
    assert isinstance(method, APS) and parameter_count(method) == 3_004_925
    assert method.skills.dim == D and method.scores == "imagination" and method.critic_head == "successor"
    want = {
        "skill_dim": 5, "update_skill_every_step": 50, "num_init_frames": 4000, "skill_choice": "regression",
        "train_before_choice": False, "actor_ent": 0.0, "knn_k": 12, "knn_rms": True, "knn_avg": True,
        "knn_clip": 1e-4, "knn_self": False, "reversed_regression": False, "restore_features": True,
    }  # fmt: skip
    assert {key: agent[key] for key in want} == want and agent["reward_norm"]["momentum"] == 1.0


def test_actor_and_critic_of_the_published_size():
    agent = make_agent(composed("pretrain", "agent=aps_dreamer", "device=cpu"))
    behavior = agent.main.behavior
    assert parameter_count(behavior.actor) == 978_012
    assert parameter_count(behavior.critic) == 975_205


def test_orthogonal_start():
    method = make_method("agent.aps_hidden=12", noise=0)
    for layer in (method.features.phi[i] for i in (0, 2, 4)):
        rows = layer.weight @ layer.weight.T
        torch.testing.assert_close(rows, torch.eye(len(rows)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


# ---- fine-tuning


def planted(method, monkeypatch, unit):
    """Features (B, T, d) are their own phi / |phi|."""
    monkeypatch.setattr(method.features, "unit", lambda features: features)
    return view_of(unit)


def anisotropic(seed=0, batch=40, length=10):
    """Unit vectors that mostly point one way, where Phi^T r and the solution of Phi w = r differ."""
    return F.normalize(normal(batch, length, D, seed=seed) * torch.tensor([0.2, 1, 0.3, 1, 0.1]) + 0.8, dim=-1)


@pytest.mark.parametrize("seed", range(3))
def test_the_task_vector_is_recovered(monkeypatch, seed):
    method, unit = make_method("agent.ridge=1e-9"), anisotropic(seed)
    view, truth = planted(method, monkeypatch, unit), tasks(1, seed=seed)[0]
    chosen = method.choose_skill(view, 3 * unit @ truth)
    assert chosen.dtype == torch.float32
    torch.testing.assert_close(chosen, truth, atol=1e-5, rtol=0)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_the_regression_by_hand(monkeypatch, ridge):
    """Gradient descent on the stated objective, record by record."""
    method, unit, reward = make_method(f"agent.ridge={ridge}"), anisotropic(1, 4, 5), torch.rand(4, 5)
    view = planted(method, monkeypatch, unit)
    w = torch.zeros(D, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16)

    def objective():
        optimizer.zero_grad()
        error = sum((unit[b, t].double() @ w - reward[b, t].double()).square() for b in range(4) for t in range(1, 5))
        value = error / 16 + ridge * w.square().sum()
        value.backward()
        return value

    optimizer.step(objective)
    want = w.detach() / w.detach().norm()
    torch.testing.assert_close(method.choose_skill(view, reward).double(), want, atol=1e-4, rtol=0)


def test_the_published_regression(monkeypatch):
    method, right = make_method("agent.reference=true"), make_method("agent.ridge=1e-9")
    unit = anisotropic(2)
    reward = unit @ tasks(1)[0]
    view = planted(method, monkeypatch, unit)
    total = [0.0] * D
    for b in range(40):
        for t in range(1, 10):
            for i in range(D):
                total[i] += float(unit[b, t, i]) * float(reward[b, t])
    found = method.choose_skill(view, reward)
    torch.testing.assert_close(found, torch.tensor(total) / math.hypot(*total), atol=1e-5, rtol=0)
    assert found @ right.choose_skill(planted(right, monkeypatch, unit), reward) < 0.9


def test_first_records_are_left_out(monkeypatch):
    method, unit, reward = make_method(), anisotropic(), torch.rand(40, 10)
    view = planted(method, monkeypatch, unit)
    want = method.choose_skill(view, reward)
    reward[:, 0] = 100.0
    assert torch.equal(method.choose_skill(view, reward), want)
    reward[:, 1] = 100.0
    assert not torch.allclose(method.choose_skill(view, reward), want)


@pytest.mark.parametrize("reference", [False, True])
def test_no_reward_gives_a_random_direction(reference):
    method, view = make_method(f"agent.reference={reference}"), view_of(normal(4, 6, 12))
    first, second = (method.choose_skill(view, torch.zeros(4, 6)) for _ in range(2))
    assert first.norm().item() == pytest.approx(1, abs=1e-6) and not torch.allclose(first, second)
    everything = view._replace(is_first=torch.ones(4, 6, dtype=torch.bool))
    assert method.choose_skill(everything, torch.ones(4, 6)).norm().item() == pytest.approx(1, abs=1e-6)


def test_phi_goes_to_finetuning_and_stays():
    trained, fresh = make_method(seed=1), make_method(seed=2).finetuned()
    state = trained.finetune_state()
    assert state.keys() == {f"features.phi.{i}.{kind}" for i in (0, 2, 4) for kind in ("weight", "bias")}
    assert isinstance(fresh, APS) and not any(p.requires_grad for p in fresh.parameters())
    fresh.load_state_dict(state, strict=False)
    view, reward = view_of(normal(8, 6, 12)), torch.rand(8, 6)
    assert torch.equal(fresh.choose_skill(view, reward), trained.choose_skill(view, reward))


def test_reference_snapshots_hold_no_features():
    assert make_method("agent.reference=true").finetune_state() == {}
    assert make_method("agent.restore_features=false").finetune_state() == {}


def test_from_snapshot_to_choice():
    pretrained = make_agent(tiny("pretrain", "agent=aps_dreamer"), seed=1)
    agent = make_agent(tiny("finetune", "agent=aps_dreamer"), "finetune", seed=2)
    agent.load_snapshot(pretrained.snapshot_modules(), init_actor=True, init_critic=False)
    assert not moved(agent.main.method, copies(pretrained.main.method))
    assert agent.main.method_opt is None and agent.main.behavior.critic.net[-1].out_features == D
    batch = make_batch(4, 8) | {"skill": tasks(4, 8), "skill_valid": torch.ones(4, 8, dtype=torch.bool)}
    line = agent.adapt(1000, Remembered(lambda: batch))
    assert line.startswith("skill chosen at frame 1000: skill (") and agent.skills.settled
    assert agent.skills.chosen.norm().item() == pytest.approx(1, abs=1e-5)
    before = copies(agent.main.method)
    metrics = agent.update(batch).logged
    assert all(x.isfinite() for x in metrics.values()) and metrics["actor_grad_norm"] > 0
    assert not moved(agent.main.method, before) and "aps_loss" not in metrics


# ---- configuration and the agent


def test_reference():
    agent = composed("pretrain", "agent=aps_dreamer", "agent.reference=true")["agent"]
    want = {
        "knn_self": True, "reversed_regression": True, "restore_features": False,
        "decoder_elu_output": True, "entropy_in_targets": True,
    }  # fmt: skip
    assert {key: agent[key] for key in want} == want


def test_an_update_of_the_agent():
    agent = make_agent(tiny("pretrain", "agent=aps_dreamer"))
    before = copies(agent.main.method)
    batch = make_batch(4, 8) | {"skill": tasks(4, 8), "skill_valid": torch.ones(4, 8, dtype=torch.bool)}
    metrics = agent.update(batch).logged
    assert all(x.shape == () and x.isfinite() for x in metrics.values())
    assert {"aps_loss", "aps_grad_norm", "aps_entropy", "aps_alignment", "skill_spread"} <= metrics.keys()
    assert moved(agent.main.method, before) == set(before)
    assert -1 <= metrics["aps_loss"] <= 1 and metrics["actor_ent_scale"] == 0
    moments = agent.main.method.features.entropy.moments
    assert moments.mean > 0 and moments.count.item() == pytest.approx(192 * 12, abs=1)


def test_the_reward_itself_gives_the_actor_no_gradient():
    """Table 5.1: with a critic of zeros nothing is left."""
    agent = make_agent(tiny("pretrain", "agent=aps_dreamer"))
    behavior = agent.main.behavior
    for critic in (behavior.critic, behavior.slow_critic):
        for p in critic.parameters():
            torch.nn.init.zeros_(p)
    batch = make_batch(4, 8) | {"skill": tasks(4, 8), "skill_valid": torch.ones(4, 8, dtype=torch.bool)}
    metrics = agent.update(batch).logged
    assert metrics["actor_grad_norm"] == 0 and metrics["reward_std"] > 0
    untouched = make_agent(tiny("pretrain", "agent=aps_dreamer"))
    assert untouched.update(batch).logged["actor_grad_norm"] > 0  # through the critic
