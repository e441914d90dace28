"""The report of a study: Markdown, one CSV of all returns, and the learning curves, from records alone."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from analysis import scorecard
from analysis.published import Published
from analysis.results import SNAPSHOT, VARIANT, Result, planned_facts
from studying.numbers import ALL, Arm, Gain, Runs, by_amount, by_arm, choices, curve, final, gain, tasks_of, variants
from studying.plan import Planned
from studying.records import Record
from utils.atomic import atomic_path
from utils.band_plot import Curve, Panel, bands
from utils.csv_log import format_cell
from utils.statistics import Interval

COLUMNS = ("run", "agent", "task", "pretrain_seed", "seed", "pretrain_frames", "variant", "frame", "return")

REPORT, CURVES, TABLE, CARD = "report.md", "curves", "returns.csv", "scorecard"


class Study(NamedTuple):
    """What is reported on."""

    name: str
    command: str
    runs: Sequence[Planned]
    """All that are planned."""
    records: Mapping[str, Record]
    estimates: Mapping[str, float]
    """Seconds by run, of a dry run."""
    expected: Sequence[Published] = ()
    """What others have published for such runs."""

    @property
    def done(self) -> list[Record]:
        """Records in the order of the plan."""
        return [self.records[run.name] for run in self.runs if run.name in self.records]


def write(study: Study, folder: Path) -> list[Path]:
    """Write the three beside each other; returns the files."""
    runs = by_arm(study.done)
    table, text = folder / TABLE, folder / REPORT
    with atomic_path(table) as path, path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        rows.writerows(returns(study.done))
    figures = bands(panels(runs), folder / CURVES, "Environment frames", "Episode return") if runs else []
    results = [_result(record) for record in study.done if record.run.kind == "finetune" and record.curve()]
    keys = ["agent", SNAPSHOT, VARIANT]
    card = (
        scorecard.write(results, folder / CARD, keys=keys, published=study.expected, level=3)
        if results
        else scorecard.Written([], [])
    )
    with atomic_path(text) as path:
        path.write_text("\n\n".join(_parts(study, runs, card.paragraphs)) + "\n", encoding="utf-8")
    return [text, table, *figures, *card.files]


def _result(record: Record) -> Result:
    """As :mod:`analysis.results` would read it."""
    return Result(
        record.run.name, planned_facts(record.run._asdict()), {float(f): v for f, v in record.curve().items()}
    )


def returns(records: Sequence[Record]) -> Iterator[list[str]]:
    """Rows of the CSV: every evaluation of every run."""
    for record in records:
        run = record.run
        if run.kind == "skills":
            continue
        before = "" if run.pretrain_seed is None else str(run.pretrain_seed)
        own = [run.name, run.agent, run.task, before, str(run.seed), str(run.pretrain_frames), run.variant]
        for frame, value in record.curve().items():
            yield [*own, str(frame), format_cell(value)]


def panels(runs: Runs) -> list[Panel]:
    """A panel per task, and one of all of them where there are several."""
    tasks = tasks_of(runs)
    shown = [(task, [task]) for task in tasks] + ([(ALL, tasks)] if len(tasks) > 1 else [])
    return [Panel(title, list(_curves(runs, own))) for title, own in shown]


def _curves(runs: Runs, tasks: Sequence[str]) -> Iterator[Curve]:
    for arm, by_task in runs.items():
        if not all(by_task.get(task) for task in tasks):
            continue  # the mean over other tasks is no match
        points = curve(by_task, tasks)
        if points:
            value, low, high = zip(*(point.found for point in points), strict=True)
            yield Curve(str(arm), [point.frame for point in points], value, low, high, dashed=arm.scratch)


def _parts(study: Study, runs: Runs, card: Sequence[str]) -> Iterator[str]:
    tasks = tasks_of(runs)
    yield f"# Study {study.name}"
    waiting = len(study.runs) - len(study.done)
    yield f"{len(study.done)} of {len(study.runs)} runs are done." + (" The rest is still to come." if waiting else "")
    if not runs:
        return
    yield (
        "Interquartile means (IQM) over runs with 95 % stratified bootstrap intervals, resampled within tasks (Agarwal "
        "et al., 2021); of three runs or fewer the IQM is their mean. Runs that share a pre-training are not "
        "independent of each other, so intervals over few pre-training seeds are too narrow."
    )
    yield f"![learning curves]({CURVES}.png)"
    yield "## Final returns"
    yield _finals(runs, tasks)
    baselines = [arm for arm in runs if arm.scratch]
    for baseline in baselines:
        yield f"## Against {baseline}"
        yield _gains(runs, baseline, tasks)
    if found := by_amount(runs):
        yield "## More pre-training"
        yield _amounts(runs, found)
    if pairs := variants(runs):
        yield "## Variants"
        yield _variants(runs, pairs)
    if made := choices(study.done):
        yield "## The chosen skill"
        yield "Returns of the snapshot's skills on the task, before any fine-tuning."
        yield _table(
            ("run", "chosen", "its return", "rank", "best skill", "its return", "mean of all"),
            (
                (c.record.run.name, c.skill, f"{c.chosen:.0f}", f"{c.rank} of {c.skills}")
                + (c.best_skill, f"{c.best:.0f}", f"{c.mean:.0f}")
                for c in made
            ),
        )
    yield "## Scorecard"
    yield from card
    yield "## Hours"
    yield _hours(study)
    yield "## Where it comes from"
    yield from _origin(study)


def _finals(runs: Runs, tasks: Sequence[str]) -> str:
    def cell(by_task: Mapping[str, Sequence[Record]], own: Sequence[str]) -> str:
        point = final(by_task, own) if all(by_task.get(task) for task in own) else None
        return "" if point is None else f"{_interval(point.found)}, {point.runs} runs"

    return _by_task(runs, tasks, lambda arm, own: cell(runs[arm], own))


def _gains(runs: Runs, baseline: Arm, tasks: Sequence[str]) -> str:
    def cell(arm: Arm, own: Sequence[str]) -> str:
        if not all(runs[arm].get(task) for task in own):
            return ""
        found = gain(runs[arm], runs[baseline], own)
        return "" if found is None else f"{_interval(found.difference, sign=True)}; {_apart(found)}"

    return _by_task(runs, tasks, cell, without=baseline)


def _apart(found: Gain) -> str:
    if found.apart_from is None:
        return "intervals overlap at the end"
    return f"{'above' if found.better else 'below'} from frame {found.apart_from:,} on"


def _by_task(
    runs: Runs, tasks: Sequence[str], cell: Callable[[Arm, Sequence[str]], str], without: Arm | None = None
) -> str:
    columns = [(task, [task]) for task in tasks] + ([(ALL, list(tasks))] if len(tasks) > 1 else [])
    rows = ((str(arm), *(cell(arm, own) for _, own in columns)) for arm in runs if arm != without)
    return _table(("agent", *(title for title, _ in columns)), rows)


def _amounts(runs: Runs, found: Mapping[tuple[str, str], Sequence[Arm]]) -> str:
    rows = []
    for (agent, task), arms in found.items():
        for arm in arms:
            point = final(runs[arm], [task])
            before = f"{arm.pretrain_frames:,}"
            rows.append((agent, task, before, "" if point is None else f"{_interval(point.found)}, {point.runs} runs"))
    return _table(("agent", "task", "frames before", "final return"), rows)


def _variants(runs: Runs, pairs: Sequence[tuple[Arm, Arm]]) -> str:
    rows = []
    for arm, base in pairs:
        for task in runs[arm]:
            found = gain(runs[arm], runs[base], [task])
            if found is not None:
                rows.append((str(base), task, arm.variant, _interval(found.difference, sign=True)))
    return _table(("agent", "task", "variant", "its return less the plain one's"), rows)


def _hours(study: Study) -> str:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in study.done:
        groups.setdefault((record.run.kind, record.run.agent), []).append(record)
    rows = []
    for (kind, agent), own in groups.items():
        measured, foretold = sum(one.seconds for one in own), [_estimate(study, one) for one in own]
        known = [value for value in foretold if value is not None]
        rows.append((kind, agent, str(len(own)), f"{measured / 3600:.2f}", _sum(known, len(own))))
    everything = [_estimate(study, one) for one in study.done]
    all_known = [value for value in everything if value is not None]
    seconds = sum(one.seconds for one in study.done)
    rows.append(("all", "", str(len(study.done)), f"{seconds / 3600:.2f}", _sum(all_known, len(study.done))))
    return _table(("", "agent", "runs", "hours measured", "hours estimated"), rows)


def _estimate(study: Study, record: Record) -> float | None:
    stored = record.facts.get("estimated_seconds", study.estimates.get(record.run.name))
    return None if stored is None else float(stored)


def _sum(known: Sequence[float], wanted: int) -> str:
    return (
        f"{sum(known) / 3600:.2f}" + (f" ({len(known)} of {wanted} runs)" if len(known) < wanted else "")
        if known
        else ""
    )


def _origin(study: Study) -> Iterator[str]:
    commits = dict.fromkeys(str(record.facts.get("commit")) for record in study.done)
    machines = dict.fromkeys(_machine(record.facts.get("hardware") or {}) for record in study.done)
    yield f"Command: `{study.command}`"
    yield f"Commit{'s' * (len(commits) > 1)}: {', '.join(f'`{commit}`' for commit in commits)}"
    yield f"Hardware: {'; '.join(machines)}"
    lines = "\n".join(record.facts["command"] for record in study.done)
    yield f"Every run by itself:\n\n```text\n{lines}\n```"


def _machine(found: Mapping[str, object]) -> str:
    gpu = f"{found['gpu']}, " if found.get("gpu") else ""
    return f"{gpu}{found.get('cpu')}, {found.get('cores')} cores, torch {found.get('torch')}"


def _interval(found: Interval, *, sign: bool = False) -> str:
    form = "+.0f" if sign else ".0f"
    return f"{found.value:{form}} [{found.low:{form}}, {found.high:{form}}]"


def _table(head: Sequence[str], rows: "Iterator[Sequence[str]] | Sequence[Sequence[str]]") -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
