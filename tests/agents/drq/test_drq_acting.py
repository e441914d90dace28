"""Acting: stacks of frames, the three modes, skills for whole episodes."""

import drq_reference as ref
import pytest
import torch
from drq_kit import ACTIONS, SIZE, STACK, make_drq
from reference64 import weights

SHAPE = (3, SIZE, SIZE)


def images(steps, count, seed=0):
    return torch.randint(
        0, 256, (steps, count, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("mode", ["random", "train", "eval"])
def test_the_stack_holds_the_episodes_last_frames(mode):
    """Five steps of two environments, the second of which begins again at step 3; against lists of frames."""
    agent = make_drq()
    acting, seen = agent.start(2), images(5, 2)
    first = torch.zeros(5, 2, dtype=torch.bool)
    first[0] = first[3, 1] = True
    history = [[], []]
    for t in range(5):
        action, acting = agent.act(seen[t], acting, first[t], mode)
        assert action.shape == (2, ACTIONS) and action.dtype == torch.float32 and action.abs().max() <= 1
        assert torch.equal(acting.action, action) and not action.requires_grad
        frames = acting.memory.frames
        assert frames.dtype == torch.uint8 and frames.shape == (2, STACK, *SHAPE)
        for i in range(2):
            if first[t, i]:
                history[i] = [seen[t, i]] * STACK
            history[i] = (history[i] + [seen[t, i]])[-STACK:]
            assert torch.equal(frames[i], torch.stack(history[i]))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_actions_are_those_of_the_policy(mode, noise):
    agent = make_drq()
    acting, seen = agent.start(3), images(1, 3)[0]
    noise.clear()
    action, _ = agent.act(seen, acting, torch.ones(3, dtype=torch.bool), mode)
    drawn = noise.normals()[0] if mode == "train" else torch.zeros(3, ACTIONS)
    weight = weights(agent)
    for i in range(3):
        maps = ref.convs(weight, "critic.encoder.convs", seen[i].repeat(STACK, 1, 1))
        want, _ = ref.policy(weight, maps, acting.skill[i], drawn[i])
        torch.testing.assert_close(action[i].double(), want, atol=1e-5, rtol=1e-4)


def test_random_actions_fill_the_box():
    agent = make_drq()
    seen = torch.zeros(2000, *SHAPE, dtype=torch.uint8)
    action, _ = agent.act(seen, agent.start(2000), torch.ones(2000, dtype=torch.bool), "random")
    assert action.min() < -0.99 and action.max() > 0.99 and abs(action.mean()) < 0.05
    assert abs(action.var() - 1 / 3) < 0.03


def test_skills_last_an_episode():
    agent = make_drq(num_skills=500)
    acting = agent.start(3)
    assert acting.skill.shape == (3, 500) and (acting.skill.sum(-1) == 1).all()
    skill = acting.skill
    for t in range(60):
        _, acting = agent.act(images(1, 3, seed=t)[0], acting, torch.full((3,), t == 0), "train")
    assert torch.equal(acting.skill, skill) and acting.age.tolist() == [60] * 3
    renewed = agent.begin(acting, torch.tensor([False, True, False]))
    assert torch.equal(renewed.skill[[0, 2]], skill[[0, 2]]) and not torch.equal(renewed.skill[1], skill[1])
    assert renewed.age.tolist() == [60, 0, 60]
    _, held = agent.act(images(1, 3)[0], renewed, torch.zeros(3, dtype=torch.bool), "eval")
    assert held.age.tolist() == [60, 0, 60]


def test_without_skills():
    agent = make_drq(num_skills=0)
    acting = agent.start(2)
    assert acting.skill.shape == (2, 0) and acting.plan.shape == (2, 0, ACTIONS)
    _, acting = agent.act(images(1, 2)[0], acting, torch.ones(2, dtype=torch.bool), "train")
    assert agent.begin(acting, torch.ones(2, dtype=torch.bool)).skill.shape == (2, 0)


def test_environments_do_not_mix():
    """Batched acting is acting one by one, but for the last bits."""
    agent, seen = make_drq(), images(1, 4)[0]
    acting = agent.start(4)
    together, _ = agent.act(seen, acting, torch.ones(4, dtype=torch.bool), "eval")
    for i in range(4):
        alone = agent.start(1)._replace(skill=acting.skill[i : i + 1])
        action, _ = agent.act(seen[i : i + 1], alone, torch.ones(1, dtype=torch.bool), "eval")
        torch.testing.assert_close(action[0], together[i], atol=1e-6, rtol=1e-5)


def test_nothing_is_chosen_and_there_is_no_report():
    agent = make_drq()
    assert agent.adapt(10**6, dict) is None and agent.report({}) == {} and agent.collects == "train"
