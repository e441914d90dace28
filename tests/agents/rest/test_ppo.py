"""Steps of policy and critic against float64, and what holds for the clipped loss."""

import pytest
import rest_reference as ref
import torch
from rest_kit import rest_settings

from agents.nn.optimizer import Optimizer
from agents.rest.networks import Actor, Critic
from agents.rest.ppo import Experience, fit_values, improve, normalised, policy_loss

ROWS = 40


def ppo(**changes):
    return rest_settings({"ppo": {"hid_sizes": [8, 7], "train_pi_iters": 3, "train_v_iters": 3} | changes}).ppo


def make_actor():
    actor = Actor(5, 2, [8, 7], exclude=1, log_std_init=-0.5)
    with torch.no_grad():
        actor.log_std.add_(torch.tensor([0.1, -0.3]))
    return actor


def optimizer_of(net, lr):
    return Optimizer(net.parameters(), lr=lr, eps=1e-8, clip=None, wd=0.0)


def experience(actor, rows=ROWS):
    obs = torch.randn(rows, 5)
    with torch.no_grad():
        mean = actor(obs)
        action = actor.sample(mean)
        return Experience(obs, action, actor.log_prob(mean, action), 3 * torch.randn(rows) + 2)


def split(parameters):
    """log std and the layers of an actor's parameters."""
    assert parameters[0].dim() == 1
    return parameters[0], parameters[1:]


@pytest.mark.parametrize("lr, clip", [(3e-4, 0.2), (0.05, 0.1)])
def test_three_policy_steps(lr, clip):
    """The second pair of values takes steps so large that the clip holds some of the samples back."""
    actor = make_actor()
    rows = experience(actor)
    names = [name for name, _ in actor.named_parameters()]
    assert names[0] == "log_std"
    advantage = rows.advantage.double()
    mean = advantage.mean()
    advantage = (advantage - mean) / (((advantage - mean) ** 2).sum() / (ROWS - 1)).sqrt()

    def loss(parameters):
        log_std, net = split(parameters)
        obs, action, old = (x.double() for x in (rows.obs[:, 1:], rows.action, rows.log_prob))
        return ref.policy_loss(log_std, net, obs, action, old, advantage, clip, 0.01)

    want, losses = ref.descend(ref.weights(actor), loss, lr, 3)
    updated = improve(actor, optimizer_of(actor, lr), rows, ppo(clip_ratio=clip))
    assert updated.losses["pi_loss"].item() == pytest.approx(losses[-1], rel=1e-3, abs=1e-5)
    for name, found, wanted in zip(names, actor.parameters(), want, strict=True):
        torch.testing.assert_close(found.detach().double(), wanted, rtol=2e-3, atol=lr * 0.02, msg=name)
    if lr == 0.05:
        assert 0 < updated.metrics["pi_clipped"] < 1 and updated.metrics["pi_kl"] > 0.01
    assert updated.metrics["pi_steps"] == 3


def test_three_value_steps():
    critic, obs, returns = Critic(5, [8, 7], exclude=1), torch.randn(ROWS, 5), 3 * torch.randn(ROWS) + 1

    def loss(parameters):
        return ((ref.mlp(parameters, obs[:, 1:].double())[:, 0] - returns.double()) ** 2).mean()

    want, losses = ref.descend(ref.weights(critic), loss, 1e-3, 3)
    values = critic(obs).detach().double()
    updated = fit_values(critic, optimizer_of(critic, 1e-3), obs, returns, ppo())
    assert updated.losses["value_loss"].item() == pytest.approx(losses[-1], rel=1e-5)
    explained = 1 - (values - returns).var().item() / returns.double().var().item()
    assert updated.metrics["value_explained"].item() == pytest.approx(explained, rel=1e-4, abs=1e-5)
    for found, wanted in zip(critic.parameters(), want, strict=True):
        torch.testing.assert_close(found.detach().double(), wanted, rtol=1e-3, atol=2e-5)


def test_the_first_step_has_ratio_1():
    """Its gradient is then that of mean A log pi, and no sample is held back."""
    actor = make_actor()
    rows = experience(actor)
    loss, log_ratio = policy_loss(actor, rows, 0.2, 0.0)
    assert log_ratio.abs().max() < 1e-5
    found = torch.autograd.grad(loss, list(actor.parameters()))
    plain = -(rows.advantage * actor.log_prob(actor(rows.obs), rows.action)).mean()
    for a, b in zip(found, torch.autograd.grad(plain, list(actor.parameters())), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert improve(actor, optimizer_of(actor, 1e-3), rows, ppo()).metrics["ratio_error"] < 1e-5


def test_no_gain_beyond_the_clip():
    """Samples with A > 0 whose ratio is above 1.2, or A < 0 and below 0.8, have no gradient; others do."""
    actor = make_actor()
    rows = experience(actor, 4)
    shifts = torch.tensor([-1.0, 1.0, -1.0, 1.0])  # log pi_old lower: ratio e, higher: ratio 1 / e
    rows = rows._replace(log_prob=rows.log_prob + shifts, advantage=torch.tensor([1.0, 1.0, -1.0, -1.0]))
    for i, moves in enumerate([False, True, True, False]):
        one = Experience(*(x[i : i + 1] for x in rows))
        loss, _ = policy_loss(actor, one, 0.2, 0.0)
        gradients = torch.autograd.grad(loss, list(actor.parameters()))
        assert any(g.abs().max() > 0 for g in gradients) == moves


def test_entropy_alone_widens_the_policy():
    actor = make_actor()
    rows = experience(actor)._replace(advantage=torch.zeros(ROWS))
    before = [p.detach().clone() for p in actor.parameters()]
    improve(actor, optimizer_of(actor, 1e-2), rows, ppo())
    after = list(actor.parameters())
    assert (after[0] > before[0]).all()
    assert all(torch.equal(a, b) for a, b in zip(after[1:], before[1:], strict=True))


def test_advantages_are_normalised_and_equal_ones_are_zero():
    found = normalised(torch.tensor([1.0, 2.0, 4.0, 9.0]))
    mean, std = 4.0, (38 / 3) ** 0.5
    assert found.tolist() == pytest.approx([(x - mean) / std for x in (1, 2, 4, 9)])
    assert normalised(torch.full((6,), 3.0)).tolist() == [0.0] * 6


@pytest.mark.parametrize("target_kl, steps", [(None, 30), (1e9, 30), (0.01, None)])
def test_stop_by_kl(target_kl, steps):
    actor = make_actor()
    rows = experience(actor)
    found = improve(actor, optimizer_of(actor, 0.05), rows, ppo(train_pi_iters=30, target_kl=target_kl)).metrics
    if steps is None:
        assert 1 <= found["pi_steps"] < 30 and found["pi_kl"] > 0.01
    else:
        assert found["pi_steps"] == steps


def test_steps_on_some_of_the_rows():
    """The rows of a pass are all different; the last, too few for a step, are left out."""
    seen = []

    class Seen(Critic):
        def forward(self, obs):
            seen.append(obs[:, 0].tolist())
            return super().forward(obs)

    critic = Seen(5, [8], exclude=0)
    obs = torch.randn(10, 5)
    obs[:, 0] = torch.arange(10.0)
    fit_values(critic, optimizer_of(critic, 1e-3), obs, torch.randn(10), ppo(train_v_iters=5, batch_size=3))
    assert [len(rows) for rows in seen] == [3] * 5
    assert len(set(seen[0] + seen[1] + seen[2])) == 9 and len(set(seen[3] + seen[4])) == 6


def test_it_learns_to_do_what_is_rewarded():
    """One state, reward -(a - 0.7)^2 for the first action."""
    actor = make_actor()
    optimizer, obs = optimizer_of(actor, 1e-2), torch.ones(200, 5)
    before = (actor(obs)[0, 0] - 0.7).abs().item()
    for _ in range(15):
        with torch.no_grad():
            mean = actor(obs)
            action = actor.sample(mean)
            log_prob = actor.log_prob(mean, action)
        gain = -(action[:, 0] - 0.7).square()
        improve(actor, optimizer, Experience(obs, action, log_prob, gain), ppo(train_pi_iters=10))
    assert (actor(obs)[0, 0] - 0.7).abs().item() < 0.2 < before
