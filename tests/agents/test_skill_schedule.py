"""Which skill is followed when, and what a skill is worth judged by replayed actions."""

import io

import pytest
import torch

from agents.dreamer.actor_critic import Actor
from agents.nn.distributions import ClippedNormal
from agents.skills import NoSkills, OneHot, SkillSchedule, UnitSphere, likelihood_values

CPU = torch.device("cpu")
SPACES = [OneHot(5), UnitSphere(3)]


class Counted(OneHot):
    """Draws that never repeat within ``n``: every row of a call gets the next number."""

    def __init__(self, n):
        super().__init__(n)
        self.calls = 0

    def sample(self, count, device):
        self.calls += 1
        return torch.nn.functional.one_hot((torch.arange(count) + self.calls) % self.dim, self.dim).float()


def follow(schedule, count, steps):
    """The skills of ``count`` environments at each of ``steps`` steps, as an agent follows them."""
    skill, age = schedule.draw(count), torch.zeros(count, dtype=torch.int64)
    seen = []
    for _ in range(steps):
        skill, age = schedule.renew(skill, age)
        age = age + 1
        seen.append(skill)
    return torch.stack(seen)


# ---- spaces


def test_candidates_and_names():
    assert NoSkills().candidates(CPU).shape == (1, 0) and NoSkills().name(torch.zeros(0)) == "no skill"
    assert torch.equal(OneHot(4).candidates(CPU), torch.eye(4))
    assert [OneHot(4).name(skill) for skill in torch.eye(4)] == ["skill 0", "skill 1", "skill 2", "skill 3"]
    directions = UnitSphere(3).candidates(CPU)
    assert directions.shape == (6, 3) and torch.equal(directions.norm(dim=-1), torch.ones(6))
    assert len({tuple(x) for x in directions.tolist()}) == 6 and (directions.sum(0) == 0).all()
    assert UnitSphere(2).name(torch.tensor([1.0, -0.126])) == "skill (1.00, -0.13)"


@pytest.mark.parametrize("space", [NoSkills(), *SPACES])
def test_candidates_are_skills_of_the_space_with_names_of_their_own(space):
    found, drawn = space.candidates(CPU), space.sample(7, CPU)
    assert found.shape[1] == drawn.shape[1] == space.dim and found.dtype == drawn.dtype
    assert len({space.name(skill) for skill in found}) == len(found)


# ---- schedule


@pytest.mark.parametrize("period", [1, 2, 5, 50])
def test_renewed_exactly_every_period_steps(period):
    seen = follow(SkillSchedule(Counted(7), period), 3, 4 * period)
    for block in seen.split(period):
        assert (block == block[0]).all()
    starts = seen[::period]
    assert len(starts) == 4
    assert ((starts[1:] != starts[:-1]).any(-1)).all()  # another skill each time, in every environment


def test_every_environment_has_an_age_of_its_own():
    schedule = SkillSchedule(Counted(7), 3)
    skill = torch.eye(7)[[6, 6, 6, 6]]
    new, age = schedule.renew(skill, torch.tensor([0, 2, 3, 4]))
    assert torch.equal(new[:2], skill[:2]) and (new[2:] != skill[2:]).any(-1).all()
    assert age.tolist() == [0, 2, 0, 0] and age.dtype == torch.int64


@pytest.mark.parametrize("space", [NoSkills(), *SPACES])
def test_never_with_period_zero(space):
    schedule = SkillSchedule(space, 0)
    seen = follow(schedule, 4, 200)
    assert seen.shape == (200, 4, space.dim) and (seen == seen[0]).all()


def test_no_skills_whatever_the_period():
    assert follow(SkillSchedule(NoSkills(), 1), 2, 3).shape == (3, 2, 0)


@pytest.mark.parametrize("period", [0, 3])
def test_the_chosen_skill_wins(period):
    schedule = SkillSchedule(OneHot(5), period)
    skill, age = schedule.draw(6), torch.tensor([0, 1, 2, 3, 4, 50])
    chosen = torch.eye(5)[3].clone()
    schedule.settle(chosen)
    chosen.zero_()  # a copy is kept
    assert torch.equal(schedule.draw(6), torch.eye(5)[[3] * 6]) and schedule.draw(0).shape == (0, 5)
    assert torch.equal(schedule.renew(skill, age)[0], torch.eye(5)[[3] * 6])
    assert (follow(schedule, 2, 20) == torch.eye(5)[3]).all()
    schedule.settle(torch.eye(5)[1])
    assert torch.equal(schedule.draw(1), torch.eye(5)[[1]])


@pytest.mark.parametrize("settled", [False, True])
def test_the_state_survives(settled):
    schedule = SkillSchedule(OneHot(5), 3)
    if settled:
        schedule.settle(torch.eye(5)[2])
    buffer = io.BytesIO()
    torch.save(schedule.state_dict(), buffer)
    buffer.seek(0)
    other = SkillSchedule(OneHot(5), 3)
    other.settle(torch.eye(5)[4])
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other.settled is settled and torch.equal(other.chosen, schedule.chosen)
    assert (other.draw(200) == other.draw(200)).all() == settled


@pytest.mark.parametrize("renewed", [False, True])
def test_draws_are_uniform(renewed):
    n, count = 5, 50_000
    schedule = SkillSchedule(OneHot(n), 4)
    skill = schedule.draw(count)
    if renewed:
        start = torch.eye(n)[torch.zeros(count, dtype=torch.long)]
        skill, age = schedule.renew(start, torch.full((count,), 4))
        assert (age == 0).all()
    assert (skill.sum(-1) == 1).all()
    assert ((skill.mean(0) - 1 / n).abs() < 5 * (0.16 / count) ** 0.5).all()


# ---- value of a skill


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


def test_any_candidates():
    data, skills = records(), UnitSphere(3).candidates(CPU)
    actor = Actor(7 + 3, 3, layers=1, units=16, dist="clipped_normal")
    with torch.no_grad():
        values = likelihood_values(actor, skills, **data)
        torch.testing.assert_close(values, slow_values(actor, skills, **data), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(likelihood_values(actor, skills.flip(0), **data), values.flip(0))
