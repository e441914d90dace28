"""Skills that lead toward a goal: by the direction of METRA's phi, renewed at every step."""

import pytest
import torch
from agent_kit import OBS, make_agent, tiny
from torch.nn import functional as F

from agents.dreamer.way import Way
from agents.exploration.intrinsic_reward import Directed


@pytest.fixture(params=[False, True], ids=["continuous", "discrete"])
def agent(request):
    words = ("agent=metra_dreamer", f"agent.discrete={str(request.param).lower()}", "agent.skill_dim=3")
    made = make_agent(tiny("pretrain", *words))
    with torch.no_grad():  # so that images matter without training
        made.world_model.rssm.posterior_out.weight.mul_(100)
    return made


def image(value):
    return torch.full(OBS, value, dtype=torch.uint8)


def phi(agent, feat):
    return agent.main.method.abstraction.embed(feat)


def direction(agent, way):
    return F.one_hot(way.argmax(), 3).float() if agent.main.method.discrete else F.normalize(way, dim=0)


def acted(agent, seen, steps=1):
    acting = agent.start(1)
    for step in range(steps):
        _, acting = agent.act(seen[None], acting, torch.tensor([step == 0]), "eval")
    return acting


def test_the_first_skill_leads_from_standing_at_the_start(agent):
    acting = agent.start(1)
    torch.manual_seed(0)
    skill = Way(agent, image(255))(acting, image(0), True)
    torch.manual_seed(0)
    goal, here = (agent.world_model.standing(image(value)).feat for value in (255, 0))
    with torch.no_grad():
        torch.testing.assert_close(skill, direction(agent, phi(agent, goal) - phi(agent, here)))


def test_later_ones_lead_from_the_latent_state_that_the_agent_carries(agent):
    torch.manual_seed(0)
    way = Way(agent, image(255))
    torch.manual_seed(0)
    goal = agent.world_model.standing(image(255)).feat
    for steps in (1, 3):
        acting = acted(agent, image(7), steps)
        skill = way(acting, image(7), False)
        with torch.no_grad():
            torch.testing.assert_close(skill, direction(agent, phi(agent, goal) - phi(agent, acting.memory.feat[0])))


def test_at_the_goal_the_skill_stays_what_it_was(agent, monkeypatch):
    way, acting = Way(agent, image(255)), acted(agent, image(7))
    before = way(acting, image(7), False)
    monkeypatch.setattr(agent.main.method, "goal_skill", lambda feat, goal: torch.zeros(3))
    assert torch.equal(way(acting, image(7), False), before)
    assert not way(acting, image(7), True).any()  # of another episode there is none


def test_only_methods_with_directions_have_a_way(agent):
    assert isinstance(agent.main.method, Directed)
    with pytest.raises(AssertionError):
        Way(make_agent(tiny("pretrain", "agent=diayn_dreamer")), image(0))
