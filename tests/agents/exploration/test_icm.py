"""ICM (Pathak et al. 2017): the forward error, its alignment, and the records that have none."""

import math

import pytest
import torch
from agent_kit import composed, copies, make_agent, make_batch, method_of, moved, tiny
from reference64 import linear, weights
from torch import nn

from agents.exploration.icm import ICM, ForwardModel, _pairs
from agents.exploration.intrinsic_reward import ReplayView, Sizes
from agents.nn.latent import Latent
from agents.nn.networks import parameter_count

WALKER = Sizes((3, 64, 64), 6, 1536, 1224, 200, "walker")
SMALL = Sizes((3, 64, 64), 2, 5, 7, 3, "walker")
FIRST = torch.tensor([[True, False, False, True, False], [True, False, True, True, False], [True] + [False] * 4])


def make(sizes=SMALL, icm_scale=1.0, icm_hidden=9, inverse_model=False, first_reward=None, biases=True):
    """A method with biases that are not zero, unlike at the start."""
    method = ICM(sizes, icm_scale, icm_hidden, inverse_model, first_reward)
    if biases:
        with torch.no_grad():
            for name, p in method.named_parameters():
                if name.endswith("bias"):
                    p.normal_(0, 0.5)
    return method


def make_view(sizes=SMALL, first=FIRST, seed=1):
    generator = torch.Generator().manual_seed(seed)
    lead = first.shape
    blank = torch.zeros(*lead, 0)
    latent = Latent(blank, blank[..., None], blank[..., None])
    return ReplayView(
        obs=blank, embed=torch.randn(*lead, sizes.embed, generator=generator) * 2,
        action=torch.rand(*lead, sizes.action, generator=generator) * 2 - 1,
        skill=blank, skill_valid=~first, is_first=first, post=latent, feat=blank, kl=blank,
    )  # fmt: skip


def net(weight, name, x):
    """Linear, ReLU, linear."""
    hidden = linear(weight, f"{name}.0", x)
    return linear(weight, f"{name}.2", torch.where(hidden > 0, hidden, torch.zeros_like(hidden)))


def norm(x):
    return math.sqrt(sum(v * v for v in x.tolist()))


def errors(method, view):
    """(row, t) -> forward and inverse error of the pair (t - 1, t), where t follows t - 1."""
    weight = weights(method)
    embed, action = view.embed.double(), view.action.double()
    found = {}
    for b in range(embed.shape[0]):
        for t in range(1, embed.shape[1]):
            if view.is_first[b, t]:
                continue
            predicted = net(weight, "forward_net", torch.cat([embed[b, t - 1], action[b, t]]))
            inverse = 0.0
            if method.inverse_net is not None:
                guess = torch.tanh(net(weight, "inverse_net", torch.cat([embed[b, t - 1], embed[b, t]])))
                inverse = norm(action[b, t] - guess)
            found[b, t] = norm(embed[b, t] - predicted), inverse
    return found


# ---- loss


def test_loss_is_the_mean_norm_over_pairs_in_one_window():
    method, view = make(), make_view()
    found = errors(method, view)
    loss, metrics = method.loss(view)
    assert len(found) == 9  # of 12 pairs
    assert loss.shape == () and loss.item() == pytest.approx(sum(e for e, _ in found.values()) / 9, rel=1e-5)
    unchanged = [norm(view.embed[b, t].double() - view.embed[b, t - 1].double()) for b, t in found]
    assert metrics.keys() == {"icm_unchanged"}
    assert metrics["icm_unchanged"].item() == pytest.approx(sum(unchanged) / 9, rel=1e-5)


def test_the_inverse_model_only_monitors():
    """Its loss is logged and trains itself; the value and the forward net's gradient stay what they were."""
    method, view = make(inverse_model=True), make_view()
    found = errors(method, view)
    loss, metrics = method.loss(view)
    loss.backward()
    assert loss.item() == pytest.approx(sum(e for e, _ in found.values()) / 9, rel=1e-5)
    assert metrics["icm_inverse_loss"].item() == pytest.approx(sum(i for _, i in found.values()) / 9, rel=1e-5)
    gradients = {name: p.grad.clone() for name, p in method.named_parameters()}
    method.zero_grad()
    method.model.error(*_pairs(view))[~view.is_first[:, 1:]].mean().backward()
    for name, p in method.forward_net.named_parameters():
        torch.testing.assert_close(gradients[f"forward_net.{name}"], p.grad)
    # and the inverse net descends its own loss, not the forward error
    method.zero_grad()
    method.model.inverse_error(*_pairs(view))[~view.is_first[:, 1:]].mean().backward()
    for name, p in method.inverse_net.named_parameters():
        torch.testing.assert_close(gradients[f"inverse_net.{name}"], p.grad)
        assert p.grad.abs().max() > 1e-4


@pytest.mark.parametrize("inverse", [False, True])
def test_every_parameter_gets_a_gradient(inverse):
    method = make(inverse_model=inverse)
    method.loss(make_view())[0].backward()
    for name, p in method.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 1e-5, name


def test_a_perfect_prediction_has_a_finite_gradient():
    """The norm has none at 0: the update must not become NaN there."""
    method, view = make(biases=False), make_view()
    for p in method.parameters():
        nn.init.zeros_(p)
    view = view._replace(embed=torch.zeros_like(view.embed))
    loss, _ = method.loss(view)
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in method.parameters())
    scored = method.score_replay(view)
    assert (scored.value == 0).all()


def test_pairs_across_a_join_count_nowhere():
    method, view = make(inverse_model=True), make_view()
    loss, metrics = method.loss(view)
    action = view.action.clone()
    action[view.is_first] = 77.0  # the action into a first record
    embed = view.embed.clone()
    embed[1, 2] = -88.0  # between two first records: no pair holds it but across joins
    other, other_metrics = method.loss(view._replace(action=action, embed=embed))
    gradients = [torch.autograd.grad(value, tuple(method.parameters())) for value in (loss, other)]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert torch.equal(other, loss) and all(torch.equal(metrics[k], other_metrics[k]) for k in metrics)
    scored = method.score_replay(view._replace(action=action))
    assert torch.equal(scored.value, method.score_replay(view).value)


def test_nothing_follows_gives_zero():
    method, view = make(), make_view(first=torch.ones(2, 3, dtype=torch.bool))
    loss, _ = method.loss(view)
    loss.backward()
    assert loss.item() == 0 and not method.score_replay(view).valid.any()


# ---- reward


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_reward_is_the_log_error_of_having_come_here(scale):
    method, view = make(icm_scale=scale), make_view()
    found = errors(method, view)
    scored = method.score_replay(view)
    assert scored.value.shape == scored.valid.shape == (3, 5)
    for b in range(3):
        for t in range(5):
            assert scored.valid[b, t].item() == ((b, t) in found)
            want = math.log(1 + scale * found[b, t][0]) if (b, t) in found else 0.0
            assert scored.value[b, t].item() == pytest.approx(want, rel=1e-5)


def test_reference_counts_the_first_record_as_one():
    method, view = make(first_reward=1.0), make_view()
    scored = method.score_replay(view)
    assert scored.valid.all()
    assert (scored.value[FIRST] == 1).all()
    assert torch.equal(scored.value[~FIRST], make_like(method).score_replay(view).value[~FIRST])


def make_like(method):
    other = make()
    other.load_state_dict(method.state_dict())
    return other


def test_time_zero_never_counts():
    """Even for a row that does not begin with a first record: its predecessor is not in the batch."""
    first = FIRST.clone()
    first[:, 0] = False
    scored = make().score_replay(make_view(first=first))
    assert not scored.valid[:, 0].any() and scored.valid[:, 1].all()


def test_float32_under_autocast():
    method, view = make(), make_view()
    want, score = method.loss(view)[0], method.score_replay(view).value
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(method.loss(view)[0], want)
        assert torch.equal(method.score_replay(view).value, score)


# ---- sizes, configuration


def test_published_sizes():
    agent = composed("pretrain", "agent=icm_dreamer")["agent"]
    assert agent["inverse_model"] is False and agent["first_reward"] is None and agent["icm_scale"] == 1
    assert agent["icm_hidden"] == WALKER.embed
    method = method_of(agent, WALKER)
    assert type(method) is ICM and parameter_count(method) == 4_730_880 and method.scores == "replay"
    method = method_of(agent | {"inverse_model": True}, WALKER)
    assert parameter_count(method) == 4_730_880 + 4_729_350
    for layer in (m for m in method.modules() if isinstance(m, nn.Linear)):
        assert not layer.bias.any()
        weight = layer.weight if layer.in_features >= layer.out_features else layer.weight.T
        torch.testing.assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-4, rtol=0)


def test_reference():
    agent = composed("pretrain", "agent=icm_dreamer", "agent.reference=true")["agent"]
    assert agent["first_reward"] == 1.0 and agent["decoder_elu_output"] and agent["entropy_in_targets"]


# ---- in the agent


@pytest.mark.parametrize("overrides", [(), ("agent.reference=true", "agent.inverse_model=true")])
def test_one_update(overrides):
    agent = make_agent(tiny("pretrain", "agent=icm_dreamer", *overrides))
    before = copies(agent.main.method)
    metrics = agent.update(make_batch()).logged
    assert all(v.shape == () and v.isfinite() for v in metrics.values())
    assert {"icm_loss", "icm_grad_norm", "icm_unchanged"} <= metrics.keys()
    assert moved(agent.main.method, before) == set(before)


def test_the_reward_is_that_of_the_trained_module(spy):
    """Scored after the module's step, on the embeddings of before this update, and learnt by the reward head."""
    agent, batch = make_agent(tiny("pretrain", "agent=icm_dreamer")), make_batch(resets=[(1, 3)])
    with torch.no_grad():
        embed = agent.world_model.observe(batch["observation"], batch["action"], batch["is_first"]).embed
    scores, losses = spy(agent.main.method, "score_replay"), spy(agent.world_model, "loss")
    agent.update(batch)
    (view,), scored = scores.one
    assert torch.equal(view.embed, embed) and not scored.value.requires_grad
    assert torch.equal(scored.value, agent.main.method.score_replay(view).value)
    (_, target), _ = losses.one
    assert target is scored
    assert torch.equal(scored.valid, ~batch["is_first"])


# ---- the core, on plain tensors


def test_the_core_takes_transitions_of_any_shape():
    """What Dreamer calls with sequences, an agent that learns from transitions calls with rows."""
    model = ForwardModel(5, 2, 9, inverse=True)
    x, action, following = torch.randn(7, 5), torch.rand(7, 2), torch.randn(7, 5)
    valid = torch.arange(7) != 3
    error = (following - model.forward_net(torch.cat([x, action], -1))).norm(dim=-1)
    loss, metrics = model.loss(x, action, following, valid)
    assert loss.item() == pytest.approx(error[valid].mean().item(), rel=1e-5)
    guess = torch.tanh(model.inverse_net(torch.cat([x, following], -1)))
    assert metrics["icm_inverse_loss"].item() == pytest.approx((action - guess).norm(dim=-1)[valid].mean().item(), 1e-5)
    torch.testing.assert_close(model.reward(x, action, following, 2.0), (1 + 2 * error).log())


def test_the_method_and_its_core_share_the_networks_and_snapshots_hold_them_once():
    method = make(inverse_model=True)
    assert {key.partition(".")[0] for key in method.state_dict()} == {"forward_net", "inverse_net"}
    assert {id(p) for p in method.parameters()} == {id(p) for p in method.model.parameters()}
    other = make(inverse_model=True)
    other.load_state_dict(method.state_dict())
    view = make_view()
    assert torch.equal(other.model.error(*_pairs(view)), method.model.error(*_pairs(view)))
