"""Times of pieces of work, by a clock the tests turn."""

import pytest

from training.status import awaited, doing
from training.work import MEMORY, Pace, Work


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def seconds(work):
    return {kind: pace.seconds for kind, pace in work.paces.items() if pace.seconds is not None}


def test_a_pace_is_a_mean_in_which_old_pieces_fade():
    pace = Pace()
    assert pace.seconds is None
    pace.guess = 30.0
    assert pace.seconds == 30.0
    for value in (10.0, 20.0):
        pace.add(value)
    assert pace.seconds == 15.0
    for _ in range(10 * MEMORY):
        pace.add(1.0)
    assert pace.seconds == pytest.approx(1.0, abs=0.01)
    pace.forget(7.0)
    pace.add(3.0)
    assert pace.seconds == 3.0


def test_what_is_within_a_piece_is_not_counted_twice_and_the_rest_is_of_no_kind(clock):
    work = Work(clock=clock)
    for _ in range(2):
        with work.round():
            clock.now += 1
            with work.piece("step"):
                clock.now += 2
                for number in (1, 2):
                    with work.piece("update", number, 2):
                        clock.now += 10
                clock.now += 3
            clock.now += 0.5
    assert seconds(work) == {"step": 5.0, "update": 10.0}
    assert work.rest == 1.5 and work.rounds == 2


def test_work_between_two_rounds_is_of_neither(clock):
    work = Work(clock=clock)
    with work.round():
        clock.now += 1
    with work.piece("trial"):
        clock.now += 100
    with work.round():
        clock.now += 1
    assert work.rest == 1.0


def test_the_first_updates_of_a_compiled_agent_are_no_measure(clock):
    work = Work({"update": 2}, clock)
    for took in (300, 5, 1, 2):
        with work.piece("update"):
            clock.now += took
    assert seconds(work) == {"update": 1.5}


def test_a_piece_that_fails_is_no_measure_and_over(clock):
    work = Work(clock=clock)
    with pytest.raises(RuntimeError), work.piece("update"):
        clock.now += 5
        raise RuntimeError
    assert work.now is None and seconds(work) == {}


def test_what_is_being_done_in_words(clock):
    work = Work(clock=clock)
    work.paces["update"].add(26.0)
    assert doing(work) == ""
    with work.piece("update", 3, 100):
        assert doing(work) == "update 3 of 100"
        clock.now += 12
        assert doing(work) == "update 3 of 100, 12 s of 26 s"
    with work.piece("update"):
        assert doing(work) == ""  # one of many quick ones is not worth a word
        clock.now += 30
        assert doing(work) == "update, 30 s of 19 s"
    with work.piece("step"):
        clock.now += 30
        assert doing(work) == ""
    with work.piece("evaluation"):
        clock.now += 200
        assert doing(work) == "evaluation, 3.3 min"
        work.at(4, 10)
        assert doing(work) == "evaluation, episode 4 of 10, 3.3 min"
    assert seconds(work)["evaluation"] == 200.0


@pytest.mark.parametrize(
    ("kind", "number", "of", "in_flight", "parts"),
    [
        ("update", 3, 100, False, ["this update", "about 20 s"]),
        ("update", 91, 100, True, ["10 updates", "about 4.2 min"]),
        ("update", 1, 1, True, ["this update", "about 20 s"]),
        ("trial", 1, 1, False, ["update", "timed"]),
        ("evaluation", 1, 1, False, ["evaluation", "first"]),
        ("step", 1, 1, False, ["this step"]),
        ("checkpoint", 1, 1, False, ["this checkpoint"]),
    ],
)
def test_what_a_stop_waits_for(clock, kind, number, of, in_flight, parts):
    work = Work(clock=clock)
    work.paces["update"].add(26.0)
    with work.piece(kind, number, of):
        clock.now += 6
        said = awaited(work, in_flight)
        assert all(part in said for part in parts), said


def test_an_update_that_takes_longer_than_usual_has_nothing_left(clock):
    work = Work(clock=clock)
    work.paces["update"].add(2.0)
    with work.piece("update"):
        clock.now += 6
        assert awaited(work, False) == "this update"
