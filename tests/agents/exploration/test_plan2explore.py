"""Plan2Explore (Sekar et al. 2020): an ensemble of next-embedding models and their disagreement when imagining."""

import math

import pytest
import torch
from agent_kit import composed, copies, make_agent, make_batch, method_of, moved, tiny
from torch import nn

from agents.dreamer.returns import returns_valid
from agents.exploration.intrinsic_reward import Imagined, ReplayView, Sizes
from agents.exploration.plan2explore import Ensemble, EnsembleLinear, Plan2Explore
from agents.nn.latent import Latent
from agents.nn.networks import parameter_count

WALKER = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
SMALL = Sizes((3, 64, 64), 2, 5, 7, 3, "walker")
FIRST = torch.tensor([[True, False, False, True], [True, False, True, True], [True] + [False] * 3])


def make(members=3, hidden=6, count_first=False):
    return Plan2Explore(SMALL, members, hidden, count_first)


def make_view(first=FIRST, seed=1):
    generator = torch.Generator().manual_seed(seed)
    lead = first.shape
    blank = torch.zeros(*lead, 0)
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(
        obs=blank, embed=torch.randn(*lead, SMALL.embed, generator=generator),
        action=torch.rand(*lead, SMALL.action, generator=generator) * 2 - 1,
        skill=blank, skill_valid=~first, is_first=first, post=latent,
        feat=torch.randn(*lead, SMALL.feat, generator=generator), kl=blank,
    )  # fmt: skip


def rollout(horizon=4, starts=3, requires_grad=False):
    feat = torch.randn(horizon + 1, starts, SMALL.feat)
    action = torch.rand(horizon + 1, starts, SMALL.action) * 2 - 1
    action[0] = 0
    for x in (feat, action):
        x.requires_grad_(requires_grad)
    return Imagined(feat, torch.zeros(horizon + 1, starts, 3), action, torch.zeros(horizon + 1, starts, 0))


def predict(method, member, feat, action):
    """One member at one feature and action, unit by unit, float64."""
    x = torch.cat([feat, action]).detach().double()
    for name in ("hidden", "output"):
        layer = getattr(method, name)
        weight, bias = layer.weight[member].detach().double(), layer.bias[member, 0].detach().double()
        x = torch.stack([(x * weight[:, j]).sum() + bias[j] for j in range(weight.shape[1])])
        if name == "hidden":
            x = torch.stack([max(v, torch.zeros_like(v)) for v in x])
    return x


def disagreement(method, feat, action, members=3):
    predictions = [predict(method, m, feat, action) for m in range(members)]
    total = 0.0
    for i in range(len(predictions[0])):
        values = [p[i].item() for p in predictions]
        mean = sum(values) / members
        total += sum((v - mean) ** 2 for v in values) / (members - 1)
    return total / len(predictions[0])


# ---- loss


def test_loss_is_the_mean_norm_over_pairs_and_members():
    method, view = make(), make_view()
    found = []
    for b in range(3):
        for t in range(1, 4):
            if view.is_first[b, t]:
                continue
            for m in range(3):
                error = view.embed[b, t].double() - predict(method, m, view.feat[b, t - 1], view.action[b, t])
                found.append(math.sqrt(sum(v * v for v in error.tolist())))
    loss, metrics = method.loss(view)
    assert len(found) == 18 and metrics == {}
    assert loss.shape == () and loss.item() == pytest.approx(sum(found) / 18, rel=1e-5)


def test_pairs_across_a_join_count_nowhere():
    method, view = make(), make_view()
    action, embed = view.action.clone(), view.embed.clone()
    action[FIRST], embed[FIRST] = 77.0, -88.0  # into and of a first record
    gradients = []
    for other in (view, view._replace(action=action, embed=embed)):
        method.zero_grad()
        method.loss(other)[0].backward()
        gradients.append([p.grad.clone() for p in method.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    embed[1, 1] = -88.0
    assert method.loss(view._replace(embed=embed))[0] > method.loss(view)[0]


def test_every_parameter_of_every_member_gets_a_gradient():
    method = make(members=5)
    method.loss(make_view())[0].backward()
    for name, p in method.named_parameters():
        assert p.grad.isfinite().all() and (p.grad.abs().flatten(1).amax(1) > 1e-5).all(), name


def test_members_learn_alone():
    """The gradient of one does not depend on the others."""
    method, view = make(), make_view()
    method.loss(view)[0].backward()
    before = method.hidden.weight.grad[0].clone()
    method.zero_grad()
    with torch.no_grad():
        method.hidden.weight[1:].mul_(3)
    method.loss(view)[0].backward()
    assert torch.equal(method.hidden.weight.grad[0], before)


def test_a_perfect_prediction_has_a_finite_gradient():
    method, view = make(), make_view()
    for p in method.parameters():
        nn.init.zeros_(p)
    loss, _ = method.loss(view._replace(embed=torch.zeros_like(view.embed)))
    loss.backward()
    assert loss.item() == 0 and all((p.grad == 0).all() for p in method.parameters())


# ---- reward


@pytest.mark.parametrize("members", [2, 3])
def test_reward_is_the_variance_at_the_state_before(members):
    method, traj = make(members), rollout()
    scored = method.score_imagined(traj)
    assert scored.value.shape == scored.valid.shape == (5, 3)
    assert (scored.value[0] == 0).all()
    assert scored.valid.tolist() == [[False] * 3] + [[True] * 3] * 4
    for t in range(1, 5):
        for i in range(3):
            want = disagreement(method, traj.feat[t - 1, i], traj.action[t, i], members)
            assert scored.value[t, i].item() == pytest.approx(want, rel=1e-4)


def test_count_first_makes_it_a_zero_that_counts():
    method = make(count_first=True)
    scored = method.score_imagined(rollout())
    assert scored.valid.all() and (scored.value[0] == 0).all() and (scored.value[1:] > 0).all()


def test_gradient_reaches_the_state_before_and_no_action():
    method, traj = make(), rollout(requires_grad=True)
    value = method.score_imagined(traj).value
    for t in range(1, 5):
        traj.feat.grad = None
        value[t].sum().backward(retain_graph=True)
        touched = traj.feat.grad.abs().sum((1, 2)) > 0
        assert touched.tolist() == [i == t - 1 for i in range(5)]
    assert traj.action.grad is None


def test_small_variances_keep_their_value_under_autocast():
    """Members that differ by a thousandth: a variance of about 1e-8, which bfloat16 would drown."""
    method = make(hidden=64)
    with torch.no_grad():
        for p in method.parameters():
            p.copy_(p[:1] + 1e-3 * (p - p[:1]))
    traj, view = rollout(), make_view()
    want, loss = method.score_imagined(traj).value, method.loss(view)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found, low = method.score_imagined(traj).value, method.loss(view)[0]
    assert 0 < want[1:].max() < 1e-6 and found.dtype == torch.float32
    assert torch.equal(found, want) and torch.equal(low, loss)
    for i in range(3):
        assert found[2, i].item() == pytest.approx(disagreement(method, traj.feat[1, i], traj.action[2, i]), rel=1e-3)


# ---- sizes, configuration


def test_published_sizes():
    agent = composed("pretrain", "agent=plan2explore")["agent"]
    assert (agent["ensemble_size"], agent["ensemble_hidden"], agent["count_first"]) == (5, 1536, False)
    method = method_of(agent, WALKER)
    assert type(method) is Plan2Explore and parameter_count(method) == 21_258_240
    assert agent["actor_ent"] == 0 and agent["reward_norm"] == {"momentum": 0.95, "scale": 1.0, "eps": 1e-8}


def test_members_begin_as_linear_layers_do_and_apart():
    layer, linear = EnsembleLinear(4, 25, 1000), nn.Linear(25, 1000)
    for mine, like in ((layer.weight.detach(), linear.weight), (layer.bias.detach(), linear.bias)):
        for m in range(4):
            assert mine[m].abs().max().item() == pytest.approx(like.abs().max().item(), rel=0.01)
            assert mine[m].std().item() == pytest.approx(like.std().item(), rel=0.1)
        assert not torch.equal(mine[0], mine[1])


def test_one_member_is_a_linear_layer():
    layer, linear, x = EnsembleLinear(2, 5, 4), nn.Linear(5, 4), torch.randn(2, 7, 5)
    with torch.no_grad():
        linear.weight.copy_(layer.weight[1].T)
        linear.bias.copy_(layer.bias[1, 0])
    torch.testing.assert_close(layer(x)[1], linear(x[1]))


def test_reference():
    agent = composed("pretrain", "agent=plan2explore", "agent.reference=true")["agent"]
    assert agent["count_first"] and agent["decoder_elu_output"] and agent["entropy_in_targets"]


# ---- in the agent


@pytest.mark.parametrize("overrides", [(), ("agent.reference=true",)])
def test_one_update(overrides):
    agent = make_agent(tiny("pretrain", "agent=plan2explore", *overrides))
    before = copies(agent.main.method)
    metrics = agent.update(make_batch()).logged
    assert all(v.shape == () and v.isfinite() for v in metrics.values())
    assert {"disagreement_loss", "disagreement_grad_norm"} <= metrics.keys()
    assert moved(agent.main.method, before) == set(before)


@pytest.mark.parametrize("count_first, share", [(False, 1.0), (True, 5 / 6)])
def test_the_normaliser_sees_what_counts(spy, count_first, share):
    """A first reward of 0 would make the mean magnitude, of H + 1 = 6 steps, smaller by a sixth."""
    agent = make_agent(tiny("pretrain", "agent=plan2explore", f"agent.count_first={str(count_first).lower()}"))
    scores = spy(agent.main.method, "score_imagined")
    metrics = agent.update(make_batch()).logged
    _, scored = scores.one
    mean = scored.value[1:].mean().item() * share
    assert metrics["reward_mean"].item() == pytest.approx(mean, rel=1e-5)
    assert agent.main.behavior.reward_norm.mag.item() == pytest.approx(0.95 + 0.05 * mean, rel=1e-6)


def test_without_a_first_reward_only_the_first_return_is_missing():
    """The actor's loss, of G_1 and later, is the same; the critic's loses t = 0."""
    metrics, valid = {}, returns_valid(make().score_imagined(rollout()).valid)
    assert valid.tolist() == [[False] * 3] + [[True] * 3] * 3
    for count_first in ("true", "false"):
        overrides = (f"agent.count_first={count_first}", "agent.reward_norm.momentum=1")
        agent = make_agent(tiny("pretrain", "agent=plan2explore", *overrides))
        nn.init.zeros_(agent.main.behavior.critic.net[-1].weight)
        torch.manual_seed(3)
        metrics[count_first] = agent.update(make_batch()).logged
    assert metrics["true"]["actor_loss"] == metrics["false"]["actor_loss"]
    assert metrics["true"]["critic_loss"] != metrics["false"]["critic_loss"]


# ---- the core, on plain tensors


def test_the_core_takes_rows_of_any_agent():
    ensemble = Ensemble(3, 4, 2, 6, 5)
    x, action, target = torch.randn(8, 4), torch.rand(8, 2), torch.randn(8, 5)
    predicted = ensemble.predict(x, action)
    assert predicted.shape == (3, 8, 5)
    valid = torch.arange(8) < 5
    want = (target - predicted)[:, :5].norm(dim=-1).mean()
    assert ensemble.loss(x, action, target, valid).item() == pytest.approx(want.item(), rel=1e-5)
    torch.testing.assert_close(ensemble.disagreement(x, action), predicted.var(0).mean(-1))


def test_the_method_and_its_core_share_the_layers_and_snapshots_hold_them_once():
    method = make()
    assert set(method.state_dict()) == {"hidden.weight", "hidden.bias", "output.weight", "output.bias"}
    assert {id(p) for p in method.parameters()} == {id(p) for p in method.ensemble.parameters()}
