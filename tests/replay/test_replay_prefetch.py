"""When a batch is drawn ahead, when it is used, and what becomes of the thread."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from replay_feeder import Feeder, build, check_batch

from replay import Replay
from replay.batch import Gather
from replay.prefetch import Prefetch

NAME = "replay-prefetch"


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def settle(replay: Replay) -> None:
    """Wait until the next batch is there."""
    replay._prefetch._pending[1].exception(10)


@pytest.fixture
def filled(monkeypatch):
    """Names of the threads that have filled batches, in turn; ``filled.hook`` is called by each of them before."""

    class Filled(list):
        hook = staticmethod(lambda: None)

    gc.collect()
    for thread in threads():  # of replays before, which may be drawing still
        thread.join(10)
    found, original = Filled(), Gather.fill

    def fill(self, host, located):
        found.append(threading.current_thread().name)
        found.hook()
        original(self, host, located)

    monkeypatch.setattr(Gather, "fill", fill)
    return found


def fed(directory: Path, records: int = 100, **changes: object) -> tuple[Replay, Feeder]:
    replay, feeder = build(directory, **changes), Feeder([20])
    feeder.feed(replay, records)
    return replay, feeder


def test_off_there_is_no_thread(tmp_path, filled, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread was started"))
    replay, feeder = fed(tmp_path)
    for _ in range(3):
        replay.sample()
        feeder.feed(replay, 3)
    assert filled == ["MainThread"] * 3


def test_the_first_batch_is_drawn_when_it_is_asked_for_and_the_next_ones_before(tmp_path, filled):
    replay, feeder = fed(tmp_path, prefetch=True)
    assert filled == []
    for _ in range(4):
        check_batch(replay.sample(), 4, 8)
        feeder.feed(replay, 2)  # 8 records: no episode ends
        settle(replay)
    assert filled == ["MainThread", *[NAME] * 4]


def test_the_thread_ends_with_the_replay(tmp_path):
    before = set(threads())
    replay = fed(tmp_path, prefetch=True)[0]
    for _ in range(3):
        replay.sample()
    (thread,) = set(threads()) - before
    del replay
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("change", ["an episode ends", "another thread draws"])
def test_what_was_taken_is_looked_at_once_more(tmp_path, filled, monkeypatch, change):
    """Between the wait for the thread, which holds no lock, and the use of what it has drawn."""
    replay, feeder = fed(tmp_path / "ahead", 119, prefetch=True)
    plain = fed(tmp_path / "plain", 119)[0]
    replay.sample(), plain.sample()
    settle(replay)
    filled.clear()
    take = Prefetch.take

    def slow(self, origin):
        taken = take(self, origin)
        assert taken is not None
        if change == "an episode ends":
            feeder.feed(replay, 1)
        else:
            replay.sampler.draw(replay.batch_size)
        return taken

    monkeypatch.setattr(Prefetch, "take", slow)
    batch = replay.sample()
    assert filled[0] == "MainThread"
    if change == "another thread draws":
        plain.sample()
        assert torch.equal(batch["action"], plain.sample()["action"])


@pytest.mark.parametrize(
    ("records", "changes"), [(119, {}), (240, {"capacity": 256})], ids=["an episode ends", "one is evicted"]
)
def test_a_batch_is_drawn_anew_when_other_episodes_can_be_sampled(tmp_path, filled, records, changes):
    replay, feeder = fed(tmp_path, records, prefetch=True, **changes)
    replay.sample()
    settle(replay)
    episodes = replay.num_episodes
    feeder.feed(replay, 1)
    assert replay.num_episodes == episodes + (1 if records == 119 else -1)
    check_batch(replay.sample(), 4, 8)
    settle(replay)
    assert filled == ["MainThread", NAME, "MainThread", NAME]


def test_a_draw_that_began_before_an_episode_ended_and_finishes_after_it_is_not_used(tmp_path, filled):
    """The thread is held up, so it draws while the episode is being added, or after."""
    replay, feeder = fed(tmp_path / "ahead", 119, prefetch=True)
    plain, other = fed(tmp_path / "plain", 119)
    replay.sample(), plain.sample()
    settle(replay)
    go = threading.Event()
    filled.hook = lambda: threading.current_thread().name == NAME and go.wait(10)
    assert torch.equal(replay.sample()["action"], plain.sample()["action"])
    feeder.feed(replay, 1)
    other.feed(plain, 1)
    go.set()
    for _ in range(3):
        assert torch.equal(replay.sample()["action"], plain.sample()["action"])


def test_the_state_is_that_before_the_draw(tmp_path):
    ahead, plain = fed(tmp_path / "ahead", prefetch=True)[0], fed(tmp_path / "plain")[0]
    for replay in (ahead, plain):
        replay.sample()
    settle(ahead)
    assert ahead.sampler.state == plain.sampler.state == ahead.state_dict()["sampler"]


def test_what_the_thread_raises_reaches_the_caller_once_and_changes_nothing(tmp_path, filled):
    replay, plain = fed(tmp_path / "ahead", prefetch=True)[0], fed(tmp_path / "plain")[0]

    def fail():
        if threading.current_thread().name == NAME:
            raise OSError("the disk is gone")

    filled.hook = fail
    replay.sample(), plain.sample()
    with pytest.raises(OSError, match="the disk is gone"):
        replay.sample()
    filled.hook = lambda: None
    assert torch.equal(replay.sample()["action"], plain.sample()["action"])


def test_not_ready_is_said_as_without(tmp_path):
    replay = build(tmp_path, prefetch=True)
    with pytest.raises(RuntimeError, match="ready"):
        replay.sample()
    Feeder([20]).feed(replay, 20)
    check_batch(replay.sample(), 4, 8)


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt; shells let their background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_interrupts_the_wait(tmp_path, filled, interruptible):
    replay = fed(tmp_path, prefetch=True)[0]
    go = threading.Event()
    filled.hook = lambda: threading.current_thread().name == NAME and go.wait(20)
    replay.sample()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        replay.sample()
    assert time.monotonic() - began < 10
    go.set()
    check_batch(replay.sample(), 4, 8)


STUCK = """
import threading
from pathlib import Path
from replay_feeder import Feeder, build
from replay.batch import Gather

replay = build(Path({folder!r}), prefetch=True)
Feeder([20]).feed(replay, 40)
original = Gather.fill
Gather.fill = lambda *args: threading.Event().wait() if threading.current_thread().name == "{name}" else original(*args)
replay.sample()
assert any(thread.name == "{name}" for thread in threading.enumerate())
print("done")
"""


def test_a_process_ends_though_the_thread_does_not(tmp_path):
    here = Path(__file__).resolve()
    path = os.pathsep.join(map(str, (here.parent, here.parents[2])))
    done = subprocess.run(
        [sys.executable, "-c", STUCK.format(folder=str(tmp_path), name=NAME)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
