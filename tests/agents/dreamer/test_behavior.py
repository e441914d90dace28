import math
from types import SimpleNamespace

import pytest
import reference64 as ref
import torch

from agents.dreamer.actor_critic import Actor
from agents.dreamer.behavior import build_behavior, imagine
from agents.dreamer.rssm import RSSM
from agents.exploration.intrinsic_reward import Scored, everywhere
from agents.nn.distributions import CLIP_MARGIN
from agents.nn.latent import Latent
from agents.nn.networks import MLP

GROUPS, DETER, ACTION, N, H = (3, 4), 5, 2, 7, 15
FEAT = 12 + DETER
OPT = {"lr": 8e-5, "eps": 1e-5, "clip": 100.0, "wd": 1e-6}


def make(skill_dim=0, seed=0, **more):
    """A small RSSM, reward head and behaviour with weights large enough to matter, and start states."""
    torch.manual_seed(seed)
    settings = {
        "actor": {"layers": 2, "units": 8, "min_std": 0.1, "dist": "clipped_normal"},
        "critic": {"layers": 2, "units": 8},
        "actor_opt": OPT,
        "critic_opt": OPT,
        "reward_norm": {"momentum": 1.0, "scale": 1.0, "eps": 1e-8},
        "actor_ent": 0.3,
        "imag_horizon": H,
    }
    rssm = RSSM(ACTION, 4, deter=DETER, hidden=6, stoch=3, discrete=4)
    head = MLP(FEAT, 1, 1, 6)
    behavior = build_behavior(FEAT, ACTION, skill_dim, **{**settings, **more})
    with torch.no_grad():
        for module in (rssm, head, behavior.critic, behavior.slow_critic):
            for p in module.parameters():
                p.mul_(2).add_(0.1 * torch.randn(p.shape))
    stoch = torch.nn.functional.one_hot(torch.randint(4, (N, 3)), 4).float()
    start = Latent(torch.randn(N, DETER), stoch, torch.randn(N, *GROUPS))
    skill = (
        torch.nn.functional.one_hot(torch.randint(max(skill_dim, 1), (N,)), skill_dim).float() if skill_dim else None
    )
    skill = torch.zeros(N, 0) if skill is None else skill
    return SimpleNamespace(rssm=rssm, head=head, behavior=behavior, start=start, skill=skill)


def head_score(parts):
    return lambda traj: everywhere(parts.head(traj.feat)[..., 0])


def reference_rollout(parts, actor, noise):
    """Features f_0 .. f_H, actions a_1 .. a_H (by index), means and stds at f_0 .. f_{H-1}, all float64."""
    rssm = ref.weights(parts.rssm)
    uniform, normals = noise.categorical_steps(N, GROUPS[0]), noise.normals()
    deter, stoch, skill = parts.start.deter.double(), parts.start.stoch.double(), parts.skill.double()
    feats, actions, means, stds = [ref.feature(stoch, deter)], [None], [], []
    for t in range(H):
        out = ref.mlp(actor, torch.cat([feats[t].detach(), skill], -1))
        mean = torch.tanh(out[:, :ACTION])
        std = 2 * ref.sigmoid(out[:, ACTION:] / 2) + 0.1
        y = mean + std * normals[t]
        action = y - y.detach() + y.detach().clamp(-1 + 1e-6, 1 - 1e-6)
        deter = ref.rssm_deter(rssm, stoch, deter, action)
        stoch = ref.one_hot(ref.softmax(ref.rssm_prior(rssm, deter, GROUPS)), uniform[t])
        feats.append(ref.feature(stoch, deter))
        actions.append(action)
        means.append(mean)
        stds.append(std)
    return feats, actions, means, stds


def reference_losses(parts, noise, reinforce=False, leak=False, mag=None, scale=1.0, invalid=(), rewards=None):
    """Actor and critic loss written out index by index, with their gradients."""
    behavior = parts.behavior
    actor = ref.weights(behavior.actor.net, grad=True)
    critic = ref.weights(behavior.critic.net, grad=True)
    slow = ref.weights(behavior.slow_critic.net if behavior.slow_target else behavior.critic.net)
    feats, actions, means, stds = reference_rollout(parts, actor, noise)
    skill, eta = parts.skill.double(), behavior.terms["actor"].entropy
    head = ref.weights(parts.head)
    r = [ref.mlp(head, f)[:, 0] for f in feats]
    if rewards is not None:
        r = [x + y.double() for x, y in zip(r, rewards, strict=True)]
    raw = torch.stack(r).detach()
    if mag is not None:
        r = [scale * x / (mag(raw) + 1e-8) for x in r]
    v = [ref.mlp(slow, torch.cat([f, skill], -1))[:, 0] for f in feats]
    big_g = ref.n_step_mixture(torch.stack(r), torch.stack(v), behavior.discount, behavior.lam)
    entropy = [(0.5 + ref.HALF_LOG_2PI + s.log()).sum(-1) for s in stds]

    def counts(t, n):
        """G_t of start n uses no invalid reward."""
        return not any(k >= t and m == n for k, m in invalid)

    actor_terms = []
    for t in range(14):
        w = 0.99**t
        objective = big_g[t + 1]
        if reinforce:
            a = actions[t + 1].detach()
            z = (a - means[t]) / stds[t]
            log_prob = (-0.5 * z * z - stds[t].log() - ref.HALF_LOG_2PI).sum(-1)
            objective = log_prob * (big_g[t + 1] - v[t]).detach()
        for n in range(N):
            if counts(t + 1, n):
                actor_terms.append(w * (objective[n] + eta * entropy[t][n]))
    actor_loss = -sum(actor_terms) / len(actor_terms)

    critic_terms = []
    for t in range(15):
        target = big_g[t].detach()
        if leak and t >= 1:
            target = target + eta * entropy[t - 1].detach()
        prediction = ref.mlp(critic, torch.cat([feats[t].detach(), skill], -1))[:, 0]
        log_prob = -0.5 * (target - prediction) ** 2 - ref.HALF_LOG_2PI
        critic_terms += [0.99**t * log_prob[n] for n in range(N) if counts(t, n)]
    critic_loss = -sum(critic_terms) / len(critic_terms)
    actor_loss.backward()
    critic_loss.backward()
    return SimpleNamespace(
        actor_loss=actor_loss.item(), critic_loss=critic_loss.item(), actor=actor, critic=critic, v=torch.stack(v),
        target=big_g.detach(), entropy=torch.stack(entropy).detach(), raw=raw, normed=torch.stack(r).detach(),
    )  # fmt: skip


def same_gradients(net, want):
    for name, p in net.named_parameters():
        scale = want[name].grad.abs().max().item()
        assert scale > 0, name
        torch.testing.assert_close(
            p.grad.double(), want[name].grad, rtol=2e-3, atol=2e-4 * scale, msg=lambda m, name=name: f"{name}: {m}"
        )


def check(parts, noise, score=None, **how):
    before = {k: v.detach().clone() for k, v in parts.behavior.state_dict().items()}
    metrics = parts.behavior.update(parts.rssm, parts.start, parts.skill, score or head_score(parts), parts.head).logged
    after = {k: v.detach().clone() for k, v in parts.behavior.state_dict().items()}
    parts.behavior.load_state_dict(before)  # the reference reads the weights the update started from
    want = reference_losses(parts, noise, **how)
    parts.behavior.load_state_dict(after)
    assert metrics["actor_loss"].item() == pytest.approx(want.actor_loss, rel=1e-4)
    assert metrics["critic_loss"].item() == pytest.approx(want.critic_loss, rel=1e-4)
    same_gradients(parts.behavior.actor.net, want.actor)
    same_gradients(parts.behavior.critic.net, want.critic)
    return metrics, want


# ---- losses


@pytest.mark.parametrize("skill_dim", [0, 3])
def test_dynamics_losses(noise, skill_dim):
    parts = make(skill_dim)
    metrics, want = check(parts, noise)
    found = {
        "actor_ent": want.entropy.mean(),
        "critic_slow": want.v.mean(),
        "critic_target": want.target.mean(),
        "reward_mean": want.raw.mean(),
        "reward_std": want.raw.std(unbiased=False),
        "reward_normed_mean": want.raw.mean(),
        "reward_normed_std": want.raw.std(unbiased=False),
    }
    for key, value in found.items():
        assert metrics[key].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-5), key
    assert metrics["actor_ent_scale"].item() == pytest.approx(0.3)


def test_reinforce_losses(noise):
    check(make(actor_grad="reinforce"), noise, reinforce=True)


def test_without_slow_target_the_critic_itself_gives_the_values(noise):
    check(make(slow_target=False), noise)


def test_entropy_leak_is_a_flag(noise):
    _, corrected = check(make(), noise)
    noise.clear()
    _, published = check(make(entropy_in_targets=True), noise, leak=True)
    assert abs(corrected.critic_loss - published.critic_loss) > 0.01 * corrected.critic_loss
    assert corrected.actor_loss == pytest.approx(published.actor_loss)


def test_entropy_leaks_from_the_dynamics_gradient_only(noise):
    """The published bonus is added in place to a slice of the returns; REINFORCE has an objective of its own."""
    check(make(actor_grad="reinforce", entropy_in_targets=True), noise, reinforce=True, leak=False)


def test_rewards_are_normalised_before_the_returns(noise):
    parts = make(reward_norm={"momentum": 0.5, "scale": 2.0, "eps": 1e-8})
    metrics, want = check(parts, noise, mag=lambda raw: 0.5 + 0.5 * raw.abs().mean(), scale=2.0)
    assert metrics["reward_mean"].item() == pytest.approx(want.raw.mean().item(), rel=1e-4)
    assert metrics["reward_normed_mean"].item() == pytest.approx(want.normed.mean().item(), rel=1e-4)


INVALID = [(0, 0), (0, 3), (7, 1), (14, 5)]


def masked_score(parts, filler):
    def score(traj):
        value = parts.head(traj.feat)[..., 0]
        valid = torch.ones_like(value, dtype=torch.bool)
        for t, n in INVALID:
            valid[t, n] = False
        return Scored(torch.where(valid, value, filler), valid)

    return score


@pytest.mark.parametrize("actor_grad", ["dynamics", "reinforce"])
def test_invalid_rewards_reach_no_loss(noise, actor_grad):
    parts = make(actor_grad=actor_grad)
    metrics, want = check(parts, noise, masked_score(parts, 1e4), invalid=INVALID, reinforce=actor_grad == "reinforce")
    kept = torch.ones(H + 1, N, dtype=torch.bool)
    for t, n in INVALID:
        kept[t, n] = False
    assert metrics["reward_mean"].item() == pytest.approx(want.raw[kept].mean().item(), rel=1e-4)


@pytest.mark.parametrize("actor_grad", ["dynamics", "reinforce"])
def test_invalid_rewards_may_be_nan(noise, actor_grad):
    parts = make(actor_grad=actor_grad)
    check(parts, noise, masked_score(parts, math.nan), invalid=INVALID, reinforce=actor_grad == "reinforce")


def test_invalid_rewards_reach_no_metric(noise):
    parts = make()
    score = masked_score(parts, math.nan)
    metrics = parts.behavior.update(parts.rssm, parts.start, parts.skill, score, parts.head).logged
    assert metrics["actor_loss"].isfinite() and metrics["critic_loss"].isfinite()
    assert [k for k, v in metrics.items() if not v.isfinite() and not k.endswith("grad_norm")] == []


def test_the_last_reward_is_never_used(noise):
    parts = make()

    def score(traj):
        value = parts.head(traj.feat)[..., 0]
        return everywhere(torch.cat([value[:-1], value[-1:] + 1e6]))

    check(parts, noise, score)


def test_critic_floor():
    """A critic that predicts its targets exactly pays 0.919 * mean(0.99^t) = 0.857."""
    parts = make(actor_ent=0.0, discount=0.99)
    for net in (parts.behavior.critic, parts.behavior.slow_critic):
        with torch.no_grad():
            for p in net.parameters():
                p.zero_()
    zero = lambda traj: everywhere(torch.zeros_like(traj.feat[..., 0]))  # noqa: E731
    metrics = parts.behavior.update(parts.rssm, parts.start, parts.skill, zero, parts.head).logged
    assert metrics["critic_loss"].item() == pytest.approx(0.857, abs=5e-4)


# ---- imagination


def test_imagination_is_the_loop_of_the_card(noise):
    parts = make(3)
    with torch.no_grad():
        traj, policy = imagine(parts.rssm, parts.behavior.actor, parts.start, parts.skill, H)
    feats, actions, means, stds = reference_rollout(parts, ref.weights(parts.behavior.actor.net), noise)
    assert traj.feat.shape == (16, N, FEAT) and traj.action.shape == (16, N, ACTION) and traj.skill.shape == (16, N, 3)
    torch.testing.assert_close(traj.feat.double(), torch.stack(feats), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(traj.deter.double(), torch.stack(feats)[..., 12:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(traj.action[1:].double(), torch.stack(actions[1:]), rtol=1e-4, atol=1e-5)
    assert (traj.action[0] == 0).all()
    assert all(torch.equal(x, parts.skill) for x in traj.skill)
    torch.testing.assert_close(policy.mean.double(), torch.stack(means), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(policy.std.double(), torch.stack(stds), rtol=1e-4, atol=1e-5)


def test_shapes_with_200_starts():
    parts = make()
    start = Latent(*(x.repeat(29, *([1] * (x.dim() - 1)))[:200] for x in parts.start))
    traj, policy = imagine(parts.rssm, parts.behavior.actor, start, torch.zeros(200, 0), 15)
    assert traj.feat.shape == (16, 200, FEAT) and policy.mean.shape == (15, 200, ACTION)


def test_a_fresh_actor():
    """Means near 0, std near 1.1, so about 1.51 nats a dimension, 9.1 for walker."""
    actor = Actor(1224, 6, layers=4, units=400, min_std=0.1, dist="clipped_normal")
    policy = actor(torch.randn(200, 1224), torch.zeros(200, 0))
    assert policy.entropy().mean().item() == pytest.approx(9.1, abs=0.1)
    assert policy.mean.abs().max() < 0.3
    assert (policy.std - 1.1).abs().max() < 0.1


def test_actor_ranges():
    actor = Actor(3, 2, layers=1, units=4, min_std=0.1, dist="truncated_normal")
    with torch.no_grad():
        actor.net[2].bias.copy_(torch.tensor([50.0, -50.0, 90.0, -90.0]))
    policy = actor(torch.zeros(1, 3), torch.zeros(1, 0))
    torch.testing.assert_close(policy.mean, torch.tensor([[1.0, -1.0]]))
    torch.testing.assert_close(policy.std, torch.tensor([[2.1, 0.1]]))
    assert policy.rsample().abs().max() <= 1 - CLIP_MARGIN + 1e-7


def test_truncated_policy_trains_too():
    parts = make(actor={"layers": 2, "units": 8, "min_std": 0.1, "dist": "truncated_normal"})
    metrics = parts.behavior.update(parts.rssm, parts.start, parts.skill, head_score(parts), parts.head).logged
    assert all(v.isfinite() for v in metrics.values())
    assert all(p.grad.abs().sum() > 0 for p in parts.behavior.actor.parameters())


# ---- who learns from what


def test_only_actor_and_critic_get_gradients():
    parts = make()
    extra = MLP(FEAT, 1, 1, 4)
    score = lambda traj: everywhere((parts.head(traj.feat) * extra(traj.feat))[..., 0])  # noqa: E731
    parts.behavior.update(parts.rssm, parts.start, parts.skill, score, parts.head, extra)
    for module in (parts.rssm, parts.head, extra):
        assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert all(p.grad is None and not p.requires_grad for p in parts.behavior.slow_critic.parameters())
    for module in (parts.behavior.actor, parts.behavior.critic):
        assert all(p.requires_grad and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in module.parameters())


def test_the_actor_learns_through_the_dynamics():
    """Without entropy bonus, a reward that is constant in the state teaches the actor only through the values."""
    parts = make(actor_ent=0.0)
    with torch.no_grad():
        for p in parts.behavior.slow_critic.parameters():
            p.zero_()
    flat = lambda traj: everywhere(torch.ones_like(traj.feat[..., 0]) + 0 * traj.feat.sum(-1))  # noqa: E731
    metrics = parts.behavior.update(parts.rssm, parts.start, parts.skill, flat).logged
    assert metrics["actor_grad_norm"].item() == pytest.approx(0, abs=1e-6)
    metrics = parts.behavior.update(parts.rssm, parts.start, parts.skill, head_score(parts), parts.head).logged
    assert metrics["actor_grad_norm"].item() > 1e-3


def test_the_critic_does_not_move_the_actor_nor_the_other_way_round():
    parts = make()
    behavior = parts.behavior
    critic = {k: v.clone() for k, v in behavior.critic.state_dict().items()}
    actor = {k: v.clone() for k, v in behavior.actor.state_dict().items()}
    behavior.optimizers["critic"].step = lambda loss: torch.zeros(())
    behavior.update(parts.rssm, parts.start, parts.skill, head_score(parts), parts.head)
    assert all(torch.equal(v, critic[k]) for k, v in behavior.critic.state_dict().items())
    assert not any(torch.equal(v, actor[k]) for k, v in behavior.actor.state_dict().items())


# ---- slow target


@pytest.mark.parametrize("fraction", [1.0, 0.25])
def test_slow_target_moves_after_updates_0_100_200(fraction):
    behavior = make(slow_target_update=100, slow_target_fraction=fraction).behavior
    fast, slow = behavior.critic.net[0].weight, behavior.slow_critic.net[0].weight
    want = slow.detach().clone()
    for count in range(205):
        with torch.no_grad():
            fast.add_(1)
        if count % 100 == 0:
            share = 1.0 if count == 0 else fraction
            want = (1 - share) * want + share * fast.detach()
        behavior.after_update(count)
        torch.testing.assert_close(slow.detach(), want, rtol=1e-6, atol=1e-5)
    if fraction == 1:
        behavior.after_update(300)
        pairs = zip(behavior.slow_critic.parameters(), behavior.critic.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert slow.data_ptr() != fast.data_ptr()
