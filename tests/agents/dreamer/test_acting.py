"""Acting: random, filtered, one environment among several."""

import math

import pytest
import reference64 as ref
import torch
from agent_kit import ACTIONS, OBS, make_agent, tiny

GROUPS, DETER = (4, 4), 16


def test_random_actions_are_uniform_in_the_box():
    agent = make_agent(tiny())
    acting = agent.start(4000)
    image, first = torch.zeros(4000, *OBS, dtype=torch.uint8), torch.ones(4000, dtype=torch.bool)
    action, after = agent.act(image, acting, first, "random")
    assert action.shape == (4000, ACTIONS) and action.dtype == torch.float32 and action.abs().max() <= 1
    flat = action.flatten().sort().values.double()
    uniform = (torch.arange(24_000).double() + 0.5) / 12_000 - 1
    assert (flat - uniform).abs().max() / 2 < 1.95 / math.sqrt(24_000)  # Kolmogorov-Smirnov at 0.1 %
    assert abs(torch.corrcoef(action.T.double()).fill_diagonal_(0).abs().max()) < 5 / math.sqrt(4000)
    assert torch.equal(after.action, action)


def test_start_is_zero():
    acting = make_agent(tiny()).start(3)
    assert all((x == 0).all() for x in acting.memory) and acting.memory.deter.shape == (3, DETER)
    assert (acting.action == 0).all() and acting.action.shape == (3, ACTIONS) and acting.skill.shape == (3, 0)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_act_filters_what_it_saw_and_did(noise, mode):
    """Five steps of three environments against a filter written out in float64; resets in the middle."""
    agent = make_agent(tiny())
    with torch.no_grad():  # spread the policy so that the mean matters
        agent.main.behavior.actor.net[0].weight.mul_(4)
        agent.world_model.rssm.posterior_out.weight.mul_(4)
    acting = agent.start(3)
    noise.clear()
    images = torch.randint(0, 256, (5, 3, *OBS), dtype=torch.uint8)
    first = torch.zeros(5, 3, dtype=torch.bool)
    first[0] = True
    first[2, 1] = first[4, 0] = True
    executed, latents, previous, drawn = [], [], [acting.action], []
    for t in range(5):
        noise.uniform.clear()
        action, acting = agent.act(images[t], acting, first[t], mode)
        drawn.append(noise.categorical_steps(3, GROUPS[0])[0])
        assert action.shape == (3, ACTIONS) and action.abs().max() <= 1 and not action.requires_grad
        assert torch.equal(acting.action, action)
        executed.append(action)
        latents.append(acting.memory)
        previous.append(action)
    weight = ref.weights(agent.world_model)
    embed = ref.encode(ref.below(weight, "encoder"), images.double().flatten(0, 1) / 255 - 0.5).reshape(5, 3, -1)
    deter, stoch, post, _ = ref.observe(
        ref.below(weight, "rssm"), embed.transpose(0, 1), torch.stack(previous[:5], 1), first.T, torch.stack(drawn),
        GROUPS, DETER,
    )  # fmt: skip
    actor = ref.weights(agent.main.behavior.actor.net)
    for t in range(5):
        torch.testing.assert_close(latents[t].deter.double(), deter[:, t], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(latents[t].logits.double(), post[:, t], rtol=1e-4, atol=1e-5)
        assert torch.equal(latents[t].stoch.double(), stoch[:, t].round())
        out = ref.mlp(actor, ref.feature(stoch[:, t], deter[:, t]))
        mean, std = torch.tanh(out[:, :ACTIONS]), 2 * ref.sigmoid(out[:, ACTIONS:] / 2) + 0.1
        want = mean if mode == "eval" else (mean + std * noise.normals()[t]).clamp(-1 + 1e-6, 1 - 1e-6)
        torch.testing.assert_close(executed[t].double(), want, rtol=1e-4, atol=1e-5)
    assert len(noise.normal) == (0 if mode == "eval" else 5)


def test_environments_do_not_mix():
    """Acting on four environments at once reads each one's own image and state."""
    agent = make_agent(tiny())
    with torch.no_grad():
        agent.world_model.rssm.posterior_out.weight.mul_(4)
    image = torch.randint(0, 256, (4, *OBS), dtype=torch.uint8)
    first = torch.ones(4, dtype=torch.bool)
    torch.manual_seed(0)
    before, _ = agent.act(image, agent.start(4), first, "eval")
    image[2] = 255 - image[2]
    torch.manual_seed(0)
    after, _ = agent.act(image, agent.start(4), first, "eval")
    changed = (before != after).any(-1).tolist()
    assert changed[0] is changed[1] is changed[3] is False
