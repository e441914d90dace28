"""What the runs of a study show: curves, final returns and differences, each with its interval."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from analysis.grouping import short
from studying.plan import Planned
from studying.records import Record
from utils.statistics import REPETITIONS, Interval, bootstrap_difference, stratified_bootstrap

ALL = "all tasks"


class Arm(NamedTuple):
    """What is compared: runs that differ in task and seeds alone."""

    agent: str
    pretrain_frames: int
    """0 from scratch."""
    variant: str
    unit: str = "frames"
    """Of :attr:`pretrain_frames`; ``updates`` on a data set."""

    @property
    def scratch(self) -> bool:
        return self.pretrain_frames == 0

    def __str__(self) -> str:
        before = "from scratch" if self.scratch else f"{short(self.pretrain_frames)} {self.unit} before"
        return f"{self.agent}, {before}" + (f", {self.variant}" if self.variant else "")


Runs = Mapping[Arm, Mapping[str, Sequence[Record]]]
"""Records of fine-tunings and runs from scratch, by arm and task."""


class Point(NamedTuple):
    """An evaluation of all runs of an arm."""

    frame: int
    found: Interval
    runs: int


class Gain(NamedTuple):
    """An arm against one from scratch."""

    difference: Interval
    """Of the interquartile means at the last frame."""
    apart_from: int | None
    """The first frame from which on the two intervals have nothing in common, to the last; None: there is none."""
    better: bool
    """Whether the arm is above there."""


def by_arm(records: Iterable[Record]) -> dict[Arm, dict[str, list[Record]]]:
    """Fine-tunings by what is compared, in the order in which they come; arms from scratch first."""
    found: dict[Arm, dict[str, list[Record]]] = {}
    for record in records:
        run = record.run
        if run.kind == "finetune":
            arm = Arm(run.agent, run.pretrain_frames if run.needs else 0, run.variant, _unit(run))
            found.setdefault(arm, {}).setdefault(run.task, []).append(record)
    return dict(sorted(found.items(), key=lambda pair: not pair[0].scratch))


def tasks_of(runs: Runs) -> list[str]:
    """In the order in which they come."""
    return list(dict.fromkeys(task for by_task in runs.values() for task in by_task))


def frames_of(records: Iterable[Record]) -> list[int]:
    """At which all of them were evaluated."""
    curves = [set(record.curve()) for record in records]
    return sorted(set.intersection(*curves)) if curves else []


def at(by_task: Mapping[str, Sequence[Record]], tasks: Sequence[str], frame: int) -> list[list[float]]:
    """Returns of an arm's runs at a frame, task by task."""
    return [[record.curve()[frame] for record in by_task[task]] for task in tasks if by_task.get(task)]


def curve(by_task: Mapping[str, Sequence[Record]], tasks: Sequence[str], repetitions: int = REPETITIONS) -> list[Point]:
    """Interquartile means of an arm over the runs of some tasks, at every frame that all have."""
    runs = [record for task in tasks for record in by_task.get(task, ())]
    return [
        Point(frame, stratified_bootstrap(at(by_task, tasks, frame), repetitions=repetitions), len(runs))
        for frame in frames_of(runs)
    ]


def gain(
    arm: Mapping[str, Sequence[Record]],
    scratch: Mapping[str, Sequence[Record]],
    tasks: Sequence[str],
    repetitions: int = REPETITIONS,
) -> Gain | None:
    """An arm against one from scratch on the ``tasks`` that both have; None without a frame at which both were
    evaluated.
    """
    shared = [task for task in tasks if arm.get(task) and scratch.get(task)]
    ours, theirs = ({point.frame: point.found for point in curve(one, shared, repetitions)} for one in (arm, scratch))
    frames = sorted(ours.keys() & theirs.keys())
    if not frames:
        return None
    last = frames[-1]
    difference = bootstrap_difference(at(arm, shared, last), at(scratch, shared, last), repetitions=repetitions)
    better, since = ours[last].value > theirs[last].value, None
    for frame in reversed(frames):
        one, other = ours[frame], theirs[frame]
        if not one.apart(other) or (one.value > other.value) != better:
            break
        since = frame
    return Gain(difference, since, better)


class Choice(NamedTuple):
    """The skill that a fine-tuning settled on, beside those it could have taken; returns before fine-tuning."""

    record: Record
    skill: str
    frame: int
    chosen: float
    best_skill: str
    best: float
    mean: float
    rank: int
    """Of the chosen skill, from 1 on."""
    skills: int


def choices(records: Iterable[Record]) -> list[Choice]:
    """Of the fine-tunings that settled on a skill, where every skill of their snapshot was followed as well."""
    found: list[Choice] = []
    kept = list(records)
    followed = {
        (one.run.agent, one.run.task, one.run.pretrain_seed, one.run.pretrain_frames): {
            str(row["skill"]): float(row["return"]) for row in one.rows
        }
        for one in kept
        if one.run.kind == "skills"
    }
    for record in kept:
        run, made = record.run, record.facts.get("chosen_skill")
        returns = followed.get((run.agent, run.task, run.pretrain_seed, run.pretrain_frames))
        if run.kind != "finetune" or not made or not returns or made["skill"] not in returns:
            continue
        best, chosen = max(returns, key=lambda name: returns[name]), returns[made["skill"]]
        found.append(
            Choice(
                *(record, made["skill"], made["frame"], chosen, best, returns[best]),
                mean=sum(returns.values()) / len(returns),
                rank=1 + sum(value > chosen for value in returns.values()),
                skills=len(returns),
            )
        )
    return found


def by_amount(runs: Runs) -> dict[tuple[str, str], list[Arm]]:
    """Agents and tasks that were fine-tuned after several amounts of pre-training: the arms, the least first."""
    found: dict[tuple[str, str], list[Arm]] = {}
    for arm in sorted(runs, key=lambda one: one.pretrain_frames):
        if not arm.scratch and not arm.variant:
            for task in runs[arm]:
                found.setdefault((arm.agent, task), []).append(arm)
    return {key: arms for key, arms in found.items() if len(arms) > 1}


def variants(runs: Runs) -> list[tuple[Arm, Arm]]:
    """Arms with a variant beside those without it."""
    plain = {arm for arm in runs if not arm.variant}
    return [(arm, base) for arm in runs if arm.variant and (base := arm._replace(variant="")) in plain]


def final(by_task: Mapping[str, Sequence[Record]], tasks: Sequence[str]) -> Point | None:
    """The last point of an arm's curve."""
    points = curve(by_task, tasks)
    return points[-1] if points else None


def _unit(run: Planned) -> str:
    return "updates" if run.needs and run.data else "frames"
