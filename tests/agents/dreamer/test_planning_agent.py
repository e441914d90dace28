"""The agent with Dyna-MPC: when it plans, what it plans from, and what it keeps of a plan."""

import io

import numpy as np
import torch
from agent_kit import OBS, Remembered, make_agent, tiny
from planner_kit import SEARCH, A, build
from skill_kit import N, finetuning, records

from agents.dreamer import pilot as pilot_module
from training.evaluation import evaluate, play


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
        assert all(torch.equal(x, y) for x, y in zip(latent, acting.memory, strict=True))
        assert torch.equal(skill, acting.skill) and is_first.tolist() == [first] * 2
        assert torch.equal(previous, before.plan)


def test_planning_begins_after_the_seed_frames_and_a_while():
    agent = build("planner.start_after=200")
    assert (
        agent.adapt(0, Remembered(never)) is None
        and agent.adapt(1198, Remembered(never)) is None
        and not agent.planning
    )
    assert agent.adapt(1200, Remembered(never)) == "planning from frame 1200 on" and agent.planning
    assert agent.adapt(1202, Remembered(never)) is None and agent.planning


def test_the_published_start_is_agent_step_2500():
    agent = make_agent(tiny("finetune", "mpc=true", "num_seed_frames=4000", "planner.start_after=1000"), "finetune")
    assert agent.adapt(2 * 2499, Remembered(never)) is None and agent.adapt(2 * 2500, Remembered(never))


def test_without_mpc_nothing_is_planned():
    agent = make_agent(tiny("finetune"), "finetune")
    assert agent.planner is None and agent.adapt(10**6, Remembered(never)) is None and not agent.planning


def test_a_skill_is_chosen_before_planning_begins(monkeypatch):
    monkeypatch.setattr(pilot_module, "CHOICE_RECORDS", 18)
    agent = finetuning("mpc=true", "planner.start_after=100", "agent.num_init_frames=1500")
    assert agent.adapt(1498, Remembered(records)) is None and not agent.planning
    assert "skill chosen at frame 1500" in agent.adapt(1500, Remembered(records)) and not agent.planning
    assert agent.adapt(1502, Remembered(never)) == "planning from frame 1502 on"
    early = finetuning("mpc=true", "planner.start_after=100", "agent.num_init_frames=500")
    assert "skill chosen" in early.adapt(500, Remembered(records))
    assert early.adapt(1098, Remembered(never)) is None and early.adapt(1100, Remembered(never))


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
    agent.adapt(10**6, Remembered(never))
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
