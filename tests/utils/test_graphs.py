"""Where functions are captured, and what happens where they cannot be: a toy in place of CUDA, and CUDA itself."""

import logging
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from utils.compile import capture_agent
from utils.graphs import EAGER_CALLS, Graphed, Graphs

SECOND = torch.device("cuda", 1)


class Stream:
    def __init__(self, index):
        self.index, self.waited_for = index, []

    def wait_stream(self, other):
        assert other.index == self.index
        self.waited_for.append(other)


class Generator:
    """A random state that an invalid capture leaves unusable, as CUDA's does."""

    def __init__(self, fit=True):
        self.fit = fit

    def clone_state(self):
        return Generator(self.fit)

    def graphsafe_set_state(self, other):
        self.fit = other.fit


class ToyCuda:
    """Two devices, the first of them current: which of them is, on which stream, and what is being captured."""

    def __init__(self, monkeypatch):
        self.index, self.current = 0, [Stream(0), Stream(1)]
        self.default = list(self.current)
        self.made, self.seen, self.captures, self.replays = [], [], [], []
        self.capturing = self.invalid = False
        self.kernels = self.recording = self.emptied = 0
        self.default_generators = [Generator(), Generator()]
        for name in ("device", "stream", "graph", "current_stream", "set_stream", "current_device", "empty_cache",
                     "Stream", "CUDAGraph", "graph_pool_handle", "default_generators"):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_recording, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", lambda index, pool: None, raising=False)

    def function(self, x):
        """Something to capture: it says where it ran."""
        self.kernels += 1
        self.seen.append((self.index, self.current[self.index], self.capturing))
        return x + 1

    def wait(self):
        """What a graph cannot hold."""
        if self.capturing:
            self.invalid = True
            raise RuntimeError("CUDA error: not permitted when capturing\nSearch the manual for it.\n")

    # ---- the parts of torch.cuda

    @contextmanager
    def device(self, device):
        before, self.index = self.index, self.index if device.index is None else device.index
        try:
            yield
        finally:
            self.index = before

    def Stream(self, device):
        self.made.append(Stream(self.index if device.index is None else device.index))
        return self.made[-1]

    def current_stream(self):
        return self.current[self.index]

    def current_device(self):
        return self.index

    def set_stream(self, stream):
        self.index = stream.index
        self.current[stream.index] = stream

    @contextmanager
    def stream(self, stream):
        before = self.current_stream()
        self.set_stream(stream)
        try:
            yield
        finally:
            self.set_stream(before)

    def CUDAGraph(self):
        return SimpleNamespace(replay=lambda: self.replays.append(self.index))

    def graph_pool_handle(self):
        return (0, 1)

    def empty_cache(self):
        self.emptied += 1

    def end_recording(self, index, pool):
        if not self.recording:
            raise RuntimeError("not currently recording")
        self.recording -= 1

    @contextmanager
    def graph(self, graph, pool, stream):
        """As torch has it: what is invalid is not let go of."""
        self.captures.append((self.index, stream, pool))
        before, kernels = self.current_stream(), self.kernels
        self.set_stream(stream)
        self.capturing, self.default_generators[self.index].fit = True, False
        self.recording += 1
        try:
            yield
        finally:
            self.capturing = False
            if self.invalid:
                self.invalid = False
                raise RuntimeError("CUDA error: failed due to a previous error\nSearch the manual for it.\n")
            self.default_generators[self.index].fit = True
            self.recording -= 1
            if self.kernels == kernels:
                warnings.warn("The CUDA Graph is empty. This usually means a wrong device.", stacklevel=1)
            self.set_stream(before)


@pytest.fixture
def toy(monkeypatch):
    return ToyCuda(monkeypatch)


def nothing(*args):
    return ()


def calls(function, count=EAGER_CALLS + 3):
    return [int(function(torch.tensor(number))) for number in range(count)]


@pytest.mark.parametrize("index", [None, 0, 1])
def test_everything_happens_on_the_device_that_was_named(toy, index):
    there = index or 0
    add = Graphed(
        toy.function, nothing, Graphs(torch.device("cuda", index) if index is not None else torch.device("cuda"))
    )
    calls(add)
    assert [seen[0] for seen in toy.seen] == [there] * (EAGER_CALLS + 1)
    assert toy.captures == [(there, toy.made[0], (0, 1))] and toy.replays == [there] * 3
    assert toy.index == 0 and toy.current == toy.default


def test_all_calls_of_all_functions_share_one_stream_and_its_memory(toy):
    graphs = Graphs(SECOND)
    for function in (Graphed(toy.function, nothing, graphs), Graphed(toy.function, nothing, graphs)):
        calls(function)
    (stream,) = toy.made
    assert {seen[1] for seen in toy.seen} == {stream} and len(toy.captures) == 2
    assert stream.waited_for == [toy.default[1]] * 2 * EAGER_CALLS
    assert toy.default[1].waited_for == [stream] * 2 * EAGER_CALLS


def waits(toy, x):
    x = toy.function(x)
    toy.wait()
    return x


def breaks(toy, x):
    x = toy.function(x)
    if toy.capturing:
        raise KeyError("of the function")
    return x


def returns_a_number(toy, x):
    return int(toy.function(x))


def does_nothing(toy, x):
    return x + 1  # no kernel


@pytest.mark.parametrize("function", [waits, breaks, returns_a_number, does_nothing])
def test_what_cannot_be_captured_goes_on_without_graphs_and_says_so_once(toy, caplog, function):
    graphs = Graphs(SECOND)
    other = Graphed(toy.function, nothing, graphs)
    calls(other)
    replayed = len(toy.replays)
    odd = Graphed(lambda x: function(toy, x), nothing, graphs)
    with caplog.at_level(logging.WARNING):
        assert calls(odd) == [number + 1 for number in range(EAGER_CALLS + 3)]
        kernels = toy.kernels
        assert calls(other) == [number + 1 for number in range(EAGER_CALLS + 3)]
    assert (
        toy.kernels == kernels + EAGER_CALLS + 3 and len(toy.replays) == replayed
    )  # the other one's graph is gone, too
    assert len(toy.captures) == 2 and len(toy.made) == 1
    # stream, device, random numbers and memory are as they were
    assert toy.index == 0 and toy.current == toy.default and toy.recording == 0 and toy.emptied == 1
    assert all(generator.fit for generator in toy.default_generators)
    (line,) = caplog.messages
    assert "compile=cudagraphs" in line and "\n" not in line


def test_the_line_names_the_first_cause_and_its_place(toy, caplog):
    with caplog.at_level(logging.WARNING):
        try:
            raise ValueError("of another's")
        except ValueError:
            calls(Graphed(lambda x: waits(toy, x), nothing, Graphs(SECOND)))
    assert "not permitted when capturing, test_graphs.py:" in caplog.text and "another's" not in caplog.text


def test_an_interrupted_capture_leaves_nothing_behind_either(toy):
    def interrupted(x):
        if toy.capturing:
            raise KeyboardInterrupt
        return toy.function(x)

    graphs = Graphs(SECOND)
    with pytest.raises(KeyboardInterrupt):
        calls(Graphed(interrupted, nothing, graphs))
    assert graphs.failed and toy.current == toy.default and toy.index == 0 and toy.recording == 0


def test_an_agent_learns_and_acts_in_one_place_and_is_asked_for_the_mode(toy):
    asked = []

    def graph_key(mode):
        asked.append(mode)
        return ()

    agent = SimpleNamespace(
        device=SECOND,
        learn=lambda batch, flag: toy.function(batch),
        act=lambda observation, acting, is_first, mode: toy.function(observation),
        graph_key=graph_key,
    )
    capture_agent(agent)
    x = torch.zeros(())
    agent.learn(x, flag=True)
    agent.act(x, x, x, "eval")
    agent.act(x, x, is_first=x, mode="train")
    assert asked == [None, "eval", "train"] and len(toy.made) == 1


# ---- on CUDA


def cuda_devices():
    count = torch.cuda.device_count()
    return [torch.device("cuda", index) for index in sorted({0, max(count - 1, 0)})]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("device", cuda_devices(), ids=str)
def test_a_failed_capture_leaves_nothing_behind_on_cuda(device, caplog):
    weight = torch.ones(300, 300, device=device, requires_grad=True)

    def reads(x):
        loss = (x @ weight).mean() * torch.rand((), device=device)
        large = loss.expand(10_000_000).clone()
        loss = loss + 0 * large.mean()
        weight.grad = None
        loss.backward()
        if torch.cuda.is_current_stream_capturing():
            loss.item()
        return loss.detach()

    x = torch.ones(300, 300, device=device)
    found = []
    for function in (reads, Graphed(reads, nothing, Graphs(device))):
        torch.manual_seed(0)
        with caplog.at_level(logging.WARNING):
            values = [function(x) for _ in range(EAGER_CALLS + 3)]
        found.append([value.item() for value in values])
        weight.grad = None
        torch.cuda.empty_cache()
        found.append(torch.cuda.memory_reserved(device))
    assert found[0] == found[2] and found[3] <= found[1] + 2**26
    assert torch.cuda.current_stream(device) == torch.cuda.default_stream(device)
    assert len(caplog.messages) == 1 and "test_graphs.py" in caplog.text
