"""Which calls share a CUDA graph, and what a graph may not hold; a stand-in takes the place of CUDA."""

import pytest
import torch
from agent_kit import make_agent, make_batch, tiny
from graph_kit import graphed, stand_in
from settings_kit import typed

from agents.drq.agent import DrQAgent
from utils.graphs import EAGER_CALLS, Graphed, Graphs

CPU = torch.device("cpu")


@pytest.fixture
def replayed(monkeypatch):
    return stand_in(monkeypatch)


def test_a_graph_for_every_key_and_shape(replayed):
    state = ["a"]
    double = Graphed(lambda x, flag: 2 * x + flag, lambda x, flag: state[0], Graphs(CPU))
    for call in range(EAGER_CALLS + 3):
        assert double(torch.full((2,), float(call)), True).tolist() == [2 * call + 1] * 2
        assert replayed.made == (call >= EAGER_CALLS)
    for changed in ("shape", "flag", "key"):
        before = replayed.made
        state[0] = "b" if changed == "key" else "a"
        for _ in range(EAGER_CALLS + 2):
            double(torch.ones(3 if changed == "shape" else 2), changed != "flag")
        assert replayed.made == before + 1, changed
    state[0] = None
    for _ in range(EAGER_CALLS + 2):
        double(torch.ones(7), True)
    assert replayed.made == before + 1


def test_arguments_are_copied_in(replayed):
    add = Graphed(lambda batch: batch["x"] + batch["y"], lambda batch: (), Graphs(CPU))
    for call in range(EAGER_CALLS + 3):
        assert add({"x": torch.tensor(call), "y": torch.tensor(10)}).item() == call + 10


@pytest.mark.parametrize("name", ["dreamer", "deviation_dreamer", "rnd_dreamer", "choreo"])
def test_dreamers_learn_the_same(replayed, name):
    eager, other = (make_agent(tiny("pretrain", f"agent={name}", "domain=walker")) for _ in range(2))
    graphed(other)
    results = []
    for agent in (eager, other):
        torch.manual_seed(1)
        for seed in range(EAGER_CALLS + 3):
            agent.update(make_batch(seed=seed, skill=agent.skill_dim))
        results.append((agent.updates, list(agent.parameters())))
    assert replayed.made == 1 and results[0][0] == results[1][0] == EAGER_CALLS + 3
    assert all(torch.equal(a, b) for a, b in zip(results[0][1], results[1][1], strict=True))


@pytest.mark.parametrize("method", ["diayn", "metra", "cic"])
def test_drq_has_a_graph_for_updates_with_and_without_the_actor(replayed, method):
    config = typed("drq", "preset=debug", "device=cpu", "num_skills=3", f"method={method}")
    agents = []
    for wrap in (lambda agent: agent, graphed):
        torch.manual_seed(0)
        agents.append(wrap(DrQAgent(config, (3, 32, 32), 2, phase="pretrain")))
    batch = {
        "observation": torch.randint(0, 256, (4, 4, 3, 32, 32), dtype=torch.uint8),
        "action": torch.rand(4, 2),
        "reward": torch.rand(4),
        "is_terminal": torch.zeros(4, dtype=torch.bool),
        "skill": torch.eye(3)[[0, 1, 2, 0]],
        "skill_valid": torch.ones(4, dtype=torch.bool),
    }
    found = []
    for agent in agents:
        torch.manual_seed(1)
        found.append([agent.update(batch).logged.keys() for _ in range(2 * EAGER_CALLS + 4)])
    assert found[0] == found[1] and replayed.made == 2
    assert all(torch.equal(a, b) for a, b in zip(agents[0].parameters(), agents[1].parameters(), strict=True))


def test_acting_is_captured_by_mode_but_not_a_search_with_random_numbers_of_its_own(replayed):
    agent = graphed(make_agent(tiny("finetune", "domain=walker", "mpc=true"), "finetune"))
    observation, first = make_batch()["observation"][:2, 0], torch.ones(2, dtype=torch.bool)
    for planning in (False, True):
        agent.planning = planning
        for mode in ("random", "train", "eval"):
            before = replayed.made
            for _ in range(EAGER_CALLS + 2):
                agent.act(observation, agent.start(2), first, mode)
            assert replayed.made - before == (0 if planning and mode == "eval" else 1)


def test_learning_is_captured_anew_for_what_it_reads_only(replayed):
    """Not when planning begins, which is a matter of acting; when a skill is chosen, under which it imagines."""
    agent = make_agent(
        tiny("finetune", "agent=diayn_dreamer", "agent.train_before_choice=true", "mpc=true"), "finetune"
    )
    graphed(agent)
    keys = set()
    for change in (lambda: None, lambda: agent.skills.settle(torch.eye(agent.skill_dim)[1]), agent_plans(agent)):
        change()
        for seed in range(EAGER_CALLS + 1):
            agent.update(make_batch(seed=seed, skill=agent.skill_dim))
        keys.add(agent.graph_key(None))
    assert agent.planning and len(keys) == replayed.made == 2


def agent_plans(agent):
    def begin():
        agent.planning = True

    return begin


def test_what_a_graph_holds_changes_nothing_but_tensors():
    for agent in (
        make_agent(tiny("pretrain", "agent=aps_dreamer", "domain=walker")),
        make_agent(tiny("finetune", "agent=deviation_dreamer", "domain=walker"), "finetune"),
    ):
        batch = make_batch()
        if agent.skill_dim:
            skill = agent.skills.draw(18).reshape(3, 6, -1)
            batch |= {"skill": skill, "skill_valid": torch.ones(3, 6, dtype=torch.bool)}

        def plain(module):
            return {
                f"{name}.{key}": value
                for name, part in module.named_modules()
                for key, value in vars(part).items()
                if isinstance(value, bool | int | float | str | type(None))
            }

        before, settled = plain(agent), agent.skills.settled
        agent.learn(batch, (True,))
        assert plain(agent) == before and agent.skills.settled == settled
