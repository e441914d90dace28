import io
import os
import re
import subprocess
import sys

import pytest

from training.layouts import DREAMER, REST
from utils.console import Console, format_line, format_time, wants_colour

PUBLISHED = "| train          | F: 7000 | S: 3500 | E: 7 | L: 1000 | R: 12.3456 | FPS: 80.0000 | T: 0:01:30"
VALUES = {
    "frame": 7000,
    "step": 3500,
    "episode": 7,
    "episode_length": 1000,
    "episode_reward": 12.3456,
    "fps": 80,
    "total_time": 90.9,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def visible(text):
    return re.sub(r"\033\[\d+m", "", text)


def test_train_line_is_the_published_one():
    assert format_line("train", VALUES, DREAMER) == PUBLISHED


def test_eval_line_has_no_fps_and_the_same_columns():
    expected = "| eval           | F: 7000 | S: 3500 | E: 7 | L: 1000 | R: 12.3456 | T: 0:01:30"
    assert format_line("eval", VALUES, DREAMER) == expected


@pytest.mark.parametrize(("prefix", "code"), [("train", "33"), ("eval", "32")])
def test_colour_adds_only_invisible_codes(prefix, code):
    coloured = format_line(prefix, VALUES, DREAMER, colour=True)
    assert coloured.startswith(f"| \033[{code}m{prefix}\033[0m ")
    assert coloured.count("\033") == 2
    assert visible(coloured) == format_line(prefix, VALUES, DREAMER)


def test_missing_fields_are_zero():
    assert (
        format_line("train", {}, DREAMER)
        == "| train          | F: 0 | S: 0 | E: 0 | L: 0 | R: 0.0000 | FPS: 0.0000 | T: 0:00:00"
    )


def test_what_only_some_methods_have_is_left_out_where_it_is_not():
    assert "RND" not in format_line("train", {"Skill": 3}, REST)
    assert "| RND: 0.0000 |" in format_line("train", {"Skill": 3, "LossRND": 0.0}, REST)


def test_numbers_that_are_none_do_not_stop_a_run():
    line = format_line("train", VALUES | {"episode_reward": float("nan"), "episode_length": float("inf")}, DREAMER)
    assert "R: nan" in line
    assert "L: inf" in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.99, "0:00:59"), (3661, "1:01:01"), (90_061, "25:01:01")]
)
def test_time(seconds, text):
    assert format_time(seconds) == text


def test_colour_needs_a_terminal_and_consent(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # the convention: an empty value does not count
    assert wants_colour(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())


def test_line_is_coloured_on_a_terminal_only(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, codes in ((Terminal(), 2), (io.StringIO(), 0)):
        monkeypatch.setattr(sys, "stdout", stream)
        Console(100, DREAMER, progress=False).line("train", VALUES)
        assert visible(stream.getvalue()) == PUBLISHED + "\n"
        assert stream.getvalue().count("\033") == codes


def test_no_bar_unless_stderr_is_a_terminal(monkeypatch, capsys):
    console = Console(100, DREAMER)
    console.tick(50)
    console.close()
    assert capsys.readouterr().err == ""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(100, DREAMER)
    console.tick(50)
    console.close()
    assert "50" in terminal.getvalue()
    assert "/100" in terminal.getvalue()


def test_bar_stands_where_the_run_is_with_its_words_behind(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = Console(2000, DREAMER, progress=True)
    console.says = lambda: "62 days left"
    console.tick(1000)  # resumed here
    assert terminal.getvalue().count("1.00k/2.00k frames") == 1
    console.tick(1500)
    console.close()
    console.close()
    last = terminal.getvalue().rpartition("\r")[2]
    assert "75%" in last and "1.50k/2.00k frames" in last and "62 days left" in last


def test_a_run_that_nobody_watches_says_now_and_then_where_it_is(capsys):
    """After a minute without a line, then after two, four, eight, and every ten."""
    now = [0.0]
    console = Console(2_000_010, DREAMER, clock=lambda: now[0])
    console.says = lambda: "62 days left"
    spoken = []
    for now[0] in range(0, 60 * 60, 5):
        console.tick(4000)
        if said := capsys.readouterr().out:
            spoken.append(now[0])
            assert "4000" in said and "2000010" in said and "62 days left" in said
    minutes = [sum(waits) for waits in [(1,), (1, 2), (1, 2, 4), (1, 2, 4, 8)]]
    assert spoken == [60 * minute for minute in (*minutes, 25, 35, 45, 55)]
    console.say("something else")
    now[0] += 595
    console.tick(4000)
    assert "days" not in capsys.readouterr().out
    now[0] += 5
    console.tick(4000)
    assert "days" in capsys.readouterr().out


@pytest.mark.parametrize("progress", [False, True])
def test_no_such_lines_where_the_bar_is_asked_for_or_unwanted(capsys, progress):
    now = [0.0]
    console = Console(100, DREAMER, progress, clock=lambda: now[0])
    for now[0] in range(0, 10_000, 100):
        console.tick(50)
    console.close()
    assert capsys.readouterr().out == ""


def test_lines_do_not_tear_the_bar():
    """stdout and stderr into one stream, as on a screen: a line must begin at the left edge of a cleared row."""
    script = (
        "from training.layouts import DREAMER\n"
        "from utils.console import Console\n"
        "console = Console(10_000, DREAMER, progress=True)\n"
        "for frame in range(0, 10_000, 1000):\n"
        "    console.tick(frame)\n"
        "    console.line('train', {'frame': frame})\n"
        "console.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"},
        check=True,
        timeout=60,
    )
    rows = done.stdout.decode().split("\n")
    lines = [row.rpartition("\r")[2] for row in rows if "| train" in row]
    assert len(lines) == 10
    assert all(line.startswith("| train          | F: ") for line in lines)
