"""One switch for an agent's speed, ``compile``: off, pieces compiled by inductor, or whole updates as CUDA graphs."""

from collections.abc import Callable, Hashable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

MODES = ("off", "default", "cudagraphs")

EAGER_CALLS = 3
"""Calls before one is captured: libraries set themselves up, and compiled pieces are compiled, in these."""

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


P = ParamSpec("P")
R = TypeVar("R")


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
        agent.learn = Graphed(agent.learn, lambda *_: agent.graph_key(None))  # type: ignore[method-assign]
        agent.act = Graphed(agent.act, lambda *args: agent.graph_key(args[3]))  # type: ignore[method-assign]
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


class Graphed(Generic[P, R]):
    """A function of tensors on a CUDA device that is captured once and then replayed as one CUDA graph.

    ``key`` tells from the same arguments what else decides what the function does; for each of its values, and for
    each combination of shapes and of arguments that are no tensors, there is a graph. None: this call is not captured.
    All tensors it reads or writes besides its arguments have to stay where they are. Results are copies.
    """

    def __init__(self, function: Callable[P, R], key: Callable[P, Hashable]) -> None:
        self.function, self.key = function, key
        self._calls: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, _Captured] = {}
        self._pool: Any = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        leaves, tree = pytree.tree_flatten((args, kwargs))
        tensors = [x for x in leaves if isinstance(x, Tensor)]
        state = self.key(*args, **kwargs)
        if state is None:
            return self.function(*args, **kwargs)
        shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else x for x in leaves)
        key = (state, tree, shapes, torch.is_grad_enabled())
        if key not in self._graphs:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] <= EAGER_CALLS:
                return _on_side_stream(lambda: self.function(*args, **kwargs))
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            self._graphs[key] = _Captured(self.function, leaves, tree, self._pool)
        return self._graphs[key](tensors)


def _on_side_stream(function: Callable[[], R]) -> R:
    """As the capture will do it: what a library allocates for a stream is there already then."""
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        result = function()
    current.wait_stream(side)
    return result


class _Captured:
    """One graph, the tensors it reads its arguments from and those it leaves its results in."""

    def __init__(self, function: Callable[..., Any], leaves: list[Any], tree: pytree.TreeSpec, pool: Any) -> None:
        self.graph = torch.cuda.CUDAGraph()
        given = [x.clone() if isinstance(x, Tensor) else x for x in leaves]
        self.inputs = [x for x in given if isinstance(x, Tensor)]
        args, kwargs = pytree.tree_unflatten(given, tree)
        with torch.cuda.graph(self.graph, pool=pool):
            result = function(*args, **kwargs)
        self.outputs, self.tree = pytree.tree_flatten(result)

    def __call__(self, tensors: list[Tensor]) -> Any:
        torch._foreach_copy_(self.inputs, tensors)
        self.graph.replay()
        results = [torch.empty_like(x) for x in self.outputs]
        torch._foreach_copy_(results, self.outputs)
        return pytree.tree_unflatten(results, self.tree)
