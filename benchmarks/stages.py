"""Where the time of a piece of work goes: calls of its parts, wrapped from outside while it is measured."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

REST = "rest"

PARTS = {
    "method": tuple(
        f"drives.*.{call}"
        for call in (
            *("method.loss", "method_opt.step", "method.score_replay", "method.score_imagined"),
            "method.after_update",
        )
    ),
    "observe": ("world_model.observe",),
    "model loss": ("world_model.loss",),
    "model step": ("model_opt.step",),
    "behaviour": ("drives.*.behavior.update", "drives.*.behavior.after_update"),
}
"""Of an agent's update: stage -> the calls that make it up; ``*`` is every child.

``method``: training and scoring, of imagined states, too (not the gradient that flows back through that score);
``observe``: encoder and RSSM, forward; ``model loss``: decoder, reward head and the losses; ``model step``: backward
through both and Adam; ``behaviour``: imagination, and forward, backward and Adam of actor and critic.
"""

STAGES = (*PARTS, REST)


class Split:
    """Seconds by stage. A stage inside another one is not counted there, so the stages add up to the whole."""

    def __init__(self, clock: Callable[[], float], stages: Iterable[str] = PARTS) -> None:
        self._clock = clock
        self._stage = REST
        self.seconds = dict.fromkeys((*stages, REST), 0.0)
        self._since = clock()

    def switch(self, stage: str) -> str:
        """From now on it is ``stage`` that runs; returns the one that ran."""
        before, now = self._stage, self._clock()
        self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

    def restart(self) -> None:
        """Forget the time so far."""
        self.switch(REST)
        self.seconds = dict.fromkeys(self.seconds, 0.0)

    def wrap(self, call: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """``call``, its time counted as that of ``stage``."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            before = self.switch(stage)
            try:
                return call(*args, **kwargs)
            finally:
                self.switch(before)

        return wrapped


def split_times(agent: Any, work: Callable[[], Any], count: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds by stage of one call of ``work``: of ``count`` calls, the one that took the median time.

    On CUDA ``clock`` waits for the device at either end of each stage, so the sum is more than an update takes without.
    """
    runs = []
    for _ in range(count):
        with splitting(agent, PARTS, clock) as split:
            work()
        runs.append(split.seconds)
    runs.sort(key=lambda seconds: sum(seconds.values()))
    return runs[len(runs) // 2]


@contextmanager
def splitting(root: Any, parts: Mapping[str, Sequence[str]], clock: Callable[[], float]) -> Iterator[Split]:
    """Inside, every call of ``parts``, paths from ``root``, is timed as that of its stage; paths that it lacks count
    for nothing. Afterwards ``root`` is as it was, and the split is complete.
    """
    split = Split(clock, parts)
    changed = []
    try:
        for stage, paths in parts.items():
            for owner, name in _calls(root, paths):
                changed.append((owner, name, vars(owner).get(name)))
                setattr(owner, name, split.wrap(getattr(owner, name), stage))
        split.restart()  # wrapping has taken a moment
        yield split
        split.switch(REST)
    finally:
        for owner, name, own in reversed(changed):
            if own is None:
                delattr(owner, name)  # uncovers the method of its class
            else:
                setattr(owner, name, own)  # a compiled or captured one


def _calls(root: Any, paths: Sequence[str]) -> Iterator[tuple[Any, str]]:
    """(owner, name of its method) of every path that leads somewhere."""
    for path in paths:
        *between, name = path.split(".")
        owners = [root]
        for part in between:
            found = [owner.values() if part == "*" else [getattr(owner, part, None)] for owner in owners]
            owners = [owner for group in found for owner in group if owner is not None]
        yield from ((owner, name) for owner in owners if hasattr(owner, name))
