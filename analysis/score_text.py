"""A scorecard as Markdown and CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from analysis.published import Published, judged
from analysis.scoring import AGGREGATES, ALL, Card
from utils.csv_log import format_cell
from utils.statistics import Interval

SCORES, PROFILES, DUELS = "scores", "profiles", "improvement"
"""Ends of the names of the figures."""

COLUMNS = ("group", "tasks", "measure", "value", "low", "high", "runs")

RUN_COLUMNS = ("run", "group", "task", "frame", "return", "normalised")

Duels = Mapping[tuple[str, str], Interval]


def duels_of(card: Card) -> dict[tuple[str, str], Interval]:
    """Every group against every other one."""
    return {(one, other): card.improvement(one, other) for one in card.whole for other in card.whole if one != other}


def markdown(card: Card, duels: Duels, stem: str, published: Sequence[Published] = (), level: int = 2) -> Iterator[str]:
    """The paragraphs, with titles of a ``level`` and figures called ``<stem>_...``."""
    title = "#" * level
    frames = sorted({one.frame for one in card.runs})
    at = f"frame {frames[0]:,.0f}" if len(frames) == 1 else f"frames {frames[0]:,.0f} to {frames[-1]:,.0f}"
    yield (
        f"{runs_of(len(card.runs))} at {at}. Returns are interquartile means (IQM) over runs; of three runs or fewer "
        "the IQM is their mean. Brackets are 95 % intervals of a bootstrap over runs, stratified by task (Agarwal et "
        "al., 2021); of a single run there is none."
    )
    for note in card.notes:
        yield f"- {note}"
    yield f"{title} Returns on tasks"
    yield markdown_table(
        ("", *card.tasks),
        ((group, *(_reward(card, group, task) for task in card.tasks)) for group in card.groups),
    )
    if card.normalised:
        yield f"{title} Expert-normalised scores"
        yield (
            f"Return divided by the expert's ({card.experts.source}), over {', '.join(card.normalised)}. "
            "Median and mean are over tasks; the optimality gap is what runs lack of 1 on average (less is better)."
        )
        yield markdown_table(
            ("", "runs", *AGGREGATES),
            (
                (group, str(sum(map(len, card.scores(group)))), *(_score(card, group, name) for name in AGGREGATES))
                for group in card.whole
            ),
        )
        if card.domains:
            yield "IQM of each domain:"
            yield markdown_table(("", *card.domains), ((group, *_domains(card, group)) for group in card.whole))
        yield f"![aggregates]({stem}_{SCORES}.png)"
        yield f"![performance profiles]({stem}_{PROFILES}.png)"
    if duels:
        yield f"{title} Probability of improvement"
        yield (
            "How likely a run of the row beats a run of the column on a task drawn at random; ties count half. In bold "
            "where the interval leaves out one half."
        )
        yield markdown_table(
            ("", *card.whole), ((one, *(_duel(card, duels, one, other) for other in card.whole)) for one in card.whole)
        )
        yield f"![probability of improvement]({stem}_{DUELS}.png)"
    if published:
        yield f"{title} Beside what is published"
        yield from _beside(card, published)


def rows(card: Card, duels: Duels) -> Iterator[tuple[str, ...]]:
    """Of the CSV: every number of the scorecard."""

    def row(group: str, tasks: str, measure: str, found: Interval, runs: int) -> tuple[str, ...]:
        return (group, tasks, measure, *map(format_cell, found), str(runs))

    for group in card.groups:
        for task in card.tasks:
            if (found := card.reward(group, task)) is not None:
                yield row(group, task, "return", found, len(card.rewards(group, task)))
    for group in card.whole:
        for tasks, own in {ALL: card.normalised, **card.domains}.items():
            for name in AGGREGATES if own else ():
                if (found := card.aggregate(group, name, own)) is not None:
                    yield row(group, tasks, name, found, sum(map(len, card.scores(group, own))))
    for (one, other), found in duels.items():
        runs = sum(len(card.rewards(one, task)) for task in card.shared)
        yield row(one, ALL, f"probability of improvement over {other}", found, runs)


def run_rows(card: Card) -> Iterator[tuple[str, ...]]:
    """What every run is counted with."""
    for one in card.runs:
        score = "" if one.score is None else format_cell(one.score)
        yield (one.result.name, one.group, one.task, format_cell(one.frame), format_cell(one.reward), score)


def markdown_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Rows of cells as Markdown has them."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(found: Interval | None, digits: int = 0) -> str:
    """``251 [163, 306]``."""
    if found is None:
        return ""
    value, low, high = (f"{number:.{digits}f}" for number in found)
    return value if found.low == found.high else f"{value} [{low}, {high}]"


def runs_of(count: int) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count} run{'s' * (count != 1)}"


def _reward(card: Card, group: str, task: str) -> str:
    count = len(card.rewards(group, task))
    return f"{shown(card.reward(group, task))}; {runs_of(count)}" if count else ""


def _score(card: Card, group: str, name: str) -> str:
    return shown(card.aggregate(group, name), 3)


def _domains(card: Card, group: str) -> list[str]:
    return [shown(card.aggregate(group, "IQM", own), 3) for own in card.domains.values()]


def _duel(card: Card, duels: Duels, one: str, other: str) -> str:
    if one == other:
        return ""
    found = duels[one, other]
    text = shown(found, 2)
    return f"**{text}**" if card.sure(one, other, found) else text


def _beside(card: Card, published: Sequence[Published]) -> Iterator[str]:
    body: list[Sequence[str]] = []
    for one in published:
        found = judged(one, [run.result for run in card.runs], card.experts.returns)
        digits = 2 if one.normalised else 0
        error = "" if one.error is None else f" ± {one.error:.{digits}f}"
        at = "" if one.frame is None else f", frame {one.frame:,}"
        measured = f"{shown(found.measured, digits)}; {runs_of(found.runs)}" if found.measured else ""
        body.append((one.who, one.subject + at, f"{one.value:.{digits}f}{error}", measured, found.verdict))
    yield markdown_table(("", "", "published", "measured (mean)", ""), body)
    yield "Published:\n\n" + "\n".join(f"- {source}" for source in dict.fromkeys(one.source for one in published))
