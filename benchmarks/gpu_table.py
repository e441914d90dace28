"""The whole table of a GPU in minutes: updates of several agents in every mode, and frames per second of whole runs.

python benchmarks/gpu_table.py folder=gpu_table minutes=8

Own keys: ``folder`` (one JSON file a row; a row that has its file is not measured again, so the same line goes on),
``minutes`` (after which nothing is measured any more), ``row_minutes`` (a row that takes longer is given up), ``rows``
(those to measure, with commas between). Every other key is given to all rows, such as ``device=cpu preset=debug``.
Each row is a process of its own, ``benchmarks/learner.py`` or ``benchmarks/end_to_end.py``: what breaks one leaves the
others. The table is printed at the end and written to ``<folder>/table.md``.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

if not __package__:  # run as a file: Python looks for modules in benchmarks/ then, where replay.py is another one
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from utils.process import begin

    begin()

from benchmarks import arguments
from benchmarks.tables import markdown
from utils.advice import ROOT
from utils.atomic import atomic_path
from utils.errors import UserError, exit_status
from utils.rules import COUNT, TEXT, choice

SIZE = ("batch_size=50", "batch_length=50", "updates=20", "threads=8")
"""Of the published batch."""


class Row(NamedTuple):
    """One row of the table."""

    script: str
    words: tuple[str, ...]


def _updates(agent: str, *words: str) -> Row:
    return Row("learner.py", (f"agent={agent}", *SIZE, *words))


def _frames(*words: str) -> Row:
    return Row("end_to_end.py", ("agent=dreamer", "frames=2000", "threads=8", *words))


ROWS = {
    "dreamer_float32": _updates("dreamer", "precision=32"),
    "dreamer": _updates("dreamer"),
    "dreamer_graphs": _updates("dreamer", "compile=cudagraphs"),
    "dreamer_compiled": _updates("dreamer", "compile=default"),
    "sd3_graphs": _updates("deviation_dreamer", "compile=cudagraphs"),
    "plan2explore_graphs": _updates("plan2explore", "compile=cudagraphs"),
    "apt_graphs": _updates("apt_dreamer", "compile=cudagraphs"),
    "frames": _frames("compile=cudagraphs", "num_envs=1"),
    "frames_async": _frames("compile=cudagraphs", "num_envs=8", "collect.async=true"),
}
"""By name, what matters most first."""


def command(name: str, result: Path, others: Sequence[str]) -> list[str]:
    """Of a row; keys in ``others`` come in place of its own."""
    given = {arguments.key_of(word) for word in others}
    own = [word for word in ROWS[name].words if arguments.key_of(word) not in given]
    return [sys.executable, str(ROOT / "benchmarks" / ROWS[name].script), *own, *others, f"json={result}"]


def measure(name: str, folder: Path, others: Sequence[str], seconds: float) -> str:
    """Have a row measured within ``seconds``; returns how that ended."""
    log, began = folder / f"{name}.log", time.monotonic()
    with log.open("wb") as said:
        try:
            done = subprocess.run(
                command(name, folder / f"{name}.json", others),
                cwd=ROOT,
                stdout=said,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return f"given up after {seconds:.0f} s, see {log}"
    if done.returncode:
        return f"failed, see {log}"
    return f"measured in {time.monotonic() - began:.0f} s"


def show(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The two tables of what was measured."""
    updates = [
        [
            *(name, row["agent"], row["variant"], str(row["precision"]), f"{row['update_ms']:.1f} ms"),
            *(f"{row['fastest_ms']:.1f} ms", "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f} GB"),
        ]
        for name, result in results.items()
        if ROWS[name].script == "learner.py"
        for row in result["rows"]
    ]
    frames = [
        [
            *(name, str(row["num_envs"]), row["compile"], f"{row['frames_per_second']:.1f}"),
            "" if row["gpu_utilisation"] is None else f"{100 * row['gpu_utilisation']:.0f} %",
        ]
        for name, result in results.items()
        if ROWS[name].script == "end_to_end.py"
        for row in result["rows"]
    ]
    return "\n\n".join(
        [
            markdown(("row", "agent", "variant", "bits", "update", "fastest", "peak memory"), updates),
            markdown(("row", "environments", "compile", "frames a second", "GPU busy"), frames),
        ]
    )


def found_in(folder: Path) -> dict[str, dict[str, Any]]:
    """The results that are there, in the order of the table."""
    files = {name: folder / f"{name}.json" for name in ROWS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}


@exit_status
def main(words: Sequence[str]) -> None:
    """Measures what is missing, prints and writes the table. Raises :class:`UserError` if a row is missing then."""
    values, others = arguments.split(
        words,
        {"folder": "gpu_table", "minutes": 8, "row_minutes": 4, "rows": list(ROWS)},
        {"folder": TEXT, "minutes": COUNT, "row_minutes": COUNT, "rows": choice(*ROWS)},
    )
    for word in words:
        if arguments.key_of(word) in ("threads", "json", "agent"):
            raise UserError(f"{word}: every row has its own. Leave it out.")
    folder = Path(values["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * values["minutes"]
    for name in values["rows"]:
        left = min(60 * values["row_minutes"], end - time.monotonic())
        if name in found_in(folder):
            said = "was measured before"
        elif left <= 0:
            said = "not begun, the minutes are over"
        else:
            said = measure(name, folder, others, left)
        print(f"{name}: {said}", flush=True)
    results = found_in(folder)
    with atomic_path(folder / "table.md") as path:
        path.write_text(f"{show(results)}\n", encoding="utf-8")
    print(f"\n{show(results)}")
    missing = [name for name in values["rows"] if name not in results]
    if missing:
        raise UserError(f"not measured: {', '.join(missing)}. The same line goes on with these.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
