"""What runs score at the end: one number each, at the same frame, in units of an expert's return where one is known."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from analysis.grouping import by_group, ended, from_scratch, grouped, reaching, repetitions
from analysis.results import Result
from envs.make import TASKS
from utils import scores
from utils.errors import UserError
from utils.plain_yaml import read
from utils.rules import is_number
from utils.statistics import Interval, stratified_bootstrap

URLB = Path(__file__).with_name("urlb_expert_returns.yaml")

ALL = "all tasks"

GAP = "optimality gap"

AGGREGATES: Mapping[str, Callable[[scores.Sets], Any]] = {
    "IQM": scores.pooled_iqm,
    "median": scores.median,
    "mean": scores.mean,
    GAP: scores.optimality_gap,
}
"""Of normalised scores, by name; of the last one less is better."""


class Experts(NamedTuple):
    """Expert returns by task."""

    returns: Mapping[str, float]
    source: str


class Scored(NamedTuple):
    """A run's return at the frame at which its task is judged."""

    result: Result
    group: str
    frame: float
    """Of the evaluation that counts."""
    reward: float
    score: float | None
    """In units of the expert's return; None: no expert is known."""

    @property
    def task(self) -> str:
        return self.result.task


class Card(NamedTuple):
    """All that a scorecard is made of."""

    runs: Sequence[Scored]
    groups: Sequence[str]
    """In the order in which they are shown."""
    tasks: Sequence[str]
    shared: Sequence[str]
    """The tasks over which groups are compared."""
    whole: Sequence[str]
    """The groups that have runs of all of them."""
    experts: Experts
    notes: Sequence[str]

    def rewards(self, group: str, task: str) -> list[float]:
        """Returns of a group's runs on a task."""
        return [one.reward for one in self.runs if (one.group, one.task) == (group, task)]

    def scores(self, group: str, tasks: Iterable[str] | None = None) -> list[list[float]]:
        """Normalised scores of a group, task by task; of the shared ones that have an expert, or of ``tasks``."""
        wanted = self.normalised if tasks is None else tasks
        return [
            [one.score for one in self.runs if (one.group, one.task) == (group, task) and one.score is not None]
            for task in wanted
        ]

    @property
    def scratch(self) -> list[str]:
        """The groups that others are compared with: from scratch, unless all are."""
        found = [group for group in self.groups if from_scratch(one.result for one in self.runs if one.group == group)]
        return found if len(found) < len(self.groups) else []

    @property
    def normalised(self) -> list[str]:
        """The shared tasks with an expert."""
        return [task for task in self.shared if task in self.experts.returns]

    @property
    def domains(self) -> dict[str, list[str]]:
        """The shared tasks with an expert by domain, where there are several domains."""
        found: dict[str, list[str]] = {}
        for task in self.normalised:
            found.setdefault(domain_of(task), []).append(task)
        return found if len(found) > 1 else {}

    def reward(self, group: str, task: str) -> Interval | None:
        """IQM of a group's returns on a task; None without a run."""
        own = self.rewards(group, task)
        return stratified_bootstrap([own]) if own else None

    def aggregate(self, group: str, name: str, tasks: Sequence[str] | None = None) -> Interval | None:
        """One of :data:`AGGREGATES`; None where nothing is normalised."""
        strata = self.scores(group, tasks)
        return scores.estimate(strata, AGGREGATES[name]) if strata else None

    def sure(self, group: str, other: str, found: Interval) -> bool:
        """Whether ``found`` tells that one beats the other: its interval leaves out one half, and is made of more than
        a single run on every task, which has none.
        """
        counts = [[len(self.rewards(one, task)) for task in self.shared] for one in (group, other)]
        return (found.low > 0.5 or found.high < 0.5) and all(max(own) > 1 for own in counts)

    def improvement(self, group: str, other: str) -> Interval:
        """How likely a run of ``group`` beats one of ``other``, over the shared tasks."""
        ours, theirs = ([self.rewards(one, task) for task in self.shared] for one in (group, other))
        return scores.probability_of_improvement(ours, theirs)


def read_experts(path: Path = URLB) -> Experts:
    """Expert returns in a YAML file: ``source``, and ``returns`` by task. Raises :class:`UserError` for another one."""
    stored = read(path, "It is a file of expert returns: source: <text> and returns: {<task>: <return>}.")
    returns = stored.get("returns")
    if not isinstance(returns, dict) or not all(is_number(value) and value > 0 for value in returns.values()):
        raise UserError(f"{path}: returns must be a table task: return above 0.")
    return Experts({str(task): float(value) for task, value in returns.items()}, str(stored.get("source", path)))


def domain_of(task: str) -> str:
    """The domain of a task; what is before its first ``_`` where it is none of the project's own."""
    return next((domain for domain, tasks in TASKS.items() if task in tasks), task.partition("_")[0])


def card(results: Sequence[Result], keys: Sequence[str], experts: Experts, at: float | None = None) -> Card:
    """The scorecard of ``results``, told apart by ``keys``.

    Every run counts with its last evaluation up to frame ``at``; without one, on each task up to the frame that all of
    its runs have reached. With one, runs that have not come so far are left out. Raises :class:`UserError` where
    nothing is left.
    """
    results, notes = reaching(results, at)
    runs: list[Scored] = []
    groups = by_group(results, keys)
    names = {one.name: group for group, own in groups.items() for one in own}
    for task, own in grouped(results, lambda one: one.task).items():
        end = min(one.last for one in own) if at is None else at
        if at is None and end < max(one.last for one in own):
            longest = max(one.last for one in own)
            notes.append(
                f"{task} is judged at frame {end:,.0f}, where {ended(own, end)}; others go on to {longest:,.0f}: "
                f"at={longest:.0f} leaves out what has not come so far"
            )
        expert = experts.returns.get(task)
        for one in own:
            frame = max((frame for frame in one.curve if frame <= end), default=min(one.curve))
            reward = one.curve[frame]
            runs.append(Scored(one, names[one.name], frame, reward, None if expert is None else reward / expert))
    tasks = list(dict.fromkeys(one.task for one in runs))
    shared, whole = _shared({name: {one.task for one in own} for name, own in groups.items()}, tasks)
    if partial := [name for name in groups if name not in whole]:
        notes.append(f"without runs of all of {', '.join(shared)}, so in no aggregate: {'; '.join(partial)}")
    if outside := [task for task in tasks if task not in shared]:
        notes.append(f"not in the aggregates, which are of the tasks that groups have in common: {', '.join(outside)}")
    if unknown := [task for task in shared if task not in experts.returns]:
        notes.append(f"no expert return is known of {', '.join(unknown)}: experts=<file> takes your own")
    return Card(runs, list(groups), tasks, shared, whole, experts, [*notes, *repetitions(groups, keys)])


def _shared(tasks_of: Mapping[str, set[str]], order: Sequence[str]) -> tuple[list[str], list[str]]:
    """The tasks and groups of the largest complete table of tasks and groups; of equal ones that with more groups, and
    of several groups if there is such a one.
    """

    def size(tasks: frozenset[str]) -> tuple[bool, int, int]:
        groups = sum(tasks <= own for own in tasks_of.values())
        return groups > 1, groups * len(tasks), groups

    best = max(dict.fromkeys(map(frozenset, tasks_of.values())), key=size)
    return [task for task in order if task in best], [name for name, own in tasks_of.items() if best <= own]
