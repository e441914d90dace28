"""Functions of tensors on a CUDA device, captured once and then replayed as one CUDA graph."""

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

log = logging.getLogger(__name__)

EAGER_CALLS = 3
"""Calls before one is captured: libraries set themselves up, and compiled pieces are compiled, in these."""

P = ParamSpec("P")
R = TypeVar("R")


class Graphs:
    """What the captured functions of one agent share: a device, one stream, one pool of memory, and their fate.

    Everything is called with ``device`` as the current one. Once a capture has failed there are no graphs any more, of
    none of the functions.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.failed = False
        self._kept: list[dict[Hashable, _Captured]] = []

    @cached_property
    def stream(self) -> torch.cuda.Stream:
        """Where functions warm up and are captured: one for all, as every stream has memory of its own."""
        return torch.cuda.Stream(self.device)

    @cached_property
    def pool(self) -> Any:
        """The memory of all graphs. They are replayed one after the other and leave nothing in it that is needed."""
        return torch.cuda.graph_pool_handle()

    def keep(self) -> dict[Hashable, "_Captured"]:
        """Where to keep the graphs of a function."""
        self._kept.append({})
        return self._kept[-1]

    def warm_up(self, function: Callable[[], R]) -> R:
        """Call ``function`` as the capture will: what a library allocates for a stream is there already then."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            result = function()
        current.wait_stream(self.stream)
        return result

    def capture(self, function: Callable[..., Any], leaves: list[Any], tree: pytree.TreeSpec) -> "_Captured | None":
        """The graph of a call. None if there can be none: that is said in a line, and nothing has happened then."""
        outer = sys.exc_info()[1]
        current, index = torch.cuda.current_stream(), torch.cuda.current_device()
        generator = torch.cuda.default_generators[index]
        before = generator.clone_state()
        try:
            return _Captured(function, leaves, tree, self.stream, self.pool)
        except BaseException as error:
            # a capture that CUDA has called invalid lets go of neither the stream, nor the generator, nor the memory
            torch.cuda.set_stream(current)
            generator.graphsafe_set_state(before)  # graphs that know the other one are dropped
            with suppress(AttributeError, RuntimeError):  # it did let go of the memory
                torch._C._cuda_endAllocateToPool(index, self.pool)
                torch._C._cuda_releasePool(index, self.pool)
            self.failed = True
            for graphs in self._kept:
                graphs.clear()
            if not isinstance(_first(error, outer), Exception):
                raise _first(error, outer) from None
            name, reason = getattr(function, "__qualname__", function), _in_a_line(_first(error, outer))
            log.warning("compile=cudagraphs: %s cannot be captured (%s): going on without CUDA graphs", name, reason)
        torch.cuda.empty_cache()  # not before: the error held what was allocated
        return None


class Graphed(Generic[P, R]):
    """A function that is called :data:`EAGER_CALLS` times, then captured, and replayed from then on.

    ``key`` tells from the same arguments what else decides what the function does; for each of its values, and for
    each combination of shapes and of arguments that are no tensors, there is a graph. None: this call is not captured.
    All tensors it reads or writes besides its arguments have to stay where they are. Results are copies.
    Where it cannot be captured, the function is called as it is.
    """

    def __init__(self, function: Callable[P, R], key: Callable[P, Hashable], graphs: Graphs) -> None:
        self.function, self.key, self.graphs = function, key, graphs
        self._calls: dict[Hashable, int] = {}
        self._captured = graphs.keep()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        state = self.key(*args, **kwargs)
        if state is None or self.graphs.failed:
            return self.function(*args, **kwargs)
        leaves, tree = pytree.tree_flatten((args, kwargs))
        shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else x for x in leaves)
        key = (state, tree, shapes, torch.is_grad_enabled())
        with torch.cuda.device(self.graphs.device):
            if key not in self._captured:
                self._calls[key] = self._calls.get(key, 0) + 1
                if self._calls[key] <= EAGER_CALLS:
                    return self.graphs.warm_up(lambda: self.function(*args, **kwargs))
                captured = self.graphs.capture(self.function, leaves, tree)
                if captured is None:
                    return self.function(*args, **kwargs)
                self._captured[key] = captured
            return self._captured[key]([x for x in leaves if isinstance(x, Tensor)])


class _Captured:
    """One graph, the tensors it reads its arguments from and those it leaves its results in."""

    def __init__(
        self,
        function: Callable[..., Any],
        leaves: list[Any],
        tree: pytree.TreeSpec,
        stream: torch.cuda.Stream,
        pool: Any,
    ) -> None:
        self.graph = torch.cuda.CUDAGraph()
        given = [x.clone() if isinstance(x, Tensor) else x for x in leaves]
        self.inputs = [x for x in given if isinstance(x, Tensor)]
        args, kwargs = pytree.tree_unflatten(given, tree)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "The CUDA Graph is empty")  # it would be replayed and do nothing
            with torch.cuda.graph(self.graph, pool=pool, stream=stream):
                result = function(*args, **kwargs)
        self.outputs, self.tree = pytree.tree_flatten(result)
        if others := {type(x).__name__ for x in self.outputs if not isinstance(x, Tensor)}:
            raise TypeError(f"it returns {', '.join(sorted(others))} besides tensors")

    def __call__(self, tensors: list[Tensor]) -> Any:
        torch._foreach_copy_(self.inputs, tensors)
        self.graph.replay()
        results = [torch.empty_like(x) for x in self.outputs]
        torch._foreach_copy_(results, self.outputs)
        return pytree.tree_unflatten(results, self.tree)


def _first(error: BaseException, outer: BaseException | None) -> BaseException:
    """What was raised before the end of the capture complained in turn; ``outer`` was there before."""
    while error.__context__ is not None and error.__context__ is not outer:
        error = error.__context__
    return error


def _in_a_line(error: BaseException) -> str:
    """The first line of what it says, and where outside torch it comes from."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    torchs = str(Path(torch.__file__).parent)
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(torchs)]
    return f"{said}, {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else said
