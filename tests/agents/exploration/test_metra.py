"""METRA: numbers worked out by hand, where gradients flow, which pairs count, and that phi learns a plane."""

import pytest
import torch
from agent_kit import composed, make_agent, make_batch, method_of, moved, tiny
from torch.nn import functional as F

from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes
from agents.exploration.metra import MetricAbstraction, centred
from agents.nn.latent import Latent

SIZES = Sizes((3, 64, 64), 2, 1536, 12, 4, "walker")


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def abstraction(constraint="sum", inputs=2, dim=2, hidden=8, dual=30.0, identity=True):
    made = MetricAbstraction(
        inputs, dim, layers=2, hidden=hidden, dual_lambda=dual, dual_slack=1e-3, constraint=constraint
    ).double()
    with torch.no_grad():
        made.log_dual.copy_(torch.tensor(dual, dtype=torch.float64).log())
    if identity:
        made.embed = lambda features: features
    return made


def make_method(*overrides, seed=0):
    torch.manual_seed(seed)
    return method_of(composed("pretrain", "agent=metra_dreamer", "preset=debug", *overrides)["agent"], SIZES)


BEFORE = tensor((0, 0), (1, -1), (0.5, 0.5))
AFTER = tensor((1.2, 1.6), (1.2, -0.5), (0.5, 0.5))
SKILL = tensor((1, 0), (0.6, 0.8), (0, 1))
ALL = torch.ones(3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("constraint", "slack", "phi", "dual"),
    [
        ("mean", [-1, 1e-3, 1e-3], 9.4066666667, -1.1314649956),
        ("sum", [-3, 1e-3, 1e-3], 29.4066666667, -3.3989299167),
    ],
)
def test_loss_by_hand(constraint, slack, phi, dual):
    made = abstraction(constraint)
    found = made.steps(BEFORE, AFTER, SKILL)
    torch.testing.assert_close(found.reward, tensor(1.2, 0.52, 0.0), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.slack, tensor(*slack), rtol=0, atol=1e-12)
    loss, metrics = made.loss(BEFORE, AFTER, SKILL, ALL, ALL)
    assert loss.item() == pytest.approx(phi + dual, abs=1e-9)
    assert metrics["metra_dual"].item() == pytest.approx(30) and metrics["metra_reward"].item() == pytest.approx(
        1.72 / 3
    )


def test_gradient_of_a_step_by_hand():
    """A short step: -z alone. A long one: -z + lambda delta 2 / D."""
    for row, want in ((1, (-0.6, -0.8)), (0, (35, 48))):
        after = AFTER[row : row + 1].clone().requires_grad_()
        made = abstraction("mean")
        loss, _ = made.loss(BEFORE[row : row + 1], after, SKILL[row : row + 1], ALL[:1], ALL[:1])
        loss.backward()
        torch.testing.assert_close(after.grad, tensor(want), rtol=0, atol=1e-9)


def test_a_gradient_for_phi_and_one_for_the_dual_variable():
    """The weight of the constraint gets none from phi's loss but the slack, and phi none from its."""
    made = abstraction(identity=False)
    features = torch.randn(9, 2, dtype=torch.float64)
    loss, metrics = made.loss(features[:-1], features[1:], torch.ones(8, 2).double(), *[torch.ones(8).bool()] * 2)
    loss.backward()
    assert made.log_dual.grad.item() == pytest.approx(metrics["metra_slack"].item())
    before = [p.grad.clone() for p in made.phi.parameters()]
    assert all(grad.abs().sum() > 0 for grad in before)
    made.zero_grad()
    found = made.steps(made.embed(features[:-1]), made.embed(features[1:]), torch.ones(8, 2).double())
    (-(found.reward + 30 * found.slack).mean()).backward()
    for a, b in zip(before, [p.grad for p in made.phi.parameters()], strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("slack", "steps", "want"), [(-1.0, 1, 30.0030001), (1e-3, 1, 29.9970002), (1e-3, 10_000, 11.0365)]
)
def test_the_dual_variable_under_adam(slack, steps, want):
    made = abstraction()
    adam = torch.optim.Adam([made.log_dual], lr=1e-4)
    for _ in range(steps):
        made.log_dual.grad = torch.tensor(slack, dtype=torch.float64)
        adam.step()
    assert made.log_dual.exp().item() == pytest.approx(want, abs=5e-5 if steps == 1 else 5e-4)


def test_the_method_s_optimiser_leaves_the_dual_variable_alone():
    """No decay, and no clipping that would mix its scale with phi's: 1,000 satisfied steps lower it as Adam does."""
    agent = make_agent(tiny("pretrain", "agent=metra_dreamer", "agent.method_opt.lr=1e-4"))
    optimiser, dual = agent.main.method_opt, agent.main.method.abstraction.log_dual
    for _ in range(200):
        loss = dual * 1e-3 + 0 * sum(p.sum() for p in agent.main.method.abstraction.phi.parameters())
        optimiser.step(loss)
    assert dual.exp().item() == pytest.approx(30 * 2.718281828 ** (-200e-4), rel=1e-3)


def test_discrete_skills_by_hand():
    k = F.one_hot(torch.tensor([2, 0]), 4).double()
    torch.testing.assert_close(centred(k)[0], tensor(-1 / 3, -1 / 3, 1, -1 / 3))
    delta = tensor((0.1, -0.2, 0.7, 0.4), (-0.3, 0.6, 0, 0.3))
    torch.testing.assert_close((delta * centred(k)).sum(-1), tensor(0.6, -0.6))


def plain(method):
    """phi is the identity of the first two features."""
    method.abstraction.embed = lambda features: features[..., :2]
    return method


def imagined(phi, skill):
    feat = F.pad(phi[:, None].float(), (0, 10)).requires_grad_()
    held = skill.float().expand(len(phi), 1, -1)
    return Imagined(feat, feat[..., :4], feat[..., :2], held)


def test_a_rollout_by_hand():
    """The rewards sum to z . (phi_3 - phi_0); the first does not count, and features get the gradient of theirs."""
    method = plain(make_method("agent.skill_dim=2"))
    traj = imagined(tensor((0, 0), (0.3, 0.4), (0.9, 0.4), (0.9, -0.2)), tensor(0.8, 0.6))
    scored = method.score_imagined(traj)
    torch.testing.assert_close(scored.value[1:, 0], torch.tensor([0.48, 0.48, -0.36]))
    assert scored.valid[:, 0].tolist() == [False, True, True, True]
    scored.value[2].sum().backward()
    wanted = torch.zeros(4, 12)
    wanted[2, :2], wanted[1, :2] = torch.tensor([0.8, 0.6]), torch.tensor([-0.8, -0.6])
    torch.testing.assert_close(traj.feat.grad[:, 0], wanted)


def view_of(feat, skill, first=None, valid=None):
    blank = torch.zeros(*feat.shape[:2], 1)
    if first is None:
        first = torch.zeros(feat.shape[:2], dtype=torch.bool)
        first[:, 0] = True
    valid = torch.ones_like(first) if valid is None else valid
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(blank, blank, blank, skill, valid, first, latent, feat, blank[..., 0])


def test_pairs_that_count():
    """None across the start of an episode; the skill is that of the later record; without a valid skill a pair still
    has to be short.
    """
    method, feat = make_method(), torch.randn(2, 5, 12)
    skill = F.normalize(torch.randn(2, 5, 4), dim=-1)
    first = torch.zeros(2, 5, dtype=torch.bool)
    first[:, 0] = first[0, 3] = True
    valid = torch.ones_like(first)
    valid[1, 2] = False
    loss, metrics = method.loss(view_of(feat, skill, first, valid))
    phi = method.abstraction.embed(feat)
    pairs = [(b, t) for b in range(2) for t in range(1, 5) if (b, t) != (0, 3)]
    deltas = {(b, t): phi[b, t] - phi[b, t - 1] for b, t in pairs}
    reward = torch.stack([(deltas[p] * skill[p]).sum() for p in pairs if p != (1, 2)]).mean()
    slack = torch.stack([(1 - d.square().sum()).clamp(max=1e-3) for d in deltas.values()]).mean()
    assert metrics["metra_reward"].item() == pytest.approx(reward.item(), rel=1e-5)
    assert metrics["metra_slack"].item() == pytest.approx(slack.item(), rel=1e-5)
    again, _ = method.loss(view_of(torch.where(first[..., None], feat, feat), skill.clone(), first, valid))
    assert torch.equal(loss, again)


def test_the_skill_that_a_task_pays():
    """Regression of rewards on steps: w = (.3, .4), so (.6, .8)."""
    method = plain(make_method("agent.skill_dim=2", "agent.ridge=1e-12"))
    steps = torch.tensor([[0, 0], [1, 0], [1, 1], [2, 2], [1, 2]]).float()
    reward = torch.tensor([[9.0, 0.3, 0.4, 0.7, -0.3]])
    feat = F.pad(steps[None], (0, 10))
    view = view_of(feat, torch.zeros(1, 5, 2))
    torch.testing.assert_close(method.choose_skill(view, reward), torch.tensor([0.6, 0.8]))
    one_hot = plain(make_method("agent.skill_dim=2", "agent.discrete=true"))
    assert one_hot.choose_skill(view, reward).tolist() == [0, 1]
    assert method.choose_skill(view, torch.zeros(1, 5)).norm().item() == pytest.approx(1)


def test_the_skill_that_leads_to_a_goal():
    method = plain(make_method("agent.skill_dim=2"))
    feat, goal = (F.pad(torch.tensor([x]), (0, 10)) for x in ([0.0, 5.0], [3.0, 1.0]))
    torch.testing.assert_close(method.goal_skill(feat, goal)[0], torch.tensor([0.6, -0.8]))
    assert torch.isfinite(method.goal_skill(feat, feat)).all()
    one_hot = plain(make_method("agent.skill_dim=2", "agent.discrete=true"))
    assert one_hot.goal_skill(feat, goal).tolist() == [[1, 0]]


def test_an_update_of_the_agent_and_what_fine_tuning_takes_over():
    agent = make_agent(tiny("pretrain", "agent=metra_dreamer"))
    batch = make_batch()
    batch |= {"skill": agent.skills.draw(18).reshape(3, 6, -1), "skill_valid": torch.ones(3, 6, dtype=torch.bool)}
    before = {name: p.detach().clone() for name, p in agent.main.method.named_parameters()}
    found = agent.update(batch)
    assert {"metra_loss", "metra_grad_norm", "metra_dual", "metra_slack", "metra_step"} <= found.logged.keys()
    assert moved(agent.main.method, before) == set(before)
    tuned = make_agent(tiny("finetune", "agent=metra_dreamer", "snapshot_ts=0"), "finetune", seed=1)
    tuned.load_snapshot(agent.snapshot_modules(), init_actor=True, init_critic=False)
    for (name, a), b in zip(
        agent.main.method.abstraction.phi.named_parameters(),
        tuned.main.method.abstraction.phi.parameters(),
        strict=True,
    ):
        assert torch.equal(a, b) and not b.requires_grad, name


@pytest.mark.parametrize(("constraint", "low", "high"), [("sum", 0.95, 1.1), ("mean", 1.35, 1.55)])
def test_phi_learns_a_plane(constraint, low, high):
    """Steps of at most 1 there (sqrt 2 by the mean over two dimensions), and phi is linear in the position."""
    torch.manual_seed(0)
    count, length = 256, 20
    skill = F.normalize(torch.randn(count, 2), dim=-1)
    step = 0.7 * skill[:, None] + 0.4 * torch.randn(count, length, 2)
    step = step / torch.linalg.vector_norm(step, dim=-1, keepdim=True).clamp(min=1)
    place = torch.cat([torch.zeros(count, 1, 2), step.cumsum(1)], 1) / 10
    made = abstraction(constraint, hidden=64, identity=False).float()
    adam = torch.optim.Adam(made.parameters(), lr=1e-3)
    for _ in range(1500):
        row, t = torch.randint(count, (256,)), torch.randint(length, (256,))
        loss, _ = made.loss(place[row, t], place[row, t + 1], skill[row], *[torch.ones(256, dtype=torch.bool)] * 2)
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        phi = made.embed(place)
    lengths = torch.linalg.vector_norm(phi[:, 1:] - phi[:, :-1], dim=-1).flatten()
    assert low < lengths.quantile(0.99).item() < high
    x = F.pad(phi.flatten(0, 1), (0, 1), value=1.0)
    y = place.flatten(0, 1)
    rest = y - x @ torch.linalg.lstsq(x, y).solution
    assert 1 - (rest.square().sum() / (y - y.mean(0)).square().sum()).item() > 0.95
