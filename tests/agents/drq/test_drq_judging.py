"""What DrQ says of whole episodes: log-probabilities of the skills, and where an episode leads."""

import pytest
import torch
from drq_kit import SIZE, STACK, make_drq

from agents.drq.agent import CHUNK
from agents.drq.stacks import stacks_at


def episode(steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (steps + 1, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("stack", [1, 2, 3, 5])
def test_stacks(stack):
    images = torch.arange(7)[:, None, None, None].expand(7, 3, 2, 2)
    found = stacks_at(images, torch.tensor([0, 6, 1, 3]), stack)
    assert found.shape == (4, stack, 3, 2, 2)
    for last, row in zip([0, 6, 1, 3], found, strict=True):
        expected = [max(last - back, 0) for back in range(stack)][::-1]
        assert row[:, 0, 0, 0].tolist() == expected


def test_stacks_are_those_that_are_acted_on():
    agent, images = make_drq(num_skills=0), episode(4)
    acting = agent.start(1)
    for t, image in enumerate(images):
        _, acting = agent.act(image[None], acting, torch.tensor([t == 0]), "eval")
        assert torch.equal(acting.memory[0], stacks_at(images, torch.tensor([t]), STACK))


@pytest.mark.parametrize("steps", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5])
@pytest.mark.parametrize("state", ["next", "current"])
@pytest.mark.parametrize("features", ["own", "critic"])
def test_log_probabilities_of_an_episode(steps, state, features):
    agent, images = make_drq(reward_state=state, discriminator_features=features), episode(steps)
    found = agent.skill_log_probs(images)
    assert found.shape == (steps, 3) and not found.requires_grad
    encoder = agent.discriminator.encoder if features == "own" else agent.critic.encoder
    for t in {0, 1, 2, 3, CHUNK - 1, CHUNK, steps - 1}:
        if t >= steps:
            continue
        seen = t + (state == "next")
        stack = torch.cat([images[max(seen - back, 0)] for back in (2, 1, 0)])
        with torch.no_grad():
            logits = agent.discriminator.classifier.net(encoder(stack[None].float()))[0]
        expected = logits - logits.exp().sum().log()
        torch.testing.assert_close(found[t], expected, rtol=1e-4, atol=1e-4)


def test_without_skills_nothing_is_said():
    assert make_drq(num_skills=0).skill_log_probs(episode(3)) is None


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_an_episode_is_embedded_by_its_last_stack(steps):
    agent, images = make_drq(), episode(steps)
    found = agent.embed(images)
    stack = torch.cat([images[max(steps - back, 0)] for back in (2, 1, 0)])
    with torch.no_grad():
        maps = agent.critic.encoder.convs(stack[None].float())
        expected = agent.critic.encoder.head(maps)[0]
    assert found.shape == (5,) and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    changed = images.clone()
    changed[max(steps - 3, 0)] += 1
    assert torch.equal(agent.embed(changed), found) == (steps == 6)
