"""Episodes for measuring and looking leave the run they belong to as it was."""

import numpy as np
import pytest
import torch
from settings_kit import typed

import training.evaluation
from training.evaluation import evaluate, play, skill_gallery, trials
from training.parts import build

SKILLS = 4


@pytest.fixture
def parts(tmp_path):
    config = typed("pretrain", "preset=debug", "agent=deviation_dreamer", "device=cpu")
    made = build(config, tmp_path, "pretrain", torch.device("cpu"))
    yield made
    made.envs.close()
    made.eval_env.close()


def gallery(parts, **changes):
    return skill_gallery(parts.agent, parts.eval_env, **({"most": SKILLS, "steps": 3, "seed": 5} | changes))


def tiles(grid):
    """The grid's tiles, two a row, without borders: (4, T, 128, 128, 3)."""
    return np.stack([grid[:, y : y + 128, x : x + 128] for y in (2, 132) for x in (2, 132)])


def test_an_episode_has_an_image_and_a_state_per_step(parts):
    played = play(parts.agent, parts.eval_env)
    assert played.images.shape == (501, 3, 64, 64) and played.images.dtype == np.uint8
    assert played.states.shape == (501, 18)
    assert np.array_equal(played.states[-1], parts.eval_env.unwrapped.physics.get_state())
    assert 0 < played.reward < 1000


def test_the_beginning_of_an_episode_under_one_skill(parts, monkeypatch):
    skills, act = [], parts.agent.act

    def spied(observation, acting, is_first, mode):
        skills.append((acting.skill.argmax().item(), is_first.item(), mode))
        return act(observation, acting, is_first, mode)

    monkeypatch.setattr(parts.agent, "act", spied)
    played = play(parts.agent, parts.eval_env, torch.eye(SKILLS)[2], steps=3)
    assert played.images.shape[0] == 4
    assert skills == [(2, True, "show"), (2, False, "show"), (2, False, "show")]


def test_a_stop_signal_ends_it(parts):
    assert play(parts.agent, parts.eval_env, should_stop=lambda: True) is None
    assert gallery(parts, should_stop=lambda: True) is None
    assert evaluate(parts.agent, parts.eval_env, 1, action_repeat=2, seed=1, should_stop=lambda: True) is None


def test_the_gallery_shows_every_skill_from_one_state(parts):
    grid = gallery(parts)
    assert grid.shape == (4, 262, 262, 3) and grid.dtype == np.uint8
    first = tiles(grid)[:, 0, 20:]  # below the label
    assert all(np.array_equal(tile, first[0]) for tile in first)
    labels = tiles(grid)[:, 0, :20]
    assert all((labels[i] != labels[j]).any() for i in range(4) for j in range(i))


def test_the_gallery_takes_as_many_as_asked(parts):
    assert gallery(parts, most=1).shape == (4, 132, 132, 3)
    assert gallery(parts, most=3, steps=1).shape == (2, 262, 262, 3)


def test_the_gallery_changes_nothing(parts, settings, tmp_path):
    random, before = torch.get_rng_state(), parts.eval_env.unwrapped.get_state()
    first = gallery(parts)
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(gallery(parts), first)
    seen, _ = parts.eval_env.reset()
    parts.eval_env.unwrapped.set_state(before)
    again, _ = parts.eval_env.reset()
    assert np.array_equal(seen["observation"], again["observation"])
    # the episode the tiles began with is the next one
    shown = tiles(first)[0, 0, ::2, ::2]
    assert np.array_equal(shown[10:], again["observation"].transpose(1, 2, 0)[10:])


def test_evaluation_puts_the_random_state_back(parts):
    random = torch.get_rng_state()
    result = evaluate(parts.agent, parts.eval_env, 2, action_repeat=2, seed=1)
    assert torch.equal(torch.get_rng_state(), random)
    assert result.lengths == [1000, 1000] and len(result.returns) == 2 and result.frames.shape == (500, 64, 64, 3)


@pytest.mark.parametrize(
    "episodes, skills", [(1, [0]), (2, [0, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 0, 1])]
)
def test_before_a_choice_the_episodes_are_of_skills_in_turn(parts, episodes, skills):
    assert trials(parts.agent, episodes).argmax(-1).tolist() == skills
    parts.agent.skills.settle(torch.eye(SKILLS)[1])
    assert trials(parts.agent, episodes) is None


def test_an_evaluation_says_over_how_many_skills_its_returns_are(parts, monkeypatch):
    played = []

    def briefly(agent, env, skill, picture, should_stop):
        played.append(None if skill is None else int(skill.argmax()))
        return play(agent, env, skill, steps=2)

    monkeypatch.setattr(training.evaluation, "play", briefly)
    assert evaluate(parts.agent, parts.eval_env, 3, action_repeat=2, seed=1).skills == 3
    assert played == [0, 1, 2]
    parts.agent.skills.settle(torch.eye(SKILLS)[1])
    assert evaluate(parts.agent, parts.eval_env, 2, action_repeat=2, seed=1).skills == 0
    assert played[3:] == [None, None]


def test_an_episode_of_skills_that_change_on_the_way(parts, monkeypatch):
    skills, act = [], parts.agent.act

    def spied(observation, acting, is_first, mode):
        skills.append((acting.skill.argmax().item(), mode))
        return act(observation, acting, is_first, mode)

    monkeypatch.setattr(parts.agent, "act", spied)
    assert play(parts.agent, parts.eval_env, drawn=lambda step: torch.eye(SKILLS)[step // 2], steps=4) is not None
    assert skills == [(0, "sample"), (0, "sample"), (1, "sample"), (1, "sample")]
