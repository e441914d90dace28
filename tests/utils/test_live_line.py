"""The live line goes on moving by itself, on terminals only, and nothing that happens to the terminal stops a run."""

import io
import threading
import time

import pytest
from tqdm import tqdm

import utils.live_line
from utils.live_line import LiveLine


class Terminal(io.StringIO):
    """Remembers which threads write to it; ``broken`` ones raise."""

    def __init__(self, terminal=True):
        super().__init__()
        self.terminal, self.writers, self.broken = terminal, set(), None

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.writers.add(threading.current_thread().name)
        if self.broken is not None:
            raise self.broken
        return super().write(text)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(utils.live_line, "BEAT", 0.02)


def wait_until(happened):
    end = time.monotonic() + 20
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
    assert happened()


def test_the_words_move_while_nobody_calls():
    said, stream = iter(f"update 1 of 3, {n} s" for n in range(1_000_000)), Terminal()
    line = LiveLine(4010, 2000, lambda: next(said), stream)
    wait_until(lambda: "update 1 of 3, 5 s" in stream.getvalue())
    line.close()
    assert stream.writers == {"MainThread", "live line"}
    assert "2.00k/4.01k frames" in stream.getvalue()
    before = stream.getvalue()
    time.sleep(0.1)
    assert stream.getvalue() == before


def test_what_is_no_terminal_is_written_to_by_nobody_else():
    stream = Terminal(terminal=False)
    line = LiveLine(100, 0, lambda: "busy", stream)
    time.sleep(0.1)
    line.move(50)
    line.close()
    assert stream.writers == {"MainThread"} and "50.0/100" in stream.getvalue() and "busy" in stream.getvalue()


@pytest.mark.parametrize(
    "error",
    [OSError(5, "Input/output error"), BrokenPipeError(32, "Broken pipe"), ValueError("I/O operation on closed file")],
)
def test_a_terminal_that_goes_away_holds_nobody_up(monkeypatch, error):
    stream = Terminal()
    line = LiveLine(100, 0, lambda: "busy", stream)
    stream.broken, stream.writers = error, set()
    wait_until(lambda: "live line" in stream.writers)
    writer = threading.Thread(target=tqdm.write, args=("| train", io.StringIO()), daemon=True)
    writer.start()
    writer.join(timeout=20)
    assert not writer.is_alive()
    monkeypatch.setattr(utils.live_line, "SHORTEST", 0)
    line.move(50)
    line.close()
    assert not line._thread.is_alive()


def test_it_counts_what_it_is_told_to_count():
    stream = io.StringIO()
    line = LiveLine(100, 40, lambda: "busy", stream, "update")
    line.close()
    assert "40.0/100 updates [" in stream.getvalue()
