"""Sizes and starts of the networks."""

import math

import pytest
import torch
from drq_kit import ACTIONS, PUBLISHED, REFERENCE, SMALL, drq_settings, make_drq

from agents.drq.agent import DrQAgent
from agents.drq.networks import Convs
from agents.nn.networks import parameter_count
from utils.errors import UserError


def agent_of(size=84, actions=6, **changes):
    return DrQAgent(drq_settings(PUBLISHED | changes), (3, size, size), actions, phase="pretrain")


@pytest.mark.parametrize(
    "size, outputs", [(84, 39_200), (64, 20_000), (15, 32), (85, 36 * 36 * 32 - 32 * (36**2 - 36**2))]
)
def test_what_the_convolutions_leave(size, outputs):
    convs = Convs((9, size, size), 32)
    assert convs.outputs == outputs
    maps = convs(torch.zeros(2, 1, 9, size, size, dtype=torch.uint8))
    assert maps.shape == (2, 1, outputs)


def test_too_small_an_image():
    with pytest.raises(UserError, match="render_size=14"):
        Convs((9, 14, 14), 32)


CONVS = 9 * 9 * 32 + 32 + 3 * (32 * 9 * 32 + 32)


def mlp_count(inputs, outputs, units=1024):
    return inputs * units + units + units * units + units + units * outputs + outputs


@pytest.mark.parametrize("size, maps", [(84, 39_200), (64, 20_000)])
def test_parameter_counts_of_drq(size, maps):
    head = maps * 50 + 50 + 2 * 50
    agent = agent_of(size, num_skills=0)
    assert parameter_count(agent.critic) == CONVS + head + 2 * mlp_count(50 + 6, 1)
    assert parameter_count(agent.critic_target) == parameter_count(agent.critic)
    assert parameter_count(agent.actor) == CONVS + head + mlp_count(50, 12)
    assert sum(p.numel() for p in agent.actor.own_parameters()) == head + mlp_count(50, 12)
    assert agent.discriminator is None and agent.skill_dim == 0


def test_parameter_counts_with_skills():
    head = 39_200 * 50 + 50 + 2 * 50
    agent = agent_of()
    assert parameter_count(agent.critic) == CONVS + head + 100 + 2 * mlp_count(50 + 10 + 6, 1)
    assert parameter_count(agent.actor) == CONVS + head + 100 + mlp_count(60, 12)
    assert parameter_count(agent.discriminator) == CONVS + head + mlp_count(50, 10)
    published = agent_of(**REFERENCE)
    assert parameter_count(published.critic) == CONVS + head + 2 * mlp_count(50 + 6, 1)
    assert parameter_count(published.actor) == parameter_count(agent.actor)
    assert parameter_count(published.discriminator) == mlp_count(50, 10)


def test_orthogonal_start():
    agent = make_drq(spread=0)
    for module in (agent.actor, agent.critic, agent.discriminator):
        layers = [m for m in module.modules() if isinstance(m, torch.nn.Linear | torch.nn.Conv2d)]
        assert len(layers) >= 8
        for layer in layers:
            weight = layer.weight.flatten(1)
            rows, columns = weight.shape
            product = weight @ weight.T if rows <= columns else weight.T @ weight
            gain = 2.0 if isinstance(layer, torch.nn.Conv2d) else 1.0  # squared
            torch.testing.assert_close(product, gain * torch.eye(len(product)), atol=1e-5, rtol=0)
            assert not layer.bias.any()
    assert all(
        torch.equal(a, b) for a, b in zip(agent.critic.parameters(), agent.critic_target.parameters(), strict=True)
    )
    assert agent.log_alpha.item() == pytest.approx(math.log(0.1))


def test_embeddings_start_as_unit_normals():
    """Mean and standard deviation of 1,000 x 10 draws."""
    table = agent_of(15, num_skills=1000, discriminator_features="critic").actor.skills.weight.detach()
    assert table.shape == (1000, 10) and abs(table.mean()) < 0.05 and abs(table.std() - 1) < 0.05


def test_convolutions_are_tied():
    agent = make_drq()
    ours, theirs = agent.actor.encoder.convs.parameters(), agent.critic.encoder.convs.parameters()
    assert all(a is b for a, b in zip(ours, theirs, strict=True))
    moved = {id(p) for p in agent._optimizers["actor"].parameters}
    assert not moved & {id(p) for p in agent.critic.parameters()}
    assert moved | {id(p) for p in agent.critic.encoder.convs.parameters()} == {id(p) for p in agent.actor.parameters()}
    others = [agent.critic_target.encoder, agent.discriminator.encoder]
    assert not {id(p) for p in agent.actor.parameters()} & {id(p) for m in others for p in m.parameters()}


def test_the_actor_sends_no_gradient_into_the_convolutions():
    agent = make_drq()
    image = torch.rand(2, 9, 17, 17) * 255
    policy = agent.actor(agent.actor.encoder.convs(image), torch.eye(3)[:2])
    policy.mean.sum().backward()
    assert all(p.grad is None for p in agent.actor.encoder.convs.parameters())
    assert agent.actor.encoder.linear.weight.grad.any()


def test_log_std_stays_inside_its_limits():
    agent = make_drq()
    with torch.no_grad():
        agent.actor.trunk[-1].weight.mul_(1e4)
    maps = torch.rand(50, agent.actor.encoder.convs.outputs)
    log_std = agent.actor(maps, torch.eye(3)[torch.arange(50) % 3]).log_std
    assert log_std.shape == (50, ACTIONS)
    assert log_std.min().item() == pytest.approx(-10) and log_std.max().item() == pytest.approx(2)


def test_the_skill_reaches_both():
    agent = make_drq()
    maps = torch.rand(1, agent.actor.encoder.convs.outputs).expand(3, -1)
    means = agent.actor(maps, torch.eye(3)).mean
    values = agent.critic(maps, torch.eye(3), torch.zeros(3, ACTIONS))
    assert len(means[:, 0].unique()) == 3 and len(values[0].unique()) == 3
    published = make_drq(skill_critic=False)
    values = published.critic(maps, torch.eye(3), torch.zeros(3, ACTIONS))
    torch.testing.assert_close(values[:, :1].expand(-1, 3), values)  # rows of a product are rounded each for itself


def test_small_is_published_but_smaller():
    assert SMALL.keys() == PUBLISHED.keys()
