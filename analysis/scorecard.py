"""What runs score at the end, in units of an expert's return, and how sure that is.

python scorecard.py exp_local/2026.11.27
python scorecard.py "exp_sweep/2026.11.27/*" --by agent --by num_envs --out num_envs
python scorecard.py studies/walker_states_small/results at=30000

RUNS are run folders, folders that hold some at any depth, patterns of either, results of a study or its returns.csv.
Runs that have the same values of all --by keys are averaged. Every run counts with its last evaluation up to a frame
that all have reached. Writes Markdown, CSV and figures. Options are written key=value or --key value.
"""

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.grouping import group_keys
from analysis.published import Published
from analysis.results import LOGS, Result, find
from analysis.score_text import (
    COLUMNS,
    DUELS,
    PROFILES,
    RUN_COLUMNS,
    SCORES,
    duels_of,
    markdown,
    rows,
    run_rows,
)
from analysis.scoring import AGGREGATES, GAP, URLB, Card, card, read_experts
from utils import score_plot, scores
from utils.band_plot import FORMATS
from utils.errors import exit_status
from utils.report import BEGINS, check_output, write_file
from utils.words import parse_words

MOST_DUELS = 16
"""Groups of which every pair is compared."""

TITLE = "# Scorecard"


class Written(NamedTuple):
    """A scorecard."""

    paragraphs: list[str]
    files: list[Path]


def write(
    results: Sequence[Result],
    out: Path,
    *,
    keys: Sequence[str],
    experts: Path = URLB,
    at: float | None = None,
    published: Sequence[Published] = (),
    level: int = 2,
) -> Written:
    """Write ``<out>.csv``, ``<out>_runs.csv`` and the figures of a scorecard; its text is returned, with titles of a
    ``level``. Raises :class:`UserError`.
    """
    made = card(results, keys, read_experts(experts), at)
    duels = duels_of(made) if len(made.whole) <= MOST_DUELS else {}
    tables = {".csv": (COLUMNS, rows(made, duels)), "_runs.csv": (RUN_COLUMNS, run_rows(made))}
    files = []
    for end, (columns, body) in tables.items():
        files.append(out.with_name(f"{out.name}{end}"))
        _table(files[-1], columns, body)
    files += _figures(made, out)
    if duels:
        sure = [(one, other) for (one, other), found in duels.items() if made.sure(one, other, found)]
        files += score_plot.duels(duels, made.whole, out.with_name(f"{out.name}_{DUELS}"), sure)
    text = list(markdown(made, duels, out.name, published, level))
    if len(made.whole) > MOST_DUELS:
        text.append(f"Of more than {MOST_DUELS} groups, here {len(made.whole)}, pairs are not compared.")
    return Written(text, files)


def _figures(made: Card, out: Path) -> Iterator[Path]:
    if not made.normalised:
        return
    measures = {
        name: {group: found for group in made.whole if (found := made.aggregate(group, name)) is not None}
        for name in AGGREGATES
    }
    yield from score_plot.intervals(measures, out.with_name(f"{out.name}_{SCORES}"), made.scratch, (GAP,))
    most = max(value for group in made.whole for values in made.scores(group) for value in values)
    thresholds = np.linspace(0, max(1.0, most) * 1.02, 103)
    shares = {group: scores.performance_profile(made.scores(group), thresholds) for group in made.whole}
    yield from score_plot.profiles(shares, thresholds.tolist(), out.with_name(f"{out.name}_{PROFILES}"), made.scratch)


def _table(path: Path, columns: Sequence[str], body: Iterable[Sequence[str]]) -> None:
    def fill(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            made = csv.writer(file, lineterminator="\n")
            made.writerow(columns)
            made.writerows(body)

    write_file(path, fill)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("scorecard.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("runs", nargs="+", metavar="RUNS", help="run folders, folders of them, results of a study")
    made.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="KEY",
        help="what is told apart, once or more: agent, or any key of the configuration\n(default: agent, and "
        "snapshot_ts and variant where they differ)",
    )
    at = "judge runs there (default: where all runs of a task have come)"
    made.add_argument("--at", type=float, metavar="FRAME", help=at)
    known = "file of expert returns (default: those of URLB)"
    made.add_argument("--experts", type=Path, default=URLB, metavar="YAML", help=known)
    made.add_argument("--out", type=Path, default=Path("scorecard"), help="writes OUT.md, OUT.csv, ... (scorecard)")
    return made


def check_files(out: Path) -> None:
    """Raise :class:`UserError` where a file would be lost that is no earlier scorecard."""
    check_output("--out", out.with_name(f"{out.name}.md"), TITLE.encode())
    for end, columns in ((".csv", COLUMNS), ("_runs.csv", RUN_COLUMNS)):
        check_output("--out", out.with_name(f"{out.name}{end}"), ",".join(columns).encode())
    for part in (SCORES, PROFILES, DUELS):
        for ending in FORMATS:
            check_output("--out", out.with_name(f"{out.name}_{part}.{ending}"), BEGINS[ending])


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Writes the scorecard, and prints what is no picture of it."""
    options = parse_words(sys.argv[1:] if words is None else words, parser())
    check_files(options.out)
    found = find(options.runs, log=LOGS[0])  # what a run does while it learns is no score
    keys = group_keys(found.results, options.by)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    made = write(found.results, options.out, keys=keys, experts=options.experts, at=options.at)
    text = options.out.with_name(f"{options.out.name}.md")
    paragraphs = [TITLE, *(f"- {note}" for note in found.notes), *made.paragraphs]
    write_file(text, lambda path: path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8"))
    print("\n\n".join(part for part in paragraphs if not part.startswith("![")))
    print(f"\nwrote {', '.join(str(path) for path in [text, *made.files])}")
