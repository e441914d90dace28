"""The order of turns, written out."""

import pytest

from agents.rest.schedule import Schedule, Turn


def turns(schedule):
    return [schedule.turn(number) for number in range(len(schedule))]


def test_as_the_published_program():
    found = turns(Schedule("code", 3, 2, 2, 3))
    want = [Turn(0, 0, i, (), False) for i in range(3)]
    want += [Turn(0, k, i, tuple(range(k)), True) for k in (1, 2) for i in (0, 1)]
    others = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
    want += [Turn(1, k, i, others[k], True) for k in (0, 1, 2) for i in (0, 1)]
    assert found == want


def test_as_the_paper():
    found = turns(Schedule("paper", 3, 2, 2, 5))
    others = {0: (1, 2), 1: (0, 2), 2: (0, 1)}
    want = [Turn(0, k, 0, (), False) for k in (0, 1, 2)]
    want += [Turn(c, k, i, others[k], True) for c in (0, 1) for k in (0, 1, 2) for i in (0, 1)]
    assert found == want


def test_one_skill_after_the_other_or_all_together():
    plain, together = (turns(Schedule(order, 2, 2, 3, 3)) for order in ("plain", "together"))
    assert plain == [Turn(c, k, i, (), True) for c in (0, 1) for k in (0, 1) for i in range(3)]
    assert together == [Turn(c, k, i, (), True) for c in (0, 1) for i in range(3) for k in (0, 1)]


def test_published_length():
    """(50 * 10 - 1) * 20 iterations of 10,000 steps, 99.8 million, after three rollouts of warm-up."""
    schedule = Schedule("code", 10, 50, 20, 3)
    assert len(schedule) == 3 + 9980
    assert schedule.turn(3) == Turn(0, 1, 0, (0,), True)
    assert schedule.turn(len(schedule) - 1) == Turn(49, 9, 19, tuple(range(9)), True)
    assert schedule.snapshots()[-1] == "49/9/19" and len(schedule.snapshots()) == 499


@pytest.mark.parametrize(
    "order, wanted",
    [("code", ["0/1/1", "0/2/1"]), ("paper", ["0/0/1", "0/1/1", "0/2/1"]), ("plain", ["0/0/1", "0/1/1", "0/2/1"]),
     ("together", ["0/0/1", "0/1/1", "0/2/1"])],
)  # fmt: skip
def test_folders_of_one_cycle(order, wanted):
    """3 skills, 2 iterations each."""
    schedule = Schedule(order, 3, 1, 2, 3)
    assert schedule.snapshots() == wanted
    last = len(schedule) - 1
    assert schedule.ends_turn(last) and schedule.snapshot(last) == "0/2/1"


def test_a_warm_up_is_no_turn_to_be_saved():
    schedule = Schedule("code", 2, 1, 1, 1)
    assert not schedule.ends_turn(0) and schedule.ends_turn(1)  # both are iteration 0


@pytest.mark.parametrize("number", [-1, 12, 100])
def test_there_is_nothing_after_the_last(number):
    with pytest.raises(IndexError, match=f"turn {number} of 12"):
        Schedule("plain", 3, 2, 2, 0).turn(number)
