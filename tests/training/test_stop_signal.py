"""What a run makes of Ctrl-C, SIGTERM and SIGHUP."""

import os
import signal
import time

import pytest

from training.interrupt import SAME_SECONDS, StopSignal
from utils.process import STOPS

pytestmark = pytest.mark.usefixtures("hangups")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOPS)
def test_the_first_one_lets_the_step_finish(number, capfd):
    with StopSignal() as stop:
        stop.check()
        send(number)
        assert stop.received
        with pytest.raises(KeyboardInterrupt):
            stop.check()
    assert number.name in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_stops_at_once(number, clock):
    with StopSignal():
        send(signal.SIGTERM)
        clock[0] += 2 * SAME_SECONDS
        with pytest.raises(KeyboardInterrupt):
            send(number)


def test_the_same_one_twice_is_one(clock):
    """``timeout`` sends it to the process and to its group; a wrapper passes on what the terminal sent to both."""
    with StopSignal() as stop:
        for _ in range(4):
            send(signal.SIGTERM)
            clock[0] += 0.6 * SAME_SECONDS
        assert stop.received


def test_a_terminal_that_goes_away_may_say_so_often(clock):
    with StopSignal() as stop:
        for _ in range(3):
            send(signal.SIGHUP)
            clock[0] += 10
        assert stop.received
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            send(signal.SIGHUP)
            assert not stop.received
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nobody_to_be_told_is_no_reason_to_fail(monkeypatch):
    def gone(descriptor, data):
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", gone)
    with StopSignal() as stop:
        send(signal.SIGHUP)
        assert stop.received


def test_one_that_came_before_the_run_stood_counts():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as of_the_job:
        send(signal.SIGTERM)
        of_the_run = StopSignal.standing()
        with of_the_run:
            assert of_the_run.received
        assert signal.getsignal(signal.SIGTERM) == of_the_job._handle
    assert signal.getsignal(signal.SIGTERM) == before
    assert not StopSignal.standing().received
