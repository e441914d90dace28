"""Run a whole study: pre-train, fine-tune, learn from scratch, compare. Every run is one of the ordinary scripts.

python study.py study=walker_states_small dry_run=true
python study.py study=walker_states_small jobs=2
python study.py study=walker_states_small only=[lbs_dreamer,dreamer]
python study.py study=walker_states_small report=true

study=<name>        configs/study/<name>.yaml, or a file of your own: study=mine.yaml
dry_run=true        print every command and how long it would take here (measure=false: the commands alone)
jobs=2 threads=1    runs side by side, and threads of each; jobs=auto: as many as this machine has room for
only=[...]          agents and tasks to be done; the rest another time, or on another machine
report=true         write the report of what is there, and start nothing
results_dir=<dir>   records of finished runs, which count as done; default studies/<name>/results
name=<name>         of the study's folder in studies/ (studies_dir=<dir>)
<key>=<value>       any key of the study's file: preset=small finetune.frames=20000 pretrain.seeds=[1]

The same command goes on with a study that was stopped or killed.
"""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from studying import records, report
from studying.board import Board
from studying.check import PHASES, bare_words, check_commands, check_data
from studying.children import Child, command_line, variables
from studying.drive import Drive
from studying.journal import MOST_NAMED, Journal, News
from studying.measure import Measured, measured
from studying.packing import auto_jobs
from studying.plan import Places, Planned, chosen, plan
from studying.settings import AUTO, STUDIES, Asked, read_request
from utils.advice import command, in_shell
from utils.durations import about
from utils.errors import UserError, exit_status
from utils.folders import check_writable
from utils.locks import Busy, lock_file

LOCK = ".lock"
NOTE = b"A study of Somnia uses this folder, or was killed in it.\n"


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """What a command line asks for. Raises :class:`UserError`, also when a run has failed."""
    given = list(sys.argv[1:] if words is None else words)
    if {"-h", "--help"} & set(given):
        print(f"{__doc__}\nstudies: {', '.join(sorted(path.stem for path in STUDIES.glob('*.yaml')))}")
        return
    asked = read_request(given)
    runs = plan(asked)
    took = chosen(runs, asked.how.only)
    places = _places(asked, took)
    line = command("study.py", *map(in_shell, given))
    if asked.how.report:
        _report(asked, runs, places, records.read(places.results), Journal(places.folder), line)
    elif asked.how.dry_run:
        _dry_run(asked, took, places)
    else:
        _run(asked, runs, took, places, line)


def _places(asked: Asked, runs: Sequence[Planned]) -> Places:
    folder = Path(asked.how.studies_dir).expanduser() / asked.name
    results = asked.how.results_dir and Path(asked.how.results_dir).expanduser()
    observes = "" if asked.how.report else check_commands(runs)
    return Places(folder, observes, results or None)


def _run(asked: Asked, runs: Sequence[Planned], took: Sequence[Planned], places: Places, line: str) -> None:
    check_data(Board(took, places, records.read(places.results)).of("waiting"))
    check_writable("studies_dir", str(places.folder))
    check_writable("results_dir", str(places.results))
    places.folder.mkdir(parents=True, exist_ok=True)
    try:
        with lock_file(places.folder / LOCK, note=NOTE):
            _run_locked(asked, runs, took, places, line)
    except Busy:
        raise UserError(
            f"{places.folder} is in use by another study.py. Wait for it, or begin a study of its own: "
            f"name={asked.name}_2"
        ) from None


def _run_locked(asked: Asked, runs: Sequence[Planned], took: Sequence[Planned], places: Places, line: str) -> None:
    journal, done = Journal(places.folder), records.read(places.results)
    news = journal.check(runs, done, asked.name)
    for text in _told(news, bool(journal.planned)):
        print(text)
    journal.settings, journal.planned = asked.runs.plain(), [run.name for run in runs]
    journal.write()
    screen = _Screen()
    board = Board(took, places, done, screen.say)
    screen.say(f"study {asked.name} in {places.folder}\n{board.table()}")
    jobs = _jobs(asked, board.of("waiting", "in use"), screen.say)

    def start(run: Planned, resume: bool) -> Child:
        return Child(run.script, places.words(run, resume=resume), places.log(run), asked.how.threads)

    try:
        Drive(board, journal, start, jobs, screen.show).run()
    except KeyboardInterrupt:
        screen.say(f"\nstopped: {board.counts()}. Go on with\n{line}")
        raise
    screen.say(f"\n{board.table()}")
    _report(asked, runs, places, board.records, journal, line)
    if failed := board.of("failed", "blocked"):
        logs = "".join(f"\n  {run.name}: {board.detail(run)}" for run in failed[: 2 * MOST_NAMED])
        more = f"\n  and {len(failed) - 2 * MOST_NAMED} more" if len(failed) > 2 * MOST_NAMED else ""
        raise UserError(
            f"{len(failed)} of {len(took)} runs failed or had to be left out:{logs}{more}\ntry again: {line}"
        )


def _jobs(asked: Asked, todo: Sequence[Planned], say: Callable[[str], None]) -> int:
    """How many runs go side by side; what ``auto`` comes to is told. Raises :class:`UserError` for a run that cannot
    be.
    """
    if asked.how.jobs != AUTO:
        return int(asked.how.jobs)
    found = auto_jobs(todo, asked.how.threads)
    say(f"jobs=auto: {found.jobs} side by side ({found.by})")
    return found.jobs


def _told(news: News, begun: bool) -> list[str]:
    """How the plan differs from that of the last start."""
    found = []
    for what, names in (("new in this study", news.new if begun else []), ("not in this study any more", news.gone)):
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            found.append(f"note: {what}: {', '.join(names[:MOST_NAMED])}{more}")
    return found


def _report(
    asked: Asked,
    runs: Sequence[Planned],
    places: Places,
    done: Mapping[str, records.Record],
    journal: Journal,
    line: str,
) -> None:
    words = [word for word in shlex.split(line) if word != "report=true"]
    shown = " ".join(map(in_shell, ["python", *words[1:]] if words else []))
    made = report.Study(asked.name, shown, runs, done, journal.estimates, asked.expected)
    if not made.done:
        print(f"nothing to report: no run of {asked.name} has a record in {places.results}")
        return
    files = report.write(made, places.results)
    print(f"report: {files[0]}\n        {', '.join(path.name for path in files[1:])} beside it")


def _dry_run(asked: Asked, took: Sequence[Planned], places: Places) -> None:
    board = Board(took, places, records.read(places.results))
    todo = board.of("waiting")
    for run in took:
        print(f"# {board.states[run.name]}: {run.name}")
        print(command_line(run.script, places.words(run), asked.how.threads))
    print(f"\n{board.counts()}")
    jobs = _jobs(asked, todo, print)
    if not asked.how.measure or not todo:
        return
    if any(run.data for run in todo):
        print("nothing is timed: that would need the data set. measure=false leaves this line out.")
        return
    seconds = _estimates(todo, {run.name: run for run in took}, asked.how.threads)
    _keep(places, seconds)
    whole = sum(seconds.values())
    for kind in dict.fromkeys(run.kind for run in todo):
        own = [run for run in todo if run.kind == kind]
        print(f"{kind}: {len(own)} runs, {about(sum(seconds[run.name] for run in own))}")
    aside = f", {about(whole / jobs)} with jobs={jobs} where each has a core of its own"
    print(f"estimate: {whole / 3600:.1f} hours of runs ({about(whole)}){aside if jobs > 1 else ''}")


def _estimates(todo: Sequence[Planned], before: Mapping[str, Planned], threads: int | None) -> dict[str, float]:
    """Seconds of every run, from a short one of its agent; ``before`` has the pre-trainings by name."""
    found: dict[tuple[str, str, str], Measured] = {}
    environment = {**os.environ, **variables(threads)}
    seconds = {}
    for run in todo:
        kind = "finetune" if run.kind == "skills" else run.kind
        key = (kind, run.agent, run.variant)
        if key not in found:
            like = run if run.kind != "skills" else next((r for r in todo if (r.kind, r.agent) == key[:2]), None)
            if like is None:
                seconds[run.name] = 0.0
                continue
            source = before.get(like.needs or "")
            found[key] = measured(
                PHASES[like.script], bare_words(like), None if source is None else bare_words(source), environment
            )
            print(f"{kind} {run.agent}{' ' * bool(run.variant)}{run.variant}: {found[key].words}", flush=True)
        one = found[key]
        episodes = int(dict(word.split("=", 1) for word in run.words).get("episodes", 0))
        played = episodes * max(one.skills, 1) * (one.episode or 0.0)
        seconds[run.name] = played if run.kind == "skills" else one.seconds
    return seconds


def _keep(places: Places, seconds: Mapping[str, float]) -> None:
    """The estimate is remembered beside the runs, for the report; without a folder that may be written to it is not."""
    try:
        places.folder.mkdir(parents=True, exist_ok=True)
        with lock_file(places.folder / LOCK, note=NOTE):
            journal = Journal(places.folder)
            journal.estimates.update(seconds)
            journal.write()
    except (OSError, Busy) as error:
        print(f"note: the estimate could not be kept for the report ({error or 'the study is running'})")


class _Screen:
    """Lines, and on a terminal one at the bottom that is drawn anew."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._width = os.get_terminal_size(sys.stdout.fileno()).columns if self._terminal else 0

    def say(self, text: str) -> None:
        clear = "\r\x1b[K" if self._terminal else ""
        print(f"{clear}{text}", flush=True)

    def show(self, line: str) -> None:
        if self._terminal:
            print(f"\r\x1b[K{line[: self._width - 1]}", end="", flush=True)
