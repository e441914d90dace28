"""One iteration as a whole against float64, what it moves, what it is rewarded by, and how skills act."""

import math

import pytest
import rest_reference as ref
import torch
from rest_kit import ACTIONS, LENGTH, OBS, ROWS, make_rest, make_rollout

from agents.rest.schedule import Turn

LOSSES = {
    "rest": {"pi_loss", "pi_grad_norm", "value_loss", "value_grad_norm", "rnd_loss", "rnd_grad_norm"},
    "diayn": {"pi_loss", "pi_grad_norm", "value_loss", "value_grad_norm", "diayn_loss", "diayn_grad_norm"},
    "task": {"pi_loss", "pi_grad_norm", "value_loss", "value_grad_norm"},
    "random": set(),
}


def iterate(agent, times, **arguments):
    return [agent.learn(make_rollout(agent, seed=agent.updates, **arguments)) for _ in range(times)]


def values(agent):
    return {name: value.clone() for name, value in agent.state_dict().items()}


def moved(agent, before):
    """Names of the modules that have changed: ``skills.1.policy``, ``densities.predictors.1``, ..."""
    names = {name for name, value in agent.state_dict().items() if not torch.equal(value, before[name])}
    return {".".join(name.split(".")[:3]) for name in names}


# ---- acting


def test_a_sample_and_the_mean():
    agent = make_rest()
    iterate(agent, 4)
    obs = torch.randn(2000, OBS)
    mean, of_mean = agent.act(obs, 1, "eval")
    assert mean.shape == (2000, ACTIONS) and of_mean.shape == (2000,)
    own = agent.skill(1)
    seen = ref.normalised(own.normalizer, obs)[:, 1:]
    log_std = own.policy.log_std.detach().double()
    want = ref.mlp(ref.weights(own.policy.net), seen)
    torch.testing.assert_close(mean.double(), want, rtol=1e-4, atol=1e-5)
    action, log_prob = agent.act(obs, 1, "train")
    torch.testing.assert_close(log_prob.double(), ref.log_prob(want, log_std, action.double()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close((action - mean).std(0), own.policy.log_std.detach().exp(), rtol=0.1, atol=0)
    assert (of_mean > log_prob).all()


def test_acting_changes_nothing():
    agent = make_rest()
    iterate(agent, 3)
    before = values(agent)
    for mode in ("train", "eval"):
        agent.act(torch.randn(4, OBS), 0, mode)
    assert not moved(agent, before) and agent.updates == 3


@pytest.mark.parametrize("same_start", [True, False])
def test_skills_start_alike_or_not(same_start):
    agent, obs = make_rest({"same_start": same_start}), torch.randn(4, OBS)
    first, second = (agent.act(obs, k, "eval")[0] for k in (0, 2))
    assert torch.equal(first, second) == same_start
    errors = agent.densities.errors(obs)
    assert torch.equal(errors[0], errors[1]) == same_start


# ---- the reward


def test_the_reward_is_the_soft_minimum_over_the_active_skills_where_the_action_led():
    agent = make_rest()
    iterate(agent, 5)
    rollout = make_rollout(agent, 1)
    found = agent.reward(rollout, Turn(1, 1, 0, (0, 2), True))
    for i in range(ROWS):
        for t in range(LENGTH):
            state = rollout.next_obs[i, t].double()
            errors = []
            for k in (0, 2):
                nets = agent.densities.predictors[k], agent.densities.target(k)
                mine, theirs = (ref.mlp(ref.weights(net), state[None])[0] for net in nets)
                errors.append(((mine - theirs) ** 2).mean().item())
            want = -math.log(sum(math.exp(-10 * e) for e in errors) / 2)
            assert found[i, t].item() == pytest.approx(want, rel=1e-3, abs=1e-5)


def test_its_own_density_does_not_matter_and_others_do():
    agent = make_rest()
    rollout, turn = make_rollout(agent, 1), Turn(1, 1, 0, (0, 2), True)
    before = agent.reward(rollout, turn)
    with torch.no_grad():
        agent.densities.predictors[1][0].weight.mul_(3)
    assert torch.equal(agent.reward(rollout, turn), before)
    with torch.no_grad():
        agent.densities.predictors[2][0].weight.mul_(3)
    assert not torch.equal(agent.reward(rollout, turn), before)


def test_a_warm_up_has_no_reward():
    agent = make_rest()
    assert not agent.turn.trains
    assert not agent.reward(make_rollout(agent), agent.turn).any()


@pytest.mark.parametrize("method", ["task", "random"])
def test_the_environments_reward_or_none(method):
    agent = make_rest({"method": method})
    rollout = make_rollout(agent)
    want = rollout.reward if method == "task" else torch.zeros_like(rollout.reward)
    assert torch.equal(agent.reward(rollout, agent.turn), want)


@pytest.mark.parametrize("obs, positions", [("positions_scaled", 2), ("positions_scaled", None), ("normalised", None)])
def test_what_densities_read(obs, positions):
    agent = make_rest({"rnd": {"obs": obs, "position_scale": 0.25}}, positions=positions)
    iterate(agent, 3)
    state = torch.randn(6, OBS)
    seen = state.double().clone()
    if obs == "normalised":
        seen = ref.normalised(agent.skill(0).normalizer, state)
    else:
        seen[:, : positions or 1] *= 0.25
    mine, theirs = (
        ref.mlp(ref.weights(net), seen) for net in (agent.densities.predictors[0], agent.densities.target(0))
    )
    torch.testing.assert_close(agent.densities.errors(state)[0].double(), ((mine - theirs) ** 2).mean(-1),
                               rtol=1e-3, atol=1e-6)  # fmt: skip


# ---- learning


@pytest.mark.parametrize("method", ["rest", "task"])
def test_an_iteration_in_float64(method):
    """The second of a skill, so that its normaliser is not the identity: reward, advantages, steps, moments, refit."""
    agent = make_rest({"method": method, "warmup_rollouts": 1, "ppo": {"pi_lr": 3e-3, "train_v_iters": 3}})
    iterate(agent, 2 if method == "rest" else 1)
    turn = agent.turn
    assert turn.trains and turn.iteration == 1
    rollout, own = make_rollout(agent, seed=9), agent.skill(turn.skill)
    reward = agent.reward(rollout, turn).double()
    mean, var, seen = own.normalizer.mean.double(), own.normalizer.var.double(), ROWS * LENGTH
    std = torch.maximum(var.sqrt(), torch.tensor(0.01).double())
    obs, next_obs = ((x.double() - mean) / std for x in (rollout.obs, rollout.next_obs))
    critic, policy = ref.weights(own.critic), ref.weights(own.policy)
    value, next_value = (ref.mlp(critic, x[..., 1:])[..., 0].tolist() for x in (obs, next_obs))
    ends = [[bool(a or b or t == LENGTH - 1) for t, (a, b) in enumerate(zip(*row, strict=True))]
            for row in zip(rollout.terminated, rollout.truncated, strict=True)]  # fmt: skip
    advantages, returns = ref.explicit_estimates(
        reward.tolist(), value, next_value, rollout.terminated.tolist(), ends, 0.99, 0.95
    )
    advantage, target = torch.tensor(advantages).double().flatten(), torch.tensor(returns).double().flatten()
    advantage = (advantage - advantage.mean()) / advantage.std()
    rows, action, old = obs.flatten(0, 1)[:, 1:], rollout.action.double().flatten(0, 1), rollout.log_prob.double()

    # Adam goes on from the moments of the first iteration: they are put back to nothing on both sides
    for name in (f"policy_{turn.skill}", f"critic_{turn.skill}"):
        for state in agent._optimizers[name].adam.state.values():
            for moment in state.values():
                moment.zero_()

    def policy_loss(p):
        return ref.policy_loss(p[0], p[1:], rows, action, old.flatten(), advantage, 0.2, 0.01)

    policy, _ = ref.descend(policy, policy_loss, 3e-3, 3)
    critic, losses = ref.descend(critic, lambda p: ((ref.mlp(p, rows)[:, 0] - target) ** 2).mean(), 1e-3, 3)
    updated = agent.learn(rollout)
    assert updated.metrics["ratio_error"] < 1e-4
    assert updated.losses["value_loss"].item() == pytest.approx(losses[-1], rel=1e-3)
    assert updated.metrics["pi_kl"] > 1e-5
    for net, exact, lr in ((own.policy, policy, 3e-3), (own.critic, critic, 1e-3)):
        for found, wanted in zip(net.parameters(), exact, strict=True):
            torch.testing.assert_close(found.detach().double(), wanted, rtol=1e-3, atol=lr * 0.03)
    both = torch.cat([make_rollout(agent, turn.skill, seed=agent.updates - 2).obs, rollout.obs]).double().flatten(0, 1)
    torch.testing.assert_close(own.normalizer.mean.double(), both.mean(0), rtol=1e-4, atol=1e-5)
    assert own.normalizer.count.item() == pytest.approx(2 * seen, rel=1e-4)


@pytest.mark.parametrize("method", ["rest", "diayn", "task", "random"])
def test_losses_and_metrics(method):
    agent = make_rest({"method": method})
    updated = iterate(agent, 3)[-1]
    assert set(updated.losses) == LOSSES[method]
    metrics = {f"{prefix}{what}_{of}" for prefix in ("", "task_") for what in ("return", "length")
               for of in ("mean", "std", "max", "min")}  # fmt: skip
    assert metrics <= set(updated.metrics)
    assert all(value.shape == () and value.isfinite() and not value.requires_grad for value in updated.logged.values())


@pytest.mark.parametrize("method", ["rest", "diayn", "task", "random"])
def test_an_iteration_moves_one_skill(method):
    agent = make_rest({"method": method})
    iterate(agent, 4)
    turn, before = agent.turn, values(agent)
    assert turn.trains and turn.skill == {"diayn": 1}.get(method, 2)
    iterate(agent, 1)
    mine = {f"skills.{turn.skill}.{part}" for part in ("policy", "critic", "normalizer")}
    also = {"rest": {f"densities.predictors.{turn.skill}"}}.get(method, set())
    if method == "diayn":
        also = {"discriminator.classifier.net", "discriminator.normalizer.mean", "discriminator.normalizer.var",
                "discriminator.normalizer.count", "discriminator.states"}  # fmt: skip
        found = moved(agent, before)
        assert found - {"discriminator.kept"} == mine | also
    else:
        assert moved(agent, before) == (mine | also if method != "random" else set())
    assert agent.updates == 5


@pytest.mark.parametrize("init, skills", [("code", [0, 0]), ("paper", [0, 1, 2])])
def test_a_warm_up_fits_the_density_alone(init, skills):
    agent = make_rest({"init": init})
    for skill in skills:
        before = values(agent)
        assert agent.turn.skill == skill
        (updated,) = iterate(agent, 1)
        assert moved(agent, before) == {f"skills.{skill}.normalizer", f"densities.predictors.{skill}"}
        assert set(updated.losses) == {"rnd_loss", "rnd_grad_norm"}
    assert agent.turn.trains


@pytest.mark.parametrize("fit_on", ["next", "current", "next_and_first"])
def test_what_a_density_is_fitted_on(fit_on, monkeypatch):
    agent, seen = make_rest({"rnd": {"fit_on": fit_on}}), []
    refit = agent.densities.refit
    monkeypatch.setattr(agent.densities, "refit", lambda k, rows, opt: seen.append(rows) or refit(k, rows, opt))
    rollout = make_rollout(agent)
    agent.learn(rollout)
    want = {"next": rollout.next_obs, "current": rollout.obs, "next_and_first": rollout.next_obs}[fit_on].flatten(0, 1)
    if fit_on == "next_and_first":
        firsts = [rollout.obs[i, t] for i in range(ROWS) for t in range(LENGTH)
                  if t == 0 or rollout.terminated[i, t - 1] or rollout.truncated[i, t - 1]]  # fmt: skip
        assert len(firsts) == 7
        want = torch.cat([want, torch.stack(firsts)])
    assert torch.equal(seen[0], want)


def test_the_ratio_is_1_although_the_normaliser_learns():
    agent = make_rest({"ppo": {"pi_lr": 1e-2}})
    found = [updated for updated in iterate(agent, 10, shift=3.0) if "ratio_error" in updated.metrics]
    assert len(found) == 8 and all(updated.metrics["ratio_error"] < 1e-4 for updated in found)


def test_to_the_last_turn_and_no_further():
    agent = make_rest({"epochs": 1})
    iterate(agent, 2 + 4)
    assert agent.finished and len(agent.schedule) == 6
    with pytest.raises(IndexError):
        agent.learn(make_rollout(agent, 0))


@pytest.mark.parametrize("method, order", [("rest", "code"), ("diayn", "together"), ("task", "plain")])
def test_the_order_of_a_method(method, order):
    assert make_rest({"method": method}).schedule.order == order
    assert make_rest({"method": "rest", "init": "paper"}).schedule.order == "paper"


def test_a_turn_teaches_a_density_where_its_skill_goes():
    agent = make_rest({"rnd": {"hid_sizes": [64, 64], "iters": 60}, "warmup_rollouts": 3})
    iterate(agent, 3, n=10, length=40)
    here, there = torch.randn(500, OBS), torch.randn(500, OBS) + 6
    near, far = (agent.densities.errors(x, [0]).mean().item() for x in (here, there))
    assert near < 0.1 * far
    # a later skill is rewarded more there than here
    turn = Turn(0, 1, 0, (0,), True)
    rewards = [agent.reward(make_rollout(agent, 1, shift=shift), turn).mean().item() for shift in (0.0, 6.0)]
    assert rewards[0] < 0.3 * rewards[1]


def test_memory_for_gradients():
    """Of a policy; a density keeps no more than that of its rows at once."""
    agent = make_rest({"method": "task"})
    own, rows, sizes = agent.skill(0), 100, {}

    def keep(x):
        sizes[x.data_ptr()] = x.numel() * 4
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        own.policy(torch.randn(rows, OBS)).sum()
    parameters = sum(p.numel() * 4 for p in own.policy.net.parameters())
    assert 0.7 < agent.activation_bytes(rows) / (sum(sizes.values()) - parameters) < 2.5
    assert agent.activation_bytes(10 * rows) == 10 * agent.activation_bytes(rows)
    wide = make_rest({"rnd": {"hid_sizes": [512, 512]}})
    assert wide.activation_bytes(2500) == wide.activation_bytes(10_000) > wide.activation_bytes(1500)
