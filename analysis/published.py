"""Numbers that others have published, beside what was measured here."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from analysis.grouping import grouped, value
from analysis.results import SNAPSHOT, VARIANT, Result
from envs.make import TASKS
from utils import scores
from utils.statistics import Interval


class Published(NamedTuple):
    """A mean of others."""

    agent: str
    """What it is compared with here."""
    scratch: bool
    """Whether with runs from scratch, or with fine-tunings."""
    variant: str
    subject: str
    """A task, or a domain: then all of its tasks are meant."""
    value: float
    error: float | None
    """As published, half of the range that is expected; None: not known."""
    normalised: bool
    """Whether ``value`` is in units of the experts' returns."""
    frame: int | None
    """At which it was measured; None: at the end."""
    source: str

    @property
    def who(self) -> str:
        """What it is compared with, in words."""
        return ", ".join(part for part in (self.agent, "from scratch" * self.scratch, self.variant) if part)


class Judged(NamedTuple):
    """What there is to say of it."""

    measured: Interval | None
    """The mean over runs, and over tasks; None: there are no such runs yet."""
    runs: int
    verdict: str


def judged(one: Published, results: Sequence[Result], experts: Mapping[str, float]) -> Judged:
    """Compare ``one`` with the runs that stand for it; evaluations up to its frame count."""
    tasks = TASKS.get(one.subject, (one.subject,))
    own = [
        run
        for run in results
        if (run.facts.get("agent"), run.facts.get(VARIANT) or "") == (one.agent, one.variant)
        and (value(run, SNAPSHOT) == "0") == one.scratch
        and run.task in tasks
        and (one.frame is None or run.last >= one.frame)
    ]
    by_task = grouped(own, lambda run: run.task)
    missing = [task for task in tasks if task not in by_task or (one.normalised and task not in experts)]
    if missing:
        far = "" if one.frame is None else f" up to frame {one.frame:,}"
        return Judged(None, len(own), f"no runs of {', '.join(missing)}{far}")
    strata = []
    for task, runs in by_task.items():
        scale = experts[task] if one.normalised else 1.0
        strata.append([_upto(run.curve, one.frame) / scale for run in runs])
    found = scores.estimate(strata, scores.mean)
    return Judged(found, len(own), _verdict(one, found))


def _upto(curve: Mapping[float, float], frame: int | None) -> float:
    """The last value up to a frame."""
    return curve[max(one for one in curve if frame is None or one <= frame)]


def _verdict(one: Published, found: Interval) -> str:
    around = one.error or 0.0
    low, high = one.value - around, one.value + around
    if found.low > high:
        return "above"
    if found.high < low:
        return "below"
    return "the two ranges overlap" if one.error is not None else "in the interval"
