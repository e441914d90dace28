"""How busy a GPU is: asked while the work goes on, and never in its way."""

import time
from types import SimpleNamespace

import pytest
import torch

from benchmarks import utilisation

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(utilisation, "PERIOD", 0.01)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_the_mean_of_what_is_answered(monkeypatch):
    answers, asked = iter(["20\n", "40\n"]), []

    def answer(command, **_):
        asked.append(command)
        return SimpleNamespace(stdout=next(answers, "none"))  # the third answer is no number, and the last

    monkeypatch.setattr(utilisation, "command", lambda device: ["tool"])
    monkeypatch.setattr(utilisation.subprocess, "run", answer)
    with utilisation.watched(CPU) as mean:
        wait_for(lambda: len(asked) == 3)
    assert asked == [["tool"]] * 3
    assert mean() == pytest.approx(0.3)


@pytest.mark.parametrize("command", [["false"], ["/nowhere/at/all"], None])
def test_where_nothing_answers(command, monkeypatch):
    monkeypatch.setattr(utilisation, "command", lambda device: command)
    with utilisation.watched(CPU) as mean:
        time.sleep(0.1)
    assert mean() is None


def test_what_is_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12-34"))
    monkeypatch.setattr(utilisation.shutil, "which", lambda name: f"/bin/{name}")
    program, which, *_ = utilisation.command(torch.device("cuda"))
    assert (program, which) == ("/bin/nvidia-smi", "--id=GPU-12-34")
    assert utilisation.command(CPU) is None
    monkeypatch.setattr(utilisation.shutil, "which", lambda name: None)
    assert utilisation.command(torch.device("cuda")) is None
