"""The skill that is to lead to an observation, and skills that are followed by samples."""

import pytest
import reference64 as ref
import torch
from agent_kit import ACTIONS, OBS, Remembered, make_agent, make_batch, tiny
from choreo_kit import CODES, finetuning, pretraining, started
from settings_kit import agent_settings

from agents.dreamer.agent import DreamerAgent
from agents.dreamer.world_model import STANDS


def codes_of(agent):
    return agent.main.codes if "skill" not in agent.drives else agent.drives["skill"].method


@pytest.mark.parametrize("make", [pretraining, finetuning])
def test_the_nearest_code_of_what_is_seen_five_times(make):
    """A step at a time: zero actions, the first of an episode; h of the last step; distances written out."""
    agent = make()
    image, codes = torch.randint(0, 256, OBS, dtype=torch.uint8), codes_of(agent)
    torch.manual_seed(3)
    skill = agent.skill_to(image)
    torch.manual_seed(3)
    uniform = torch.rand(STANDS, 1, agent.world_model.rssm.stoch, 1)
    rssm, embed = agent.world_model.rssm, agent.world_model.encode(image[None])
    first = torch.arange(STANDS)[None] == 0
    seen = ref.observe(
        *(ref.weights(rssm), embed.expand(1, STANDS, -1), torch.zeros(1, STANDS, ACTIONS), first, uniform),
        *((rssm.stoch, rssm.discrete), rssm.deter),
    )
    with torch.no_grad():
        deter = seen[0][:, -1].float()
        encoded = codes.encoder(deter)[0]
        nearest = int((codes.codebook.codes - encoded).square().sum(-1).argmin())
    assert skill.tolist() == torch.eye(CODES)[nearest].tolist()


def test_another_image_may_have_another_code():
    """Not after one look: that state does not depend on what is seen."""
    agent = pretraining()
    first, second = (torch.full(OBS, value, dtype=torch.uint8) for value in (0, 255))
    with torch.no_grad():
        agent.world_model.rssm.posterior_out.weight.mul_(100)  # so that images matter without training
    looks = []
    for image in (first, second):
        torch.manual_seed(0)
        looks.append(agent.world_model.standing(image).deter)
    assert not torch.allclose(*looks)
    codes = codes_of(agent)
    with torch.no_grad():
        encoded = codes.encoder(torch.stack(looks))
        codes.codebook.codes[:2] = encoded
        codes.codebook.codes[2:] = 1e3
    for index, image in enumerate((first, second)):
        torch.manual_seed(0)
        assert int(agent.skill_to(image).argmax()) == index


def test_from_states_there_is_one_too():
    config = agent_settings(tiny("pretrain", "agent=choreo", "configs=dmc_states"))
    agent = DreamerAgent(config, (24,), ACTIONS, phase="pretrain", device="cpu")
    assert agent.skill_to(torch.randn(24)).sum() == 1


def test_agents_without_codes_do_not_say():
    assert make_agent(tiny("pretrain", "agent=diayn_dreamer")).skill_to(torch.zeros(OBS, dtype=torch.uint8)) is None


def test_a_skill_is_followed_by_samples_whoever_acts():
    """Also where the controller acts otherwise, or the planner."""
    first, codes = torch.ones(2, dtype=torch.bool), torch.eye(CODES)[[0, 3]]
    image = torch.randint(0, 256, (2, *OBS), dtype=torch.uint8)
    for agent in (pretraining(), finetuning(), started(finetuning()), started(finetuning("mpc=true"))):
        agent.adapt(5000, Remembered(make_batch))
        acting = agent.start(2)._replace(skill=codes)
        torch.manual_seed(0)
        mean, shown = agent.act(image, acting, first, "show")
        torch.manual_seed(0)
        action, after = agent.act(image, acting, first, "sample")
        assert torch.equal(after.skill, codes) and torch.equal(after.memory.feat, shown.memory.feat)
        assert not torch.equal(action, mean) and torch.equal(after.age, acting.age)
        actor = agent.drives["skill"].behavior.actor if "skill" in agent.drives else agent.main.behavior.executor
        torch.manual_seed(1)
        draws = torch.stack([agent.act(image, acting, first, "sample")[0] for _ in range(20)])
        assert draws.std(0).min() > 0 and draws.abs().max() <= 1
        torch.testing.assert_close(actor(shown.memory.feat, codes).mean, mean)
