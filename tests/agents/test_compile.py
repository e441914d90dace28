"""``compile``: the same losses, weights and actions as without, and a line where it is not possible."""

import copy

import pytest
import torch
from agent_kit import make_agent, make_batch, tiny
from settings_kit import agent_settings, typed
from skill_kit import Spy
from torch.utils._python_dispatch import TorchDispatchMode

from agents.drq.agent import DrQAgent
from utils import compile as switch
from utils.compile import compile_agent

UPDATES = 5


def batches(agent, count=UPDATES):
    return [make_batch(3, 6, seed=seed, skill=agent.skill_dim) for seed in range(count)]


def train(agent, given):
    """All metrics, weights, gradients of the last update and two actions after updates with ``given`` batches."""
    torch.manual_seed(1)
    metrics = [agent.update(batch).logged for batch in given]
    gradients = [p.grad for p in agent.parameters() if p.grad is not None]
    observation = given[0]["observation"][:2, 0]
    acting = agent.begin(agent.start(2), torch.ones(2, dtype=torch.bool))
    actions = [agent.act(observation, acting, torch.ones(2, dtype=torch.bool), mode)[0] for mode in ("train", "eval")]
    return metrics, [p.detach().clone() for p in agent.parameters()], gradients, actions


def assert_alike(found, want):
    """In float32: sums are made in another order, and five Adam steps of 3e-4 at most divide by small gradients."""
    for got, expected in zip(found[0], want[0], strict=True):
        assert got.keys() == expected.keys()
        for name in got:
            torch.testing.assert_close(
                got[name], expected[name], rtol=2e-4, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}"
            )
    for got, expected in zip((*found[1], *found[3]), (*want[1], *want[3]), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=2e-5)
    for got, expected in zip(found[2], want[2], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4 * (1 + expected.abs().max().item()))


def both_ways(build, given, pieces=slice(None)):
    """Agents with the same start, eager and with ``pieces`` of it compiled, trained; then taken back to the start and
    trained again.
    """
    eager, compiled = build(), build()
    asked = compiled.compilable()[pieces]
    compiled.compilable = lambda: asked
    assert compile_agent(compiled, "default") == []
    start = copy.deepcopy(compiled.training_state())
    want = train(eager, given)
    assert_alike(train(compiled, given), want)
    compiled.load_training_state(start)
    assert_alike(train(compiled, given), want)


def test_a_compiled_imagination_and_an_eager_one_agree():
    """The step of imagination, which draws random numbers and lets gradients through, and a head."""
    config = tiny("pretrain", "agent=dreamer", "domain=walker")
    both_ways(lambda: make_agent(config), batches(make_agent(config)), slice(1, 3))


@pytest.mark.long
@pytest.mark.timeout(900)  # a minute or two of compilation on idle cores
@pytest.mark.parametrize("name", ["dreamer", "deviation_dreamer", "diayn_dreamer", "apt_dreamer", "choreo"])
def test_compiled_and_eager_dreamers_agree(name):
    config = tiny("pretrain", f"agent={name}", "domain=walker")
    both_ways(lambda: make_agent(config), batches(make_agent(config)))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_compiled_and_eager_drq_agree():
    config = typed("drq", "preset=debug", "device=cpu")

    def build():
        torch.manual_seed(0)
        return DrQAgent(config, (3, 32, 32), 2, phase="pretrain")

    def transitions(seed):
        torch.manual_seed(seed)
        return {
            "observation": torch.randint(0, 256, (8, 4, 3, 32, 32), dtype=torch.uint8),
            "action": torch.rand(8, 2) * 2 - 1,
            "reward": torch.rand(8),
            "is_terminal": torch.zeros(8, dtype=torch.bool),
            "skill": torch.eye(3)[torch.randint(3, (8,))],
            "skill_valid": torch.ones(8, dtype=torch.bool),
        }

    both_ways(build, [transitions(seed) for seed in range(UPDATES)])


class Convolutions(TorchDispatchMode):
    """The biases of all convolutions."""

    def __init__(self):
        super().__init__()
        self.biases = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if str(function) == "aten.convolution.default":
            self.biases.append(args[2])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["dreamer", "deviation_dreamer"])
def test_no_bias_of_a_convolution_is_computed(name):
    """Inductor of torch 2.11 cannot lower such a convolution."""
    agent = make_agent(tiny("pretrain", f"agent={name}", "domain=walker"))
    own = {p.data_ptr() for p in agent.parameters()}
    with Convolutions() as seen:
        agent.update(make_batch(skill=agent.skill_dim))
    assert len(seen.biases) > 5 and all(bias is None or bias.data_ptr() in own for bias in seen.biases)


def test_pieces_are_compiled_once_asked_for(monkeypatch):
    agent = make_agent(tiny())
    monkeypatch.setattr(switch, "why_not", lambda device: None)
    compiled = Spy(monkeypatch, torch, "compile")
    assert compile_agent(agent, "off") == [] and compiled.calls == []
    want = [getattr(owner, name) for owner, name in agent.compilable()]
    assert compile_agent(agent, "default") == []
    assert [arguments[0] for arguments, _ in compiled.calls] == want


def test_without_a_compiler_it_goes_on_eagerly(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: No working C++ compiler found\n\nmore")

    agent = make_agent(tiny())
    monkeypatch.setattr(torch, "compile", broken)
    (line,) = compile_agent(agent, "default")
    assert line == (
        "compile=default: torch cannot compile here (backend='inductor' raised: InvalidCxxCompiler: No working C++ "
        "compiler found): going on with compile=off"
    )
    assert all(torch.isfinite(value) for value in agent.update(make_batch()).logged.values())


def test_graphs_need_cuda():
    agent = make_agent(tiny())
    (line,) = compile_agent(agent, "cudagraphs")
    assert line == "compile=cudagraphs needs a CUDA device, this is cpu: going on with compile=off"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("index", sorted({0, max(torch.cuda.device_count() - 1, 0)}))
@pytest.mark.parametrize(
    "name",
    [
        "dreamer",
        "deviation_dreamer",
        "plan2explore",
        "apt_dreamer",
        "aps_dreamer",
        "metra_dreamer",
        "cic_dreamer",
        "choreo",
    ],
)
def test_graphed_and_eager_dreamers_agree_on_cuda(name, index):
    config = tiny("pretrain", f"agent={name}", "domain=walker", "precision=32")
    device = torch.device("cuda", index)

    def build():
        torch.manual_seed(0)
        return type(make_agent(config))(agent_settings(config), (3, 64, 64), 6, phase="pretrain", device=device)

    def on_cuda(seed):
        batch = {key: value.to(device) for key, value in make_batch(3, 6, seed=seed).items()}
        agent = build()
        if agent.skill_dim:
            batch |= {"skill": agent.skills.draw(18).reshape(3, 6, -1), "skill_valid": ~batch["is_first"]}
        return batch

    given = [on_cuda(seed) for seed in range(8)]
    eager, graphed = build(), build()
    assert compile_agent(graphed, "cudagraphs") == []
    start = copy.deepcopy(graphed.training_state())
    results = []
    for agent in (eager, graphed):
        torch.manual_seed(1)
        metrics = [agent.update(batch).logged for batch in given]
        results.append((metrics, [p.detach().clone() for p in agent.parameters()]))
    graphed.load_training_state(start)
    torch.manual_seed(1)
    again = [graphed.update(batch).logged for batch in given]
    for found in (results[1][0], again):
        for got, want in zip(found, results[0][0], strict=True):
            for key in want:
                torch.testing.assert_close(got[key], want[key], rtol=1e-2, atol=1e-3)
    for got, want in zip(results[1][1], results[0][1], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-2, atol=1e-3)
