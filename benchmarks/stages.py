"""Where the time of an update goes: calls of the agent's parts, wrapped from outside while it is measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

REST = "rest"

PARTS = {
    "method": ("method.loss", "method_opt.step", "method.score_replay", "method.score_imagined", "method.after_update"),
    "observe": ("world_model.observe",),
    "model loss": ("world_model.loss",),
    "model step": ("model_opt.step",),
    "behaviour": ("behaviors.*.update", "behaviors.*.after_update"),
}
"""Stage -> the calls that make it up; ``*`` is every child.

``method``: training and scoring, of imagined states, too (not the gradient that flows back through that score);
``observe``: encoder and RSSM, forward; ``model loss``: decoder, reward head and the losses; ``model step``: backward
through both and Adam; ``behaviour``: imagination, and forward, backward and Adam of actor and critic.
"""

STAGES = (*PARTS, REST)


class Split:
    """Seconds by stage. A stage inside another one is not counted there, so the stages add up to the whole."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._stage = REST
        self._since = clock()
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def switch(self, stage: str) -> str:
        """From now on it is ``stage`` that runs; returns the one that ran."""
        before, now = self._stage, self._clock()
        self.seconds[before] += now - self._since
        self._stage, self._since = stage, now
        return before

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
        split = Split(clock)
        with _wrapped(agent, split):
            split.switch(REST)  # wrapping has taken a moment
            split.seconds = dict.fromkeys(STAGES, 0.0)
            work()
            split.switch(REST)
        runs.append(split.seconds)
    runs.sort(key=lambda seconds: sum(seconds.values()))
    return runs[len(runs) // 2]


@contextmanager
def _wrapped(agent: Any, split: Split) -> Iterator[None]:
    """Inside, every call of ``PARTS`` that ``agent`` has is timed."""
    changed = []
    try:
        for stage, paths in PARTS.items():
            for owner, name in _calls(agent, paths):
                setattr(owner, name, split.wrap(getattr(owner, name), stage))
                changed.append((owner, name))
        yield
    finally:
        for owner, name in changed:
            delattr(owner, name)  # uncovers the method of its class


def _calls(agent: Any, paths: tuple[str, ...]) -> Iterator[tuple[Any, str]]:
    """(owner, name of its method) of every path that leads somewhere."""
    for path in paths:
        part, *between, name = path.split(".")
        owners = [getattr(agent, part, None)]
        if between:
            owners = list(owners[0].values()) if owners[0] is not None else []
        yield from ((owner, name) for owner in owners if hasattr(owner, name))
