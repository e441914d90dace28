"""Which skill is followed when."""

import io

import pytest
import torch

from agents.skills import NoSkills, OneHot, SkillSchedule, Turns, UnitSphere

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


# ---- trying every skill equally often


def test_turns_hold_every_skill_once():
    schedule = SkillSchedule(OneHot(5), 4, evenly=True)
    tried = follow(schedule, 3, 4 * 5 * 4).argmax(-1)[::4]
    later = tried[1:].flatten().tolist()  # the first are those the environments start with
    counts = [later[:i].count(k) for i in range(5, len(later) + 1, 5) for k in range(5)]
    assert max(later.count(k) for k in range(5)) - min(later.count(k) for k in range(5)) <= 1
    assert counts == [i // 5 for i in range(5, len(later) + 1, 5) for _ in range(5)]
    assert len({tuple(later[i : i + 5]) for i in range(0, len(later) - 4, 5)}) > 1  # in another order each


def test_only_those_that_are_due_take_a_turn():
    turns = Turns(7)
    due = torch.tensor([True, False, True, True])
    first, second = turns.take(due)[due], turns.take(due)[due]
    assert turns.take(torch.zeros(4, dtype=torch.bool)).shape == (4,)
    third = turns.take(due[:1])
    assert sorted([*first.tolist(), *second.tolist(), *third.tolist()]) == list(range(7))


def test_turns_go_on_after_the_last_order_and_where_they_were_saved():
    turns = Turns(3)
    every = torch.ones(3, dtype=torch.bool)
    seen = [turns.take(every).tolist() for _ in range(len(turns.order) // 3 + 2)]
    assert seen[-2:] == seen[:2]
    one, other = SkillSchedule(OneHot(3), 2, evenly=True), SkillSchedule(OneHot(3), 2, evenly=True)
    follow(one, 2, 7)
    other.load_state_dict(one.state_dict())
    for _ in range(4):
        skill = torch.zeros(2, 3)
        assert torch.equal(one.replace(skill, every[:2]), other.replace(skill, every[:2]))


@pytest.mark.parametrize("space", [NoSkills(), UnitSphere(3)])
def test_spaces_that_cannot_be_counted_have_no_turns(space):
    assert SkillSchedule(space, 5, evenly=True).turns is None


def test_the_chosen_skill_ends_the_turns():
    schedule = SkillSchedule(OneHot(5), 1, evenly=True)
    schedule.settle(torch.eye(5)[2])
    assert (follow(schedule, 2, 9) == torch.eye(5)[2]).all() and schedule.turns.taken == 0
