"""The controller: its draws, returns and three losses against plain NumPy, the executor that may be frozen."""

import numpy as np
import pytest
import torch
from agent_kit import ACTIONS, copies, make_batch, moved
from choreo_kit import CODES, finetuning, started
from torch.nn import functional as F

from agents.choreographer.controller import EXECUTOR, SELECTOR, Picks, by_codes
from agents.dreamer.actor_critic import Actor, Critic
from agents.dreamer.behavior import Behavior, Term
from agents.dreamer.rssm import RSSM
from agents.exploration.intrinsic_reward import everywhere
from agents.nn.networks import MLP

N, H, STARTS, DISCOUNT, LAMBDA, ENTROPY = 3, 4, 5, 0.9, 0.8, 0.05
OPT = {"lr": 1e-3}


# ---- draws


def test_picks_are_one_hot_draws_of_the_softmax():
    logits = torch.tensor([2.0, 0.0, -1.0])
    drawn = Picks(logits.expand(20000, 3)).sample()
    assert ((drawn == 0) | (drawn == 1)).all() and (drawn.sum(-1) == 1).all()
    probs = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum()
    np.testing.assert_allclose(drawn.mean(0).numpy(), probs, atol=0.011)
    picks = Picks(logits.requires_grad_())
    assert picks.mode.tolist() == [1, 0, 0] and not picks.sample().requires_grad
    assert picks.entropy().item() == pytest.approx(-(probs * np.log(probs)).sum(), rel=1e-5)
    log_probs = [picks.log_prob(code).item() for code in torch.eye(3)]
    np.testing.assert_allclose(log_probs, np.log(probs), rtol=1e-5)
    assert Picks(torch.zeros(5, 2, 3)).until(4).logits.shape == (4, 2, 3)


# ---- one update against the equations


def built(**settings):
    rssm = RSSM(2, 6, deter=8, hidden=8, stoch=3, discrete=4)
    terms = {
        SELECTOR: Term(MLP(rssm.feat_dim, N, 1, 8), OPT, ENTROPY, "reinforce"),
        EXECUTOR: Term(Actor(rssm.feat_dim + N, 2, layers=1, units=8, dist="clipped_normal"), OPT, **settings),
    }
    critics = (Critic(rssm.feat_dim, 0, layers=1, units=8) for _ in range(2))
    behavior = Behavior(
        terms, *critics, rollout=by_codes, critic_opt=OPT, reward_norm={}, imag_horizon=H, discount=DISCOUNT,
        discount_lambda=LAMBDA,
    )  # fmt: skip
    return rssm, behavior, rssm.initial(STARTS)


def paid(traj):
    """A reward that the state decides."""
    return everywhere(traj.feat.sin().sum(-1))


def by_hand(reward, value):
    """G_t for t = 0 .. H - 1 from r and v (H + 1, N), one at a time."""
    returns, last = np.zeros((H, STARTS)), value[H]
    for t in reversed(range(H)):
        last = reward[t] + DISCOUNT * ((1 - LAMBDA) * value[t + 1] + LAMBDA * last)
        returns[t] = last
    return returns


def test_the_three_losses_and_the_returns_behind_them():
    rssm, behavior, start = built()
    rolled, rollout = [], behavior._rollout
    behavior._rollout = lambda *given: (rolled.append(rollout(*given)), rolled[-1])[1]
    weights = {name: copies(module) for name, module in behavior.named_children() if name != "reward_norm"}
    found = behavior.update(rssm, start, torch.zeros(STARTS, 0), paid)
    (traj, decisions) = rolled[0]
    with torch.no_grad():
        for name, module in weights.items():  # as they were when the losses were computed
            for key, p in getattr(behavior, name).named_parameters():
                p.copy_(module[key])
        reward = paid(traj).value.double().numpy()
        value = behavior.slow_critic(traj.feat, traj.skill).double().numpy()
        prediction = behavior.critic(traj.feat, traj.skill).double().numpy()
        logits = behavior.selector(traj.feat[:-1]).double().numpy()
    returns = by_hand(reward, value)
    weight = DISCOUNT ** np.arange(H)[:, None]
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    codes = decisions[SELECTOR].taken.numpy()
    entropy = -(np.exp(log_probs) * log_probs).sum(-1)
    picked = (log_probs * codes).sum(-1)
    # t = 0 .. H - 2; the code chosen at t, the return from t + 1 on, the slow critic at t
    advantage = returns[1:] - value[: H - 1]
    selector = -(weight[:-1] * (picked[:-1] * advantage + ENTROPY * entropy[:-1])).mean()
    executor = -(weight[:-1] * returns[1:]).mean()
    critic = (weight * (0.5 * (returns - prediction[:-1]) ** 2 + 0.5 * np.log(2 * np.pi))).mean()
    assert found.losses["selector_loss"].item() == pytest.approx(selector, rel=1e-4, abs=1e-6)
    assert found.losses["executor_loss"].item() == pytest.approx(executor, rel=1e-5)
    assert found.losses["critic_loss"].item() == pytest.approx(critic, rel=1e-5)
    assert found.metrics["critic_target"].item() == pytest.approx(returns.mean(), rel=1e-5)
    assert found.metrics["selector_ent"].item() == pytest.approx(entropy.mean(), rel=1e-5)
    order = [name for name in found.losses if name.endswith("_loss")]
    assert order == ["selector_loss", "executor_loss", "critic_loss"]


def test_the_returns_of_a_constant_reward_are_a_geometric_series():
    """With values that are what they should be, r / (1 - discount), every return is that, and nobody has an
    advantage.
    """
    rssm, behavior, start = built()
    with torch.no_grad():
        for p in behavior.slow_critic.parameters():
            p.zero_()
        behavior.slow_critic.net[-1].bias.fill_(0.5 / (1 - DISCOUNT))
    found = behavior.update(rssm, start, torch.zeros(STARTS, 0), lambda traj: everywhere(0.5 + 0 * traj.feat[..., 0]))
    assert found.metrics["critic_target"].item() == pytest.approx(5, rel=1e-5)
    weight = DISCOUNT ** np.arange(H - 1)
    assert found.losses["executor_loss"].item() == pytest.approx(-5 * weight.mean(), rel=1e-5)
    entropy = -found.losses["selector_loss"].item() / ENTROPY  # all that is left of the loss
    assert entropy == pytest.approx(weight.mean() * found.metrics["selector_ent"].item(), rel=0.02)


def test_reinforce_pushes_codes_by_their_advantage_alone():
    """d loss / d logits = -(w_t A_t (code - probs)) without an entropy bonus."""
    rssm, behavior, start = built()
    behavior.terms[SELECTOR].entropy = 0.0
    traj, decisions = behavior.rollout(rssm, start, torch.zeros(STARTS, 0), H)
    logits = decisions[SELECTOR].policy.logits
    with torch.no_grad():
        value = behavior.slow_critic(traj.feat, traj.skill)
        target = torch.from_numpy(by_hand(paid(traj).value.double().numpy(), value.double().numpy())).float()
    valid = torch.ones(H, STARTS, dtype=torch.bool)
    zero = torch.zeros(H, STARTS)
    loss = behavior._actor_loss(behavior.terms[SELECTOR], decisions[SELECTOR], target, value, valid, zero)
    (slope,) = torch.autograd.grad(loss, logits, retain_graph=True)
    advantage = (target[1:] - value[:-2])[..., None]
    weight = (DISCOUNT ** torch.arange(H - 1.0))[:, None, None]
    code = decisions[SELECTOR].taken[:-1]
    want = -weight * advantage * (code - F.softmax(logits[:-1], -1)) / ((H - 1) * STARTS)
    torch.testing.assert_close(slope[:-1], want.detach(), rtol=1e-4, atol=1e-7)
    assert not slope[-1].any()  # the last code has no later return


def test_gradients_go_where_they_should():
    """The executor learns through the dynamics, the selector by its own draws, and neither through the other."""
    rssm, behavior, start = built()
    traj, decisions = behavior.rollout(rssm, start, torch.zeros(STARTS, 0), H)
    selector, executor = (list(behavior.terms[name].network.parameters()) for name in (SELECTOR, EXECUTOR))
    reached = torch.autograd.grad(traj.feat[-1].sum(), [*selector, *executor], allow_unused=True, retain_graph=True)
    assert all(g is None for g in reached[: len(selector)]) and all(g is not None for g in reached[len(selector) :])
    reached = torch.autograd.grad(decisions[SELECTOR].policy.logits.sum(), [*selector, *executor], allow_unused=True)
    assert all(g is not None for g in reached[: len(selector)]) and all(g is None for g in reached[len(selector) :])
    # a new code at every step, and the executor acts by it
    assert (traj.skill.sum(-1) == 1).all() and (traj.skill[1:] != traj.skill[:-1]).any()
    assert torch.equal(traj.skill[-1], traj.skill[-2]) and torch.equal(decisions[SELECTOR].taken, traj.skill[:-1])
    policy = behavior.executor(traj.feat[:-1].detach(), traj.skill[:-1])
    torch.testing.assert_close(policy.mean, decisions[EXECUTOR].policy.mean)
    assert torch.equal(decisions[EXECUTOR].taken, traj.action[1:])


def test_codes_in_imagination_are_counted():
    agent = started(finetuning())
    assert agent.update(make_batch()).metrics["skills_updated"].item() == CODES
    with torch.no_grad():
        agent.main.behavior.selector[-1].bias.copy_(torch.tensor([0.0, 99.0, 0.0, 0.0]))
    assert agent.update(make_batch()).metrics["skills_updated"].item() == 1


# ---- frozen skills


def test_frozen_skills_do_not_learn_and_everything_else_does():
    agent = started(finetuning("agent.freeze_skills=true"))
    before = copies(agent)
    found = agent.update(make_batch())
    agent.update(make_batch())
    assert "executor_loss" not in found.losses and "executor_ent" in found.metrics
    still = set(before) - moved(agent, before)
    assert {name for name in still if "executor" in name} == {name for name in before if "executor" in name}
    assert {name for name in before if "selector" in name or ".critic" in name}.isdisjoint(still)
    assert "executor" not in agent.main.optimizers() and "selector" in agent.main.optimizers()


def test_skills_that_are_not_frozen_learn():
    agent = started(finetuning())
    before = copies(agent.main.behavior.executor)
    assert agent.update(make_batch()).losses["executor_grad_norm"] > 0
    assert moved(agent.main.behavior.executor, before) == set(before)
    assert agent.main.behavior.executor.action_dim == ACTIONS
