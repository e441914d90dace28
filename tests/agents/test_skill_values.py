"""What a skill is worth for a task, judged by what was replayed."""

import numpy as np
import pytest
import torch

from agents.dreamer.actor_critic import Actor
from agents.dreamer.skill_choice import FEWEST_STEPS, best_paid
from agents.nn.distributions import ClippedNormal
from agents.skill_values import Tried, likelihood_values, published_values, rewards_by_skill
from agents.skills import Turns, UnitSphere

CPU = torch.device("cpu")

# ---- what was paid


def episode(skills, rewards, valid=None, n=4):
    """Records under the skills of these numbers; the first is the reset's."""
    held = np.eye(n, dtype=np.float32)[skills]
    counts = np.arange(len(skills)) > 0 if valid is None else np.asarray(valid)
    return {"skill": held, "skill_valid": counts, "reward": np.asarray(rewards, np.float32)}


def test_the_second_half_of_every_hold_counts():
    made = episode([2, 2, 2, 2, 2, 0, 0, 0, 3], [9, 9, 9, 1, 2, 9, 4, 5, 7])
    tried = rewards_by_skill([made], torch.eye(4))
    # of four steps two, of three two, of one that one
    assert tried.values.tolist() == [4.5, 0.0, 1.5, 7.0] and tried.steps.tolist() == [2, 0, 2, 1]
    twice = rewards_by_skill([made, episode([0, 1, 1], [0, 8, 6])], torch.eye(4))
    assert twice.values.tolist() == [4.5, 6.0, 1.5, 7.0] and twice.steps.tolist() == [2, 1, 2, 1]


def test_steps_that_no_skill_chose_do_not_count_and_end_a_hold():
    made = episode([1] * 7, [9, 9, 1, 9, 9, 2, 3], valid=[0, 1, 1, 0, 1, 1, 1])
    tried = rewards_by_skill([made], torch.eye(4))
    assert tried.steps.tolist() == [0, 3, 0, 0] and tried.values[1] == 2
    assert not rewards_by_skill([], torch.eye(4)).steps.any()


def test_continuous_skills_count_for_the_nearest_candidate():
    space = UnitSphere(2)
    made = episode([0, 1, 2, 3], [0, 1, 2, 3]) | {"skill": np.array([[1, 0], [0.9, 0.1], [-0.8, 0.2], [0.1, -2]])}
    tried = rewards_by_skill([made], space.candidates(CPU))  # (1, 0), (0, 1), (-1, 0), (0, -1)
    assert tried.values.tolist() == [1, 0, 2, 3]


def paid(values, steps):
    return Tried(torch.tensor(values, dtype=torch.float64), torch.tensor(steps))


def test_the_best_paid():
    assert best_paid(paid([0.1, 0.5, 0.3], [50, 50, 50])) == 1
    assert best_paid(paid([-0.1, -0.5, 0.0], [50, 50, 0])) == 0  # what was not tried is not 0
    assert best_paid(paid([0.1, 0.5, 0.3], [50, FEWEST_STEPS - 1, FEWEST_STEPS])) == 2


@pytest.mark.parametrize(
    ("values", "steps", "why"),
    [([0.1, 0.5], [50, FEWEST_STEPS - 1], "fewer than 2"), ([0.25, 0.25, 0.0], [20, 30, 0], "0.25")],
)
def test_where_it_cannot_be_told_it_says_why(values, steps, why):
    assert why in best_paid(paid(values, steps))


@pytest.mark.parametrize("lag", [0, 25])
def test_regret_in_a_toy_of_known_values(lag):
    """16 skills, another one every 50 steps, 4 episodes of 500 steps; regret 0 is the best skill, 1 a random one."""
    n, length, trials, turns = 16, 500, 200, Turns(16)
    noise, regrets = np.random.default_rng(0), []
    for _ in range(trials):
        worth, episodes = noise.random(n), []
        for holds in turns.take(torch.ones(4 * 10, dtype=torch.bool)).view(4, 10).numpy():
            held = holds.repeat(50)
            earned = np.concatenate([np.zeros(lag), worth[held]])[:length] + 0.3 * noise.standard_normal(length)
            episodes.append(episode([held[0], *held], [0, *earned], n=n))
        chosen = best_paid(rewards_by_skill(episodes, torch.eye(n)))
        regrets.append((worth.max() - worth[chosen]) / (worth.max() - worth.mean()))
    assert np.mean(regrets) <= 0.2


# ---- likelihood of what was done


def records(batch=4, length=6, feat=7, actions=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.zeros(batch, length, dtype=torch.bool)
    first[:, 0] = True
    return {
        "feat": torch.randn(batch, length, feat, generator=generator),
        "action": torch.rand(batch, length, actions, generator=generator) * 2 - 1,
        "is_first": first,
        "reward": torch.rand(batch, length, generator=generator),
    }


@torch.no_grad()
def slow_values(actor, candidates, feat, action, is_first, reward):
    """mean over sequences of R_i * sum_t log pi(a_{t+1} | s_t, z), term by term."""
    values = []
    for skill in candidates:
        total = 0.0
        for i in range(len(feat)):
            likelihood = 0.0
            for t in range(feat.shape[1] - 1):
                if not is_first[i, t + 1]:
                    policy = actor(feat[i, t], skill)
                    normal = torch.distributions.Normal(policy.mean.double(), policy.std.double())
                    likelihood += normal.log_prob(action[i, t + 1].double()).sum().item()
            total += sum(reward[i].tolist()) * likelihood
        values.append(total / len(feat))
    return torch.tensor(values)


@pytest.mark.parametrize("batch, length", [(1, 2), (4, 6), (3, 9)])
def test_value_against_a_loop(batch, length):
    data = records(batch, length)
    if length > 4:
        data["is_first"][0, 3] = data["is_first"][-1, length - 1] = True
    actor, skills = Actor(7 + 5, 3, layers=1, units=16, dist="clipped_normal"), torch.eye(5)
    with torch.no_grad():
        for p in actor.parameters():
            p.mul_(3)
        values = likelihood_values(actor, skills, **data)
    assert values.shape == (5,)
    torch.testing.assert_close(values, slow_values(actor, skills, **data), rtol=1e-4, atol=1e-3)
    assert values.std() > 0.02


def planted_actor(feat, skill):
    """Skill k acts by the k-th piece of the feature."""
    mean = (feat.unflatten(-1, (4, 3)) * skill[..., None]).sum(-2)
    return ClippedNormal(mean, torch.full_like(mean, 0.3))


def planted(best, second, seed=0, shift=1, batch=6, length=8):
    """Sequences acted by ``best`` with high returns, by ``second`` with low ones; action t + shift belongs to t."""
    data = records(batch, length, feat=12, seed=seed)
    data["feat"] = data["feat"].clamp(-1, 1)
    pieces = data["feat"].unflatten(-1, (4, 3))
    for i in range(batch):
        by = best if i < batch // 2 else second
        data["action"][i, shift:] = pieces[i, : length - shift, by]
        data["reward"][i] = 1.0 if i < batch // 2 else 0.05
    return data


@pytest.mark.parametrize("best, second", [(0, 1), (1, 0), (2, 3), (3, 2)])
def test_a_planted_skill_is_found(best, second):
    data = planted(best, second)
    values = likelihood_values(planted_actor, torch.eye(4), **data)
    assert values.argmax() == best


def test_returns_belong_to_their_sequences():
    """The reference's product of all pairs does not notice which sequence had which return."""
    data = planted(2, 3)
    assert likelihood_values(planted_actor, torch.eye(4), **data).argmax() == 2
    data["reward"] = data["reward"].flip(0)
    assert likelihood_values(planted_actor, torch.eye(4), **data).argmax() == 3


def test_actions_belong_to_the_feature_before_them():
    """With the actions of another skill planted at the feature they led *into*, the right one is still found."""
    data, wrong = planted(1, 1), planted(2, 2, shift=0)
    values = likelihood_values(planted_actor, torch.eye(4), **data)
    assert values.argmax() == 1
    # actions that a skill "would have taken" in the state they led to say nothing about it
    values = likelihood_values(planted_actor, torch.eye(4), **wrong)
    assert values.max() - values.min() < 0.5 * values.abs().max()
    data["action"][:, 0] = 1e3  # what led into the first record belongs to no feature of the window
    assert likelihood_values(planted_actor, torch.eye(4), **data).argmax() == 1


def test_the_action_into_a_first_record_is_not_counted():
    data = records(feat=12)
    data["is_first"][1, 3] = True
    values = likelihood_values(planted_actor, torch.eye(4), **data)
    data["action"][1, 3] = torch.tensor([50.0, -50, 50])
    assert torch.equal(likelihood_values(planted_actor, torch.eye(4), **data), values)
    data["action"][1, 3] = torch.nan
    assert torch.equal(likelihood_values(planted_actor, torch.eye(4), **data), values)
    data["action"][1, 2] += 0.5
    assert not torch.equal(likelihood_values(planted_actor, torch.eye(4), **data), values)


def test_negative_and_zero_returns():
    """The formula is taken as it stands: a sequence without return counts for nothing, a negative one against."""
    data = records(feat=12)
    data["reward"].zero_()
    assert (likelihood_values(planted_actor, torch.eye(4), **data) == 0).all()
    data = records(feat=12)
    values = likelihood_values(planted_actor, torch.eye(4), **data)
    data["reward"] = -data["reward"]
    torch.testing.assert_close(likelihood_values(planted_actor, torch.eye(4), **data), -values)


def test_centred_returns():
    """A constant added to every return changes nothing; without centring the likeliest skill wins by it."""
    data = planted(2, 3)
    values = likelihood_values(planted_actor, torch.eye(4), **data, centred=True)
    assert values.argmax() == 2
    data["reward"] = data["reward"] + 100
    torch.testing.assert_close(
        likelihood_values(planted_actor, torch.eye(4), **data, centred=True), values, rtol=1e-3, atol=0.1
    )
    assert not torch.allclose(likelihood_values(planted_actor, torch.eye(4), **data), values, rtol=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_the_published_value_by_hand(seed):
    data = records(5, 6, feat=12, seed=seed)
    del data["is_first"]
    found = published_values(planted_actor, torch.eye(4), **data)
    for skill in range(4):
        total = 0.0
        for i in range(5):  # every return with every likelihood
            for j in range(5):
                policy = planted_actor(data["feat"][j], torch.eye(4)[skill].expand(6, -1))
                total += float(data["reward"][i].sum() * policy.log_prob(data["action"][j]).sum())
        assert found[skill].item() == pytest.approx(total / 25, rel=1e-4)
    data["reward"] = data["reward"].flip(0)
    torch.testing.assert_close(published_values(planted_actor, torch.eye(4), **data), found)


def test_any_candidates():
    data, skills = records(), UnitSphere(3).candidates(CPU)
    actor = Actor(7 + 3, 3, layers=1, units=16, dist="clipped_normal")
    with torch.no_grad():
        values = likelihood_values(actor, skills, **data)
        torch.testing.assert_close(values, slow_values(actor, skills, **data), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(likelihood_values(actor, skills.flip(0), **data), values.flip(0))
