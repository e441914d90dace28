"""One switch for an agent's speed, ``compile``: off, pieces compiled by inductor, or whole updates as CUDA graphs."""

from collections.abc import Hashable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from utils.graphs import Graphed, Graphs

MODES = ("off", "default", "cudagraphs")

RECOMPILATIONS = 64
"""Versions of a compiled piece, at most: it is called with batches, imagined states and single environments, with
gradients and without.
"""


class Captured(Protocol):
    """What can be compiled, and its two functions captured: trees of tensors in, trees of tensors out."""

    device: torch.device

    def learn(self, *args: Any, **kwargs: Any) -> Any:
        """All of an update that the device does, and nothing else: a batch, and flags for what is due."""
        ...

    def act(self, observation: Any, acting: Any, is_first: Any, mode: Any) -> Any:
        """An action and the state to act from next."""
        ...

    def graph_key(self, mode: Any) -> Hashable:
        """What, besides arguments and tensors, decides what :meth:`act` in ``mode`` does, or :meth:`learn` (None).

        None as the result: this cannot be captured as a graph.
        """
        ...

    def compilable(self) -> list[tuple[nn.Module, str]]:
        """Methods, with the module each belongs to, that are functions of tensors and worth compiling."""
        ...


def compile_agent(agent: Captured, mode: str) -> list[str]:
    """Make ``agent`` faster as ``mode`` says, in place; returns a line for every part of it that is not possible here.

    ``default`` compiles what ``compilable`` names; ``cudagraphs`` does so and captures ``learn`` and ``act``, each as
    one graph. What cannot be had is left out: the agent then runs as with ``off``.
    """
    if mode == "off":
        return []
    if mode == "cudagraphs" and agent.device.type != "cuda":
        return [f"compile=cudagraphs needs a CUDA device, this is {agent.device}: going on with compile=off"]
    reason = why_not(agent.device)
    if reason is None:
        _compile_pieces(agent)
    if mode == "cudagraphs":
        capture_agent(agent)
    if reason is None:
        return []
    rest = "CUDA graphs of eager kernels" if mode == "cudagraphs" else "compile=off"
    return [f"compile={mode}: torch cannot compile here ({reason}): going on with {rest}"]


def why_not(device: torch.device) -> str | None:
    """Why nothing can be compiled for ``device``, in one line; None when it can."""
    try:
        torch.compile(_probe, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # whatever a missing compiler or a broken toolchain makes of itself
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(lines[:2]) or type(error).__name__
    return None


def _probe(x: Tensor) -> Tensor:
    return torch.sin(x) + 1


def _compile_pieces(agent: Captured) -> None:
    # the same random numbers as without compilation
    torch._inductor.config.fallback_random = True
    torch._dynamo.config.recompile_limit = max(RECOMPILATIONS, torch._dynamo.config.recompile_limit)
    for owner, name in agent.compilable():
        setattr(owner, name, torch.compile(getattr(owner, name), dynamic=False))


def capture_agent(agent: Captured) -> None:
    """Capture ``learn`` and ``act`` of an agent on a CUDA device, in place, once they have been called a few times."""
    graphs = Graphs(agent.device)
    learn, act = agent.learn, agent.act
    agent.learn = Graphed(learn, lambda *_, **__: agent.graph_key(None), graphs)  # type: ignore[method-assign]
    agent.act = Graphed(act, lambda observation, acting, is_first, mode: agent.graph_key(mode), graphs)  # type: ignore[method-assign]
