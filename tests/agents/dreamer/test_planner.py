"""Dyna-MPC (card 8.3): the objective and the search against float64, a world whose best action is known, acting."""

import io
import math
from types import SimpleNamespace

import numpy as np
import pytest
import reference64 as ref
import torch
from agent_kit import OBS, composed, make_agent, tiny
from skill_kit import SD3, N, finetuning, records
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from agents.dreamer import agent as agent_module
from agents.dreamer.planner import Planner
from agents.dreamer.rssm import RSSM
from agents.nn.distributions import ClippedNormal
from agents.nn.latent import Latent
from training.evaluation import evaluate, play

GROUPS, DETER, A, P, S, ENVS = (4, 4), 16, 2, 3, 6, 3
SEARCH = (
    "mpc=true", f"planner.horizon={P}", f"planner.num_samples={S}", "planner.num_elites=4", "planner.mixture_coef=0.34",
    "planner.iterations=2", "planner.temperature=2", "planner.momentum=0.3", "planner.min_std=0.5",
)  # fmt: skip
SKILLS = pytest.mark.parametrize("skills", [False, True], ids=["no skills", "skills"])


def build(*overrides, skills=False):
    """A tiny fine-tuning agent with a planner, weights large enough that sequences differ."""
    agent_of = (SD3, "domain=walker") if skills else ()
    agent = make_agent(tiny("finetune", *SEARCH, *agent_of, *overrides), "finetune", actions=A)
    behavior = agent.behaviors["main"]
    with torch.no_grad():
        for module in (agent.world_model.rssm, agent.world_model.reward_head, behavior.slow_critic, behavior.actor):
            for p in module.parameters():
                p.mul_(3).add_(0.1 * torch.randn(p.shape))
    return agent


def states(agent, count=ENVS, seed=0):
    """States, skills, previous means and is_first of ``count`` environments; the first begins an episode."""
    generator = torch.Generator().manual_seed(seed)
    stoch = F.one_hot(torch.randint(4, (count, 4), generator=generator), 4).float()
    latent = Latent(torch.randn(count, DETER, generator=generator), stoch, torch.zeros(count, *GROUPS))
    skill = torch.eye(N)[torch.arange(count) % N] if agent.skill_dim else torch.zeros(count, 0)
    previous = torch.rand(count, P, A, generator=generator) * 2 - 1
    is_first = torch.arange(count) == 0
    return latent, skill, previous, is_first


def sequences(count, *, seed=1):
    return torch.rand(ENVS, count, P, A, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def search(agent, inputs, explore=True, seed=None):
    if seed is not None:
        torch.manual_seed(seed)
    return agent.planner.plan(agent.world_model, agent.behaviors["main"], *inputs, explore=explore)


def score(agent, latent, skill, candidates, seed=5):
    torch.manual_seed(seed)
    return agent.planner.objective(agent.world_model, agent.behaviors["main"], latent, skill, candidates)


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


class Reference:
    """The card's search in float64, for one environment at a time."""

    def __init__(self, agent):
        model, behavior = ref.weights(agent.world_model), agent.behaviors["main"]
        self.planner, self.discount, self.lam = agent.planner, behavior.discount, behavior.lam
        self.rssm, self.head = ref.below(model, "rssm"), ref.below(model, "reward_head")
        self.actor, self.slow = ref.weights(behavior.actor.net), ref.weights(behavior.slow_critic.net)

    def step(self, stoch, deter, action, drawn):
        deter = ref.rssm_deter(self.rssm, stoch, deter, action[None])
        probs = ref.softmax(ref.rssm_prior(self.rssm, deter, GROUPS))
        return ref.one_hot(probs, drawn[None].double()), deter

    def objective(self, start, skill, actions, drawn):
        """J of one sequence (P, A): r_1 .. r_{P-1} and v_2 .. v_P, a mixture of n-step returns from f_1 on."""
        stoch, deter = start
        r, v = {}, {}
        for t in range(1, P + 1):
            stoch, deter = self.step(stoch, deter, actions[t - 1], drawn[t - 1])
            feat = ref.feature(stoch, deter)
            r[t] = ref.mlp(self.head, feat).item()
            value = ref.mlp(self.slow, torch.cat([feat, skill[None]], -1)).item()
            v[t] = value if self.planner.use_value else 0.0
        total = 0.0
        for n in range(1, P):
            rewards = sum(self.discount**k * r[1 + k] for k in range(n))
            n_step = rewards + self.discount**n * v[1 + n]
            share = (1 - self.lam) * self.lam ** (n - 1) if n < P - 1 else self.lam ** (n - 1)
            total += share * n_step
        return total

    def rollout(self, start, skill, normals, drawn):
        """One sequence (P, A) of the policy's samples."""
        stoch, deter = start
        actions = []
        for t in range(P):
            out = ref.mlp(self.actor, torch.cat([ref.feature(stoch, deter), skill[None]], -1))[0]
            std = 2 * ref.sigmoid(out[A:] / 2) + 0.1
            actions.append((torch.tanh(out[:A]) + std * normals[t]).clamp(-1 + 1e-6, 1 - 1e-6))
            stoch, deter = self.step(stoch, deter, actions[-1], drawn[t])
        return torch.stack(actions)

    def search(self, i, inputs, draws, explore):
        """Environment i: action, mean, objective by iteration, the unclamped variances."""
        (latent, skill, previous, is_first), planner = inputs, self.planner
        start, skill = (latent.stoch[i : i + 1].double(), latent.deter[i : i + 1].double()), skill[i].double()
        exponentials, normals = iter(draws.exponential), iter(draws.normals())
        policies = range(planner.num_policies)
        taken = [(next(normals), next(exponentials)) for _ in range(P if policies else 0)]
        rows = [i * planner.num_policies + k for k in policies]
        proposals = [self.rollout(start, skill, [x[row] for x, _ in taken], [e[row] for _, e in taken]) for row in rows]

        mean, std = [[[0.0] * A for _ in range(P)], [[2.0] * A for _ in range(P)]]
        if not is_first[i]:
            for t in range(P - 1):
                mean[t] = previous[i, t + 1].double().tolist()
        objectives, variances = [], []
        for iteration in range(planner.iterations):
            eps = draws.candidates[iteration][i]
            centre, spread = torch.tensor(mean).double(), torch.tensor(std).double()
            candidates = [(centre + spread * eps[s]).clamp(-1, 1) for s in range(S)] + proposals
            exps = [next(exponentials) for _ in range(P)]
            count = len(candidates)
            scores = [
                self.objective(start, skill, candidates[c], [e[i * count + c] for e in exps]) for c in range(count)
            ]
            elites = sorted(range(count), key=lambda c: -scores[c])[: planner.num_elites]
            weight = [math.exp(planner.temperature * (scores[c] - scores[elites[0]])) for c in elites]
            weight = [w / sum(weight) for w in weight]
            for t in range(P):
                for a in range(A):
                    values = [candidates[c][t, a].item() for c in elites]
                    centre = sum(w * x for w, x in zip(weight, values, strict=True))
                    variance = sum(w * (x - centre) ** 2 for w, x in zip(weight, values, strict=True))
                    variances.append(variance)
                    std[t][a] = min(max(math.sqrt(variance), planner.min_std), 2.0)
                    mean[t][a] = planner.momentum * mean[t][a] + (1 - planner.momentum) * centre
            objectives.append(sum(scores[c] for c in elites) / len(elites))
        if not explore:
            return mean[0], mean, objectives, variances
        race = next(exponentials)[i].double()
        chosen = max(range(len(elites)), key=lambda j: weight[j] / race[j].item())
        first, extra = candidates[elites[chosen]][0], next(normals)[i]
        action = [min(max(first[a].item() + std[0][a] * extra[a].item(), -1.0), 1.0) for a in range(A)]
        return action, mean, objectives, variances


def close(found, want):
    torch.testing.assert_close(found.double(), torch.tensor(want, dtype=torch.float64), rtol=1e-3, atol=1e-4)


# ---- the objective


@SKILLS
@pytest.mark.parametrize("use_value", [True, False])
def test_objective(draws, skills, use_value):
    agent = build(f"planner.use_value={use_value}", skills=skills)
    latent, skill, *_ = states(agent)
    candidates, recorded = sequences(4), draws()
    found = agent.planner.objective(agent.world_model, agent.behaviors["main"], latent, skill, candidates)
    assert found.shape == (ENVS, 4) and len(recorded.exponential) == P
    reference = Reference(agent)
    want = [
        [
            reference.objective(
                (latent.stoch[i : i + 1].double(), latent.deter[i : i + 1].double()), skill[i].double(),
                candidates[i, c].double(), [e[4 * i + c] for e in recorded.exponential],
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
        agent.behaviors["main"].critic.net[-1].bias.add_(1)
        assert torch.equal(score(agent, latent, skill, sequences(4)), before)
        agent.behaviors["main"].slow_critic.net[-1].bias.add_(1)
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
    assert len(recorded.exponential) == 3 * P + explore and len(recorded.normal) == P + explore
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
    assert len(recorded.exponential) == 2 * P and recorded.normal == []
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
        one = search(agent, (latent, skill, previous, is_first), explore, seed=4)
        two = search(agent, (*mixed, is_first), explore, seed=4)
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
    steps = spy(agent.world_model.rssm, "imagine_step")
    latent = agent.world_model.rssm.initial(1)
    acting = agent.start(1)
    assert acting.plan.shape == (1, 5, 6)
    with Largest() as largest:
        plan = search(agent, (latent, acting.skill, acting.plan, torch.tensor([True])))
    assert [len(args[0].deter) for args, _ in steps.calls] == [25] * 5 + [537] * 5
    assert plan.action.shape == (1, 6) and plan.mean.shape == (1, 5, 6) and plan.objective.shape == (1, 1)
    assert largest.elements == 537 * 5 * 1224  # the imagined features, 13 MB


# ---- a world whose best action is known


class Plane(SimpleNamespace):
    """x' = x + a / 2; the reward of being at x is -|x - goal|^2. ``stoch`` carries the goal."""

    imagine = RSSM.imagine

    def imagine_step(self, latent, action):
        return latent._replace(deter=latent.deter + action / 2)


class Gaussian:
    """A policy that looks at nothing."""

    action_dim, policy = A, ClippedNormal

    def __init__(self, mean, std):
        self.mean, self.std = mean, std

    def __call__(self, feat, skill):
        shape = torch.ones(*feat.shape[:-1], A)
        return self.policy(self.mean * shape, self.std * shape)


GOALS = torch.tensor([[0.2, -0.35], [3.0, 0.0], [-9.0, 9.0]])
BEST = torch.tensor([[0.4, -0.7], [1.0, 0.0], [-1.0, 1.0]])


def plane(policy, **changes):
    """A search for the way to ``GOALS`` from the origin with the published settings but for ``changes``."""
    world = SimpleNamespace(rssm=Plane(), reward=lambda feat, skill: -(feat[..., :A] - feat[..., A:]).square().sum(-1))
    no_value = lambda feat, skill: torch.zeros(feat.shape[:-1])  # noqa: E731
    behavior = SimpleNamespace(actor=policy, slow_critic=no_value, discount=0.99, lam=0.95)
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


# ---- the agent


def image(count=1, seed=0):
    return torch.randint(256, (count, *OBS), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def step(agent, acting, first=False, mode="train", seed=0):
    return agent.act(image(len(acting.age), seed), acting, torch.full((len(acting.age),), first), mode)


def never():
    raise AssertionError("no batch is needed")


def test_the_actor_acts_until_planning_begins(spy):
    agent, plain = build(), make_agent(tiny("finetune"), "finetune", actions=A)
    plain.load_state_dict(agent.state_dict())
    plans = spy(agent.planner, "plan")
    for mode in ("train", "eval"):
        torch.manual_seed(1)
        acting = agent.start(2)
        action, after = step(agent, acting, True, mode)
        torch.manual_seed(1)
        want, _ = step(plain, plain.start(2), True, mode)
        assert torch.equal(action, want) and (after.plan == 0).all()
    assert plans.calls == [] and plain.start(2).plan.shape == (2, 0, A)
    agent.planning = True
    for mode in ("train", "eval"):
        action, after = step(agent, agent.start(2), True, mode)
        _, plan = plans.calls[-1]
        assert torch.equal(action, plan.action) and torch.equal(after.action, plan.action)
        assert torch.equal(after.plan, plan.mean) and after.plan.any()
        assert torch.equal(action, plan.mean[:, 0]) == (mode == "eval")  # the mean, or an elite with noise
    assert len(plans.calls) == 2


def test_the_search_starts_from_the_filtered_state(spy):
    agent = build(skills=True)
    agent.planning = True
    plans = spy(agent.planner, "plan")
    acting = agent.start(2)
    for first in (True, False):
        before = acting
        _, acting = step(agent, before, first)
        (_, _, latent, skill, previous, is_first), _ = plans.calls[-1]
        assert all(torch.equal(x, y) for x, y in zip(latent, acting.latent, strict=True))
        assert torch.equal(skill, acting.skill) and is_first.tolist() == [first] * 2
        assert torch.equal(previous, before.plan)


def test_planning_begins_after_the_seed_frames_and_a_while():
    agent = build("planner.start_after=200")
    assert agent.adapt(0, never) is None and agent.adapt(1198, never) is None and not agent.planning
    assert agent.adapt(1200, never) == "planning from frame 1200 on" and agent.planning
    assert agent.adapt(1202, never) is None and agent.planning


def test_the_published_start_is_agent_step_2500():
    agent = make_agent(tiny("finetune", "mpc=true", "num_seed_frames=4000", "planner.start_after=1000"), "finetune")
    assert agent.adapt(2 * 2499, never) is None and agent.adapt(2 * 2500, never)


def test_without_mpc_nothing_is_planned():
    agent = make_agent(tiny("finetune"), "finetune")
    assert agent.planner is None and agent.adapt(10**6, never) is None and not agent.planning


def test_a_skill_is_chosen_before_planning_begins(monkeypatch):
    monkeypatch.setattr(agent_module, "CHOICE_RECORDS", 18)
    agent = finetuning("mpc=true", "planner.start_after=100", "agent.num_init_frames=1500")
    assert agent.adapt(1498, records) is None and not agent.planning
    assert "skill chosen at frame 1500" in agent.adapt(1500, records) and not agent.planning
    assert agent.adapt(1502, never) == "planning from frame 1502 on"
    early = finetuning("mpc=true", "planner.start_after=100", "agent.num_init_frames=500")
    assert "skill chosen" in early.adapt(500, records)
    assert early.adapt(1098, never) is None and early.adapt(1100, never)


def test_planning_uses_the_chosen_skill(spy):
    agent = build(skills=True)
    agent.skills.settle(torch.eye(N)[2])
    agent.planning = True
    plans = spy(agent.planner, "plan")
    for mode in ("train", "eval"):
        step(agent, agent.start(3), True, mode)
        (_, _, _, skill, _, _), _ = plans.calls[-1]
        assert torch.equal(skill, torch.eye(N)[[2, 2, 2]])


def test_a_new_episode_begins_without_the_old_plan():
    agent = build()
    agent.planning = True
    _, acting = step(agent, agent.start(2), True)
    assert acting.plan.any(-1).all()
    begun = agent.begin(acting, torch.tensor([True, False]))
    results = []
    for plan in (begun.plan, torch.zeros_like(begun.plan)):
        torch.manual_seed(2)
        _, after = agent.act(image(2), begun._replace(plan=plan), torch.tensor([True, False]), "train")
        results.append(after.plan)
    assert [torch.equal(results[0][i], results[1][i]) for i in range(2)] == [True, False]


def test_random_actions_are_not_planned(spy):
    agent = build()
    agent.planning = True
    _, acting = step(agent, agent.start(2), True)
    plans = spy(agent.planner, "plan")
    torch.manual_seed(0)
    action, after = step(agent, acting, mode="random")
    torch.manual_seed(0)
    assert torch.equal(action, 2 * torch.rand(2, A) - 1)
    assert plans.calls == [] and torch.equal(after.plan, acting.plan) and torch.equal(after.action, action)


class Episodes:
    """An environment of three steps with fixed images, for one agent."""

    def __init__(self):
        self.actions, self.time = [], 0

    def _seen(self):
        return {"observation": image(seed=self.time)[0].numpy()}, {"physics": np.zeros(1)}

    def reset(self):
        self.time = 0
        return self._seen()

    def step(self, action):
        self.time += 1
        self.actions.append(action.tolist())
        seen, info = self._seen()
        return seen, 1.0, False, self.time == 3, info


def test_an_evaluation_has_plans_of_its_own(spy):
    agent, env = build(), Episodes()
    agent.planning = True
    _, training = step(agent, agent.start(1), True)
    kept = training.plan.clone()
    plans = spy(agent.planner, "plan")
    play(agent, env)
    (_, _, _, _, previous, is_first), _ = plans.calls[0]
    assert not previous.any() and is_first.all()
    for (_, earlier), ((*_, previous, is_first), _) in zip(plans.calls, plans.calls[1:], strict=False):
        assert torch.equal(previous, earlier.mean) and not is_first.any()
    assert len(plans.calls) == 3
    step(agent, training)
    (*_, previous, _), _ = plans.calls[-1]
    assert torch.equal(previous, kept)


def test_two_evaluations_with_one_seed_act_alike_and_change_no_random_state():
    agent, env = build(), Episodes()
    agent.planning = True
    before = torch.get_rng_state()
    for _ in range(2):
        evaluate(agent, env, 2, action_repeat=2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    one, two = env.actions[:6], env.actions[6:]
    assert one == two and one[:3] != one[3:]


def test_a_resumed_agent_goes_on_planning():
    agent = build()
    agent.adapt(10**6, never)
    assert agent.planning
    buffer = io.BytesIO()
    torch.save(agent.training_state(), buffer)
    buffer.seek(0)
    other = make_agent(tiny("finetune", *SEARCH), "finetune", seed=9, actions=A)
    assert not other.planning
    other.load_training_state(torch.load(buffer, weights_only=True))
    assert other.planning
    actions = []
    for each in (agent, other):
        torch.manual_seed(3)
        actions.append(step(each, each.start(2), True)[0])
    assert torch.equal(*actions)
