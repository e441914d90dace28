"""Draw the learning curves of many runs in one figure, averaged over seeds, and write down what was drawn.

python -m analysis.compare exp_local/2026.11.27
python -m analysis.compare "exp_sweep/2026.11.27/*" --by agent --by num_envs --out num_envs
python -m analysis.compare studies/walker_states_small/results statistic=mean

RUNS are run folders, folders that hold some at any depth, patterns of either, results of a study or its returns.csv.
Runs that have the same values of all --by keys are averaged; seeds are what is averaged over, and what such runs differ
in besides is told. Bands are 95 % bootstrap intervals over runs. Options are written key=value or --key value.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from analysis.curves import Averaged, Kind, panel_curves
from analysis.grouping import NONE, by_group, check_key, group_keys, reaching, repetitions, value
from analysis.results import LOGS, RETURN, Result, find
from utils.band_plot import FORMATS, Panel, bands
from utils.csv_log import format_cell
from utils.errors import UserError, exit_status
from utils.report import BEGINS, check_output, write_file
from utils.words import parse_words

COLUMNS = ("panel", "group", "frame", "value", "low", "high", "runs")

TABLE = b"panel,group,"
"""What the CSV begins with."""

Drawn = Mapping[str, Sequence[Averaged]]
"""Curves by panel."""


def drawn_of(results: Sequence[Result], keys: Sequence[str], panel: str, kind: Kind) -> tuple[Drawn, list[str]]:
    """The curves of every panel, and what has to be said of them."""
    everything = by_group(results, keys)  # in this order, whatever the panel

    def title_of(one: Result) -> str:
        return "" if panel == NONE else value(one, panel)

    found: dict[str, list[Averaged]] = {}
    notes = repetitions(everything, [*keys, panel])
    for title in dict.fromkeys(map(title_of, results)):
        inside = {name: [one for one in runs if title_of(one) == title] for name, runs in everything.items()}
        inside = {name: runs for name, runs in inside.items() if runs}
        curves = panel_curves(inside, kind)
        notes += [f"{title}: {note}" if title else note for curve in curves for note in curve.notes]
        notes += _unlike(title, inside)
        found[title] = [curve for curve in curves if curve.points]
    trained = [one for one in results if one.log != LOGS[0]]
    if trained and len(trained) < len(results):
        notes.append(
            f"{len(trained)} of {len(results)} runs have no evaluation, and show their training episodes: "
            f"{trained[0].name}. log=train draws those of all, log=eval leaves such runs out"
        )
    return {title: curves for title, curves in found.items() if curves}, notes


def _unlike(title: str, groups: Mapping[str, Sequence[Result]]) -> Iterator[str]:
    tasks = {name: {one.task for one in runs} for name, runs in groups.items()}
    every = set.union(*tasks.values())
    for name, own in tasks.items():
        if own < every:
            yield f"{f'{title}: ' * bool(title)}{name} has no run of {', '.join(sorted(every - own))}: no fair match"


def rows(drawn: Drawn) -> Iterator[tuple[str, ...]]:
    """Of the CSV: the points of every curve."""
    for title, curves in drawn.items():
        for curve in curves:
            for frame, point in zip(curve.frames, curve.points, strict=True):
                yield (title, curve.name, *map(format_cell, (frame, *point)), str(curve.runs))


def draw(drawn: Drawn, out: Path, label: str) -> list[Path]:
    """The figure, as PNG and SVG. Those from scratch are dashed, unless there are no others."""
    scratch = {curve.scratch for curves in drawn.values() for curve in curves} == {True, False}
    panels = [
        Panel(title, [curve.curve(dashed=scratch and curve.scratch) for curve in curves])
        for title, curves in drawn.items()
    ]
    columns = 2 if len(panels) < 5 else 3 if len(panels) < 10 else 4
    return bands(panels, out, "Environment frames", label, columns=columns)


def show(drawn: Drawn) -> str:
    """The ends of all curves, for people."""
    width = max(len(curve.name) for curves in drawn.values() for curve in curves) + 2
    lines = [f"{'':<{width}}{'runs':>5}{'frame':>12}{'value':>10}   95 % interval"]
    for title, curves in drawn.items():
        lines += [title] if title else []
        for curve in curves:
            value_, low, high = curve.points[-1]
            end = f"{curve.frames[-1]:,.0f}"
            lines.append(f"{curve.name:<{width}}{curve.runs:>5}{end:>12}{value_:>10.1f}   {low:.1f} to {high:.1f}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m analysis.compare", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("runs", nargs="+", metavar="RUNS", help="run folders, folders of them, results of a study")
    made.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="KEY",
        help="what is told apart, once or more: agent, task, or any key of the\nconfiguration, such as model_opt.lr; "
        "none averages all (default: agent,\nand snapshot_ts and variant where they differ)",
    )
    made.add_argument("--panel", default="task", metavar="KEY", help="a panel per value; none: one (default: task)")
    made.add_argument("--statistic", choices=("iqm", "mean"), default="iqm", help="over runs (default: iqm)")
    at = "draw up to it, and leave out runs that have not come so far"
    made.add_argument("--at", type=float, metavar="FRAME", help=at)
    made.add_argument("--y", default=RETURN, metavar="COLUMN", help=f"of the CSVs (default: {RETURN})")
    made.add_argument("--log", choices=("eval", "train"), help="which CSV (default: eval, or train where it has none)")
    made.add_argument("--out", type=Path, default=Path("comparison"), help="writes OUT.png, .svg, .csv (comparison)")
    return made


def compare(options: argparse.Namespace) -> tuple[Drawn, list[str]]:
    """What the command line asks for, drawn nowhere yet. Raises :class:`UserError`."""
    found = find(options.runs, options.y, options.log and f"{options.log}.csv")
    keys = group_keys(found.results, options.by)
    check_key("panel", options.panel, found.results)
    results, left_out = reaching(found.results, options.at)
    drawn, notes = drawn_of(results, keys, options.panel, options.statistic)
    if not drawn:
        raise UserError(f"there is nothing to draw: {notes[-1]}.")
    return drawn, [*found.notes, *left_out, *notes]


def files_of(out: Path, endings: Sequence[str]) -> list[Path]:
    """``out`` with each of the endings."""
    return [out.with_name(f"{out.name}.{ending}") for ending in endings]


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Draws, writes, and prints the ends of the curves."""
    options = parse_words(sys.argv[1:] if words is None else words, parser())
    table, *figures = files_of(options.out, ("csv", *FORMATS))
    check_output("--out", table, TABLE)
    for path, ending in zip(figures, FORMATS, strict=True):
        check_output("--out", path, BEGINS[ending])
    drawn, notes = compare(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    label = "Episode return" if options.y == RETURN else options.y
    made = draw(drawn, options.out, f"{label} ({'IQM' if options.statistic == 'iqm' else 'mean'} over runs)")
    write_file(table, lambda path: _write(path, drawn))
    print(show(drawn))
    for note in notes:
        print(f"note: {note}")
    print(f"wrote {', '.join(map(str, [*made, table]))}")


def _write(path: Path, drawn: Drawn) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        made = csv.writer(file, lineterminator="\n")
        made.writerow(COLUMNS)
        made.writerows(rows(drawn))


if __name__ == "__main__":
    sys.exit(main())
