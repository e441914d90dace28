"""Dyna-MPC (Rajeswar et al. 2023): the objective and the search against float64, and a known best action."""

from types import SimpleNamespace

import pytest
import torch
from agent_kit import composed, make_agent
from planner_kit import ENVS, A, P, S, build, search, sequences, states
from planner_reference import Reference
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from agents.dreamer.behavior import one_actor
from agents.dreamer.planner import Planner
from agents.nn.distributions import ClippedNormal
from agents.nn.latent import Latent

SKILLS = pytest.mark.parametrize("skills", [False, True], ids=["no skills", "skills"])


def score(agent, latent, skill, candidates, seed=5):
    torch.manual_seed(seed)
    return agent.planner.objective(agent.world_model, agent.main.behavior, latent, skill, candidates)


@pytest.fixture
def draws(noise, monkeypatch):
    """``noise`` that records torch.randn, too; start it when everything is built."""
    original = torch.randn

    def recorded(*args, **kwargs):
        out = original(*args, **kwargs)
        noise.candidates.append(out.detach().double())
        return out

    def start():
        noise.clear()
        noise.candidates = []
        monkeypatch.setattr(torch, "randn", recorded)
        return noise

    return start


def close(found, want):
    torch.testing.assert_close(found.double(), torch.tensor(want, dtype=torch.float64), rtol=1e-3, atol=1e-4)


# ---- the objective


@SKILLS
@pytest.mark.parametrize("use_value", [True, False])
def test_objective(draws, skills, use_value):
    agent = build(f"planner.use_value={use_value}", skills=skills)
    latent, skill, *_ = states(agent)
    candidates, recorded = sequences(4), draws()
    found = agent.planner.objective(agent.world_model, agent.main.behavior, latent, skill, candidates)
    assert found.shape == (ENVS, 4) and len(recorded.categorical) == P
    reference = Reference(agent)
    want = [
        [
            reference.objective(
                (latent.stoch[i : i + 1].double(), latent.deter[i : i + 1].double()), skill[i].double(),
                candidates[i, c].double(), [u[4 * i + c] for u in recorded.categorical],
            )
            for c in range(4)
        ]
        for i in range(ENVS)
    ]  # fmt: skip
    close(found, want)
    assert found.std(1).min() > 0.01


def changed_action(agent, index):
    """Largest change of the objectives when one action of every sequence is changed, under the same noise."""
    latent, skill, *_ = states(agent)
    before = sequences(5)
    after = before.clone()
    after[:, :, index] = -after[:, :, index]
    return (score(agent, latent, skill, before) - score(agent, latent, skill, after)).abs().max().item()


def test_the_last_action_counts_through_the_value_only():
    without, with_value = build("planner.use_value=false"), build()
    assert changed_action(without, P - 1) == 0
    assert changed_action(with_value, P - 1) > 1e-3
    assert changed_action(without, P - 2) > 1e-3


def test_the_skill_reaches_the_value_and_not_the_reward():
    for use_value, differs in ((True, True), (False, False)):
        agent = build(f"planner.use_value={use_value}", skills=True)
        latent, skill, *_ = states(agent)
        before, after = (score(agent, latent, z, sequences(4)) for z in (skill, skill.roll(1, 1)))
        assert (before != after).all() == differs == (before != after).any()


def test_the_values_are_those_of_the_slow_critic():
    agent = build()
    latent, skill, *_ = states(agent)
    before = score(agent, latent, skill, sequences(4))
    with torch.no_grad():
        agent.main.behavior.critic.net[-1].bias.add_(1)
        assert torch.equal(score(agent, latent, skill, sequences(4)), before)
        agent.main.behavior.slow_critic.net[-1].bias.add_(1)
    # v + 1 adds discount (1 - lambda) for every value but the last, and discount^n of what is left for that one
    lam, discount = 0.95, 0.99
    more = discount * (1 - lam) + discount**2 * lam
    torch.testing.assert_close(score(agent, latent, skill, sequences(4)), before + more, rtol=0, atol=1e-4)


# ---- the search


@SKILLS
@pytest.mark.parametrize("explore", [True, False], ids=["train", "eval"])
def test_a_whole_search(draws, skills, explore):
    agent = build(skills=skills)
    assert agent.planner.num_policies == 2
    inputs, recorded = states(agent), draws()
    plan = search(agent, inputs, explore)
    # rollouts of the policy, two iterations, and what exploration draws
    assert len(recorded.categorical) == 3 * P and len(recorded.exponential) == explore
    assert len(recorded.normal) == P + explore
    assert [x.shape for x in recorded.candidates] == [(ENVS, S, P, A)] * 2
    reference, clamped = Reference(agent), []
    for i in range(ENVS):
        action, mean, objective, variances = reference.search(i, inputs, recorded, explore)
        close(plan.action[i], action)
        close(plan.mean[i], mean)
        close(plan.objective[:, i], objective)
        clamped += [v < 0.25 for v in variances]
    assert {True, False} == set(clamped)  # both sides of min_std = 0.5
    assert plan.action.shape == (ENVS, A) and plan.mean.shape == (ENVS, P, A) and plan.objective.shape == (2, ENVS)


def test_the_first_step_of_an_episode_has_no_previous_mean():
    agent = build()
    latent, skill, previous, is_first = states(agent)
    assert is_first.tolist() == [True, False, False]
    plan = search(agent, (latent, skill, previous, is_first), seed=3)
    fresh = search(agent, (latent, skill, torch.zeros_like(previous), is_first), seed=3)
    same = [torch.equal(plan.mean[i], fresh.mean[i]) for i in range(ENVS)]
    assert same == [True, False, False]
    # the first action of the last plan has been taken: it does not matter any more
    previous[:, 0] = 0.123
    again = search(agent, (latent, skill, previous, is_first), seed=3)
    assert torch.equal(again.mean, plan.mean) and torch.equal(again.action, plan.action)


def test_without_policy_rollouts(draws):
    agent = build("planner.mixture_coef=0")
    inputs, recorded = states(agent), draws()
    plan = search(agent, inputs, explore=False)
    assert len(recorded.categorical) == 2 * P and recorded.normal == []
    close(plan.mean[1], Reference(agent).search(1, inputs, recorded, False)[1])


def test_evaluation_is_deterministic_and_leaves_the_random_state_alone():
    agent = build()
    inputs = states(agent)
    before = torch.get_rng_state()
    one, two = search(agent, inputs, False), search(agent, inputs, False)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))
    torch.manual_seed(99)
    assert torch.equal(search(agent, inputs, False).action, one.action)


def test_training_is_not_deterministic():
    agent = build()
    inputs = states(agent)
    before = torch.get_rng_state()
    one, two = search(agent, inputs), search(agent, inputs)
    assert not torch.equal(torch.get_rng_state(), before)
    assert (one.action != two.action).all() and not torch.equal(one.mean, two.mean)


def test_the_elite_is_drawn_by_its_weight():
    weight = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.1, 0.9]]).repeat(4000, 1)
    actions = torch.arange(3.0)[None, :, None].expand(8000, 3, 1) / 2 - 0.5
    action = Planner._explore(actions, weight, torch.zeros(8000, 1)).unflatten(0, (4000, 2))[..., 0]
    share = torch.stack([(action == x).float().mean(0) for x in (-0.5, 0.0, 0.5)], 1)
    torch.testing.assert_close(share, weight[:2], rtol=0, atol=0.04)
    assert share[1, 0] == 0


def test_actions_stay_in_the_box_with_noise():
    agent = build("planner.min_std=2")
    action = torch.stack([search(agent, states(agent, seed=i)).action for i in range(20)])
    assert action.abs().max() == 1 and 0.3 < (action.abs() == 1).float().mean() < 0.9


def test_environments_do_not_mix():
    """Another state, skill and plan of environment 1, the same noise: the others notice nothing."""
    agent = build(skills=True)
    latent, skill, previous, is_first = states(agent)
    other = states(agent, seed=8)
    put = lambda x, y: torch.stack([x[0], y[1], x[2]])  # noqa: E731
    mixed = Latent(*map(put, latent, other[0])), put(skill, skill.roll(1, 1)), put(previous, other[2])
    for explore in (True, False):
        one = search(agent, (latent, skill, previous, is_first), explore, seed=5)
        two = search(agent, (*mixed, is_first), explore, seed=5)
        for x, y in ((one.action, two.action), (one.mean, two.mean), (one.objective.T, two.objective.T)):
            assert [torch.equal(x[i], y[i]) for i in range(ENVS)] == [True, False, True]


def test_no_gradient():
    agent = build()
    agent.requires_grad_(True)
    plan = search(agent, states(agent))
    assert not any(x.requires_grad for x in plan) and all(p.grad is None for p in agent.parameters())
    assert all(p.requires_grad for p in agent.parameters())


# ---- published values


def test_the_published_values():
    config = composed("finetune")
    assert config["mpc"] is False and config["planner"] == {
        "start_after": 1000, "iterations": 12, "num_samples": 512, "num_elites": 64, "mixture_coef": 0.05,
        "min_std": 0.1, "temperature": 0.5, "momentum": 0.1, "horizon": 5, "use_value": True,
    }  # fmt: skip
    assert Planner(**config["planner"]).num_policies == 25


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor an operation returned."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor) and x._base is None:
                self.elements = max(self.elements, x.numel())
        return out


def test_shapes_and_memory_at_the_published_sizes(spy):
    agent = make_agent(composed("finetune", "mpc=true", "planner.iterations=1", "device=cpu"), "finetune")
    steps, rollouts = (spy(agent.world_model.rssm, name) for name in ("imagine_step", "imagine"))
    latent = agent.world_model.rssm.initial(1)
    acting = agent.start(1)
    assert acting.plan.shape == (1, 5, 6)
    with Largest() as largest:
        plan = search(agent, (latent, acting.skill, acting.plan, torch.tensor([True])))
    assert [len(args[0].deter) for args, _ in steps.calls] == [25] * 5
    assert [args[1].shape[:2] for args, _ in rollouts.calls] == [(537, 5)]
    assert plan.action.shape == (1, 6) and plan.mean.shape == (1, 5, 6) and plan.objective.shape == (1, 1)
    assert largest.elements == 537 * 5 * 1224  # the imagined features, 13 MB


# ---- a world whose best action is known


class Plane(SimpleNamespace):
    """x' = x + a / 2; the reward of being at x is -|x - goal|^2. ``stoch`` carries the goal."""

    def prior(self):
        """There are no weights."""

    def drawn(self, steps, count, device):
        return torch.zeros(steps)

    def imagine_step(self, latent, action, prior=None, drawn=None):
        return latent._replace(deter=latent.deter + action / 2)

    def imagine(self, start, actions):
        states = [start]
        for action in actions.unbind(1):
            states.append(self.imagine_step(states[-1], action))
        return Latent(*(torch.stack(xs, 1) for xs in zip(*states[1:], strict=True)))


class Gaussian:
    """A policy that looks at nothing."""

    action_dim, policy = A, ClippedNormal

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def repeated(self):
        return self

    def __call__(self, feat, skill):
        shape = torch.ones(*feat.shape[:-1], A)
        return self.policy(self.mean * shape, self.std * shape)


GOALS = torch.tensor([[0.2, -0.35], [3.0, 0.0], [-9.0, 9.0]])
BEST = torch.tensor([[0.4, -0.7], [1.0, 0.0], [-1.0, 1.0]])


def plane(policy, **changes):
    """A search for the way to ``GOALS`` from the origin with the published settings but for ``changes``."""
    world = SimpleNamespace(rssm=Plane(), reward=lambda feat, skill: -(feat[..., :A] - feat[..., A:]).square().sum(-1))
    no_value = lambda feat, skill: torch.zeros(feat.shape[:-1])  # noqa: E731
    rollout = lambda *given: one_actor({"actor": policy}, *given)  # noqa: E731
    behavior = SimpleNamespace(rollout=rollout, slow_critic=no_value, discount=0.99, lam=0.95)
    planner = Planner(**composed("finetune")["planner"] | changes)
    latent = Latent(torch.zeros(3, A), GOALS[:, None], torch.zeros(3, 1, A))
    previous = torch.zeros(3, planner.horizon, A)

    def go(explore, latent=latent, previous=previous, first=True):
        return planner.plan(
            world, behavior, latent, torch.zeros(3, 0), previous, torch.full((3,), first), explore=explore
        )

    return go, latent


def test_the_best_action_is_found():
    go, _ = plane(Gaussian(0.0, 1.1))
    plan = go(explore=False)
    assert (plan.action - BEST).abs().max() < 0.1
    assert plan.objective.shape == (12, 3)
    assert (plan.objective[:5].diff(dim=0) > 0).all()  # until it has converged
    assert (plan.objective[-1] > plan.objective[0] + 0.5).all()
    # with exploration the action scatters around it, by min_std or more
    actions = torch.stack([go(explore=True).action for _ in range(30)])
    error = actions[:, 0] - BEST[0]
    assert error.mean(0).abs().max() < 0.15 and error.std(0).min() > 0.08 and error.std(0).max() < 0.4


def test_the_goal_is_reached_and_held():
    """Twelve steps in the plane, each search started from the one before."""
    go, latent = plane(Gaussian(0.0, 1.1), iterations=3)
    plan = go(explore=False)
    for _ in range(12):
        latent = Plane().imagine_step(latent, plan.action)
        plan = go(False, latent, plan.mean, first=False)
    assert (latent.deter[:2] - GOALS[:2]).abs().max() < 0.15


def test_a_good_policy_is_among_the_proposals():
    alone = {"iterations": 1, "num_samples": 20, "num_elites": 1, "momentum": 0.0}
    policy = Gaussian(torch.tensor([-1.0, 1.0]), 0.0)  # the best for the third goal, unlikely among random sequences
    go, _ = plane(policy, **alone)
    torch.testing.assert_close(go(explore=False).mean[2], BEST[2].expand(5, A), rtol=0, atol=2e-6)
    go, _ = plane(policy, **alone, mixture_coef=0.0)
    assert (go(explore=False).mean[2] - BEST[2]).abs().max() > 0.01


def test_a_mean_of_ones_stays_in_the_box(monkeypatch):
    """Weights that sum to a rounding error more than 1 must not carry the action out of the box."""
    go, _ = plane(Gaussian(1.0, 0.0))
    softmax = F.softmax
    monkeypatch.setattr(F, "softmax", lambda *args: softmax(*args) * (1 + 1e-6))
    monkeypatch.setattr(torch, "randn", lambda *shape, device: torch.full(shape, 9.0, device=device))
    plan = go(explore=False)
    assert plan.mean.max() > 1 and plan.action.max() == 1
