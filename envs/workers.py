"""Environments in processes of their own: they simulate and render side by side, and while this process learns."""

import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

import gymnasium
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from gymnasium.vector.async_vector_env import _async_worker

from utils import streams
from utils.errors import UserError
from utils.process import answer, signals_held

SPAWN = "spawn"
START_SECONDS = 120.0
"""A worker that imports its libraries and loads its model from a busy network disk may take this long at least."""
RESTORE_FACTOR = 10
"""Restoring an environment steps an episode again: it may take this many times as long as a step."""
SLICE_SECONDS = 0.25
"""A wait is made of pieces of this length."""
CLOSE_SECONDS = 5.0
"""Workers that have not ended by then are killed."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Of a worker, unless they are set: the processes are what runs in parallel."""
RENDERS_ALONE = ("LP_NUM_THREADS", "0")
"""The same for Mesa's software renderer: 0 draws in the worker's own thread."""


class WorkerFailure(UserError):
    """An environment's process hangs, has died or raised; the run cannot go on without it."""


class WorkerVectorEnv(AsyncVectorEnv):
    """Gymnasium's environments in worker processes, of which none can stop the run without a word, or outlive it.

    Workers are spawned, not forked: this process has threads (torch's) and an initialised GL display, and neither
    survives a fork, not even that of a fork server which has imported dm_control. Each makes its own GL context. They
    ignore SIGINT, SIGTERM and SIGHUP, which terminals and schedulers send to all processes of a job, so that this
    process can finish its step; they end when it closes them, and when it dies, by whatever. Observations come back in
    shared memory. Environments do not reset themselves.

    Args:
        makers: each makes one environment, in its worker; the first is called here, too, to know the spaces. They are
            pickled.
        timeout: seconds that an environment may take for a step or a reset.

    Raises:
        WorkerFailure: from any method that waits for the workers: one gave no answer in time, has died, or raised.
    """

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env]], timeout: float) -> None:
        self._timeout = timeout
        self._failed = False
        self._starting = ExitStack()
        with self._starting:
            self._starting.enter_context(_for_children(ONE_THREAD))
            with signals_held():
                resource_tracker.ensure_running()  # a child as well, whose start lets signals through again
            self._starting.enter_context(_start_method(SPAWN))
            self._starting.enter_context(signals_held())
            super().__init__(
                makers, context=SPAWN, worker=_worker, autoreset_mode=AutoresetMode.DISABLED, shared_memory=True
            )

    def reset_async(self, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> None:
        with self._watched():
            super().reset_async(seed=seed, options=options)

    def reset_wait(self, timeout: float | None = None) -> tuple[Any, dict[str, Any]]:
        with self._watched():
            self._await("a reset", self._timeout)
            return super().reset_wait()

    def step_async(self, actions: Any) -> None:
        with self._watched():
            super().step_async(actions)

    def step_wait(self, timeout: float | None = None) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        with self._watched():
            self._await("a step", self._timeout)
            return super().step_wait()

    def call_async(self, name: str, /, *args: object, **kwargs: object) -> None:
        with self._watched():
            super().call_async(name, *args, **kwargs)

    def call_wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        with self._watched():
            self._await("an answer", self._timeout)
            return super().call_wait()

    def set_attr(self, name: str, values: list[Any] | tuple[Any, ...] | object) -> None:
        """As Gymnasium's, which would wait for ever."""
        each = values if isinstance(values, list | tuple) else [values] * self.num_envs
        with self._watched():
            for pipe, value in zip(self.parent_pipes, each, strict=True):
                pipe.send(("_setattr", (name, value)))
            self._await("restoring its state", RESTORE_FACTOR * self._timeout)
            self._raise_if_errors([pipe.recv()[1] for pipe in self.parent_pipes])

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """Ends the workers, also those in the middle of a step; after ``CLOSE_SECONDS`` (at once if ``terminate``, or
        if one has failed) they are killed.
        """
        if not (terminate or self._failed):
            deadline = time.monotonic() + (CLOSE_SECONDS if timeout is None else timeout)
            for pipe in self.parent_pipes:
                try:
                    pipe.send(("close", None))
                except OSError:
                    continue  # it has died already
            for process in self.processes:
                process.join(max(0.0, deadline - time.monotonic()))
        _kill(self.processes)
        for pipe in self.parent_pipes:
            pipe.close()

    def _check_spaces(self) -> None:
        """The last step of Gymnasium's constructor: all processes are there, and answer when their environments are."""
        # comes before multiprocessing's own farewell at exit, which sends SIGTERM and would wait for ever
        Finalize(self, _kill, args=(self.processes,), exitpriority=100)
        self._starting.close()  # one that hangs here can be interrupted
        try:
            with self._watched():
                for pipe in self.parent_pipes:
                    shape = (self.observation_mode, self.single_observation_space, self.single_action_space)
                    pipe.send(("_check_spaces", shape))
                self._await("its start", max(START_SECONDS, self._timeout))
                found, successes = zip(*[pipe.recv() for pipe in self.parent_pipes], strict=True)
                self._raise_if_errors(successes)
            assert all(same for spaces in found for same in spaces)  # one task, one pair of spaces
        except BaseException:
            self.close(terminate=True)
            raise

    def _await(self, what: str, seconds: float) -> None:
        """Returns when every worker has answered, or will not because it has died.

        Seconds are counted while this process waits, not on a clock: one that was suspended with all its workers, as
        schedulers do, is to go on.
        """
        left = seconds
        for index, pipe in enumerate(self.parent_pipes):
            while left > 0 and not pipe.poll(min(left, SLICE_SECONDS)):
                left -= SLICE_SECONDS
            if left <= 0:
                raise self._failure(
                    index,
                    f"has not answered within {seconds:g} s ({what}; collect.timeout={self._timeout:g}). Raise "
                    f"collect.timeout if it is only slow; if its renderer hangs, try MUJOCO_GL=osmesa",
                )

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Turns a broken pipe into a :class:`WorkerFailure`."""
        try:
            yield
        except (EOFError, OSError) as error:
            dead = next((index for index, pipe in enumerate(self.parent_pipes) if _is_broken(pipe)), 0)
            process = self.processes[dead]
            process.join(1.0)
            raise self._failure(dead, f"has lost its process ({_ending(process.exitcode)})") from error

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        """Names the first environment that raised, and what."""
        successes = list(successes)
        if all(successes):
            return
        try:
            index, kind, value, trace = self.error_queue.get(timeout=CLOSE_SECONDS)
        except (queue.Empty, Exception):  # what was raised cannot be pickled
            index, kind, value, trace = successes.index(False), Exception, "unknown", ""
        raise self._failure(
            index,
            f"raised {kind.__name__}: {str(value).rstrip('.')}. A new run with collect.workers=false "
            "collect.async=false says where",
        ) from RuntimeError(trace)

    def _failure(self, index: int, what: str) -> WorkerFailure:
        self._failed = True
        return WorkerFailure(f"environment {index} (of 0 to {self.num_envs - 1}) {what}.")


def _worker(index: int, maker: Any, pipe: Any, parent_pipe: Any, shared: Any, errors: Any, *others: Any) -> None:
    """What a worker process does: Gymnasium's loop, until it is told to close or its parent is gone."""
    answer(signal.SIG_IGN)
    streams.protect()  # an environment that prints is not to fail for a console that is gone
    # not inherited: the parent, which plays the evaluations, draws with all its cores
    os.environ.setdefault(*RENDERS_ALONE)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(BrokenPipeError, ConnectionResetError, EOFError):  # nobody is there to be told
        try:
            env = maker()
        except Exception as error:  # told as the answer to the first question
            errors.put((index, type(error), str(error), traceback.format_exc()))
            pipe.recv()
            pipe.send((None, False))
            return
        _async_worker(index, lambda: env, pipe, parent_pipe, shared, errors, *others)


def _die_with_parent() -> None:
    """In a thread, since the environment may hang."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def _start_method(name: str) -> Iterator[None]:
    """Child processes started inside take ``name`` for their default, where they would take this process's: that of a
    joblib worker is ``loky``, which no process but joblib's own knows.
    """
    before = multiprocessing.get_start_method(allow_none=True)
    if before in (None, name):
        yield
        return
    multiprocessing.set_start_method(name, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@contextmanager
def _for_children(variables: Mapping[str, str]) -> Iterator[None]:
    """Child processes started inside inherit ``variables`` that are not set."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _kill(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()
    for process in processes:
        process.join()


def _is_broken(pipe: Any) -> bool:
    try:
        while pipe.poll():
            pipe.recv()
    except (EOFError, OSError):
        return True
    return False


def _ending(code: int | None) -> str:
    if code is None:
        return "its pipe is closed"
    if code >= 0:
        return f"exit code {code}"
    out_of_memory = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return f"ended by {signal.Signals(-code).name}{out_of_memory}"
