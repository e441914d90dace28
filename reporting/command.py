"""One self-contained HTML page about a snapshot: what it is, what its skills do, what its model knows.

python report.py snapshot=pretrained_models/pixels/walker/deviation_dreamer/1/snapshot_2000000.pt
python report.py snapshot=exp_local/2026.11.27/093000_dreamer episodes=5 skills=all html=dreamer.html
python report.py snapshot=rnd_models_single_run/2026-11-27T09-00-00 sections=what,skills,coverage

A snapshot file, a run folder (its newest snapshot), or a folder of rest_train.py's models. Everything is played anew,
from the same starts; nothing is learned, nothing is fetched. Options are written key=value or --key value.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from analysis.rest_play import chosen, models_at
from analysis.snapshot_tool import add_named, check_request, progress
from entry.places import located
from entry.stored import read_config
from reporting import behaviour, model, origin, rest
from reporting.page import Html, Part, Tile, code, page, paragraph
from reporting.rest import RestSubject
from reporting.subject import Effort, NotHere, Subject
from training.named_snapshot import absolute, near, read_named
from utils.advice import in_shell
from utils.config import CONFIG_FILE
from utils.errors import UserError, exit_status, unknown_value
from utils.report import write_file
from utils.words import parse_words

TITLES = {
    "what": "What it is",
    "curves": "Learning curves",
    "skills": "What it does",
    "coverage": "State coverage",
    "probe": "Can skills be told apart?",
    "latents": "Map of the latent states",
    "open_loop": "Open-loop predictions",
    "tasks": "Returns on all tasks",
    "model": "World model on fresh episodes",
}
"""Sections by their words, in the order of the page."""

Sections = Mapping[str, Callable[[], Html]]


def sections_of(subject: Subject) -> Sections:
    """What is said of Dreamer's family and DrQ."""
    return {
        "what": lambda: origin.what(subject.content, subject.path),
        "curves": lambda: origin.curves(subject.run, subject.content),
        "skills": lambda: behaviour.skills(subject),
        "coverage": lambda: behaviour.covered(subject),
        "probe": lambda: behaviour.told_apart(subject),
        "latents": lambda: model.latents(subject),
        "open_loop": lambda: model.open_loop(subject),
        "tasks": lambda: behaviour.tasks(subject),
        "model": lambda: model.held_out(subject),
    }


def sections_of_models(subject: RestSubject) -> Sections:
    """What is said of ReST's skills."""

    def without() -> Html:
        raise NotHere("Its skills are policies alone: there is no model, and they have no latent states.")

    return {
        "what": lambda: origin.what(subject.content, subject.path),
        "curves": lambda: origin.curves(subject.run, subject.content),
        "skills": lambda: rest.skills(subject),
        "coverage": lambda: rest.covered(subject),
        "probe": lambda: rest.told_apart(subject),
        "latents": without,
        "open_loop": without,
        "tasks": lambda: rest.returns(subject),
        "model": without,
    }


def made(sections: Sections, wanted: Sequence[str], tell: Callable[[str], None]) -> list[Part]:
    """The parts of the page: one that has nothing to say does so in a line, and so does one that fails."""
    parts = []
    for key in wanted:
        begun = time.monotonic()
        try:
            body = sections[key]()
        except NotHere as none:
            body = paragraph(none, "note")
        except Exception as error:  # one section is not worth the others
            reason = (str(error) or type(error).__name__).splitlines()[0]
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            body = paragraph(f"This section failed: {kind}{reason}", "failed")
            tell(f"{TITLES[key]}: failed, {kind}{reason}")
        parts.append(Part(key, TITLES[key], body))
        tell(f"{TITLES[key]}: {time.monotonic() - begun:.0f} s")
    return parts


def tiles(subject: Subject | RestSubject) -> list[Tile]:
    """What is shown large at the top."""
    content, numbers = subject.content, subject.numbers
    found = [
        Tile("frames", f"{content['frame']:,}", f"{content['phase']}, seed {content['config']['seed']}"),
    ]
    if "coverage" in numbers:
        ours, theirs = numbers["coverage"]
        found.append(Tile("states covered", str(ours), f"random actions: {theirs}"))
    if "probe" in numbers:
        probed, chance = numbers["probe"]
        found.append(Tile("skills named", f"{probed.accuracy:.0%}", f"chance: {chance:.0%}"))
    if "return" in numbers:
        name, best, task = numbers["return"]
        found.append(Tile("best return", f"{best:.0f}", f"{name}, {task}"))
    if "open loop" in numbers:
        found.append(Tile("prediction error", f"{numbers['open loop']:.2f}", "times a still image's"))
    return found


def report(options: argparse.Namespace) -> tuple[str, list[Part]]:
    """The page that the command line asks for; writes nothing. Raises :class:`UserError`."""
    name = options.snapshot or options.file
    if name is None or (options.snapshot and options.file):
        raise UserError("name one snapshot: report.py snapshot=<file or run folder>. --help says more.")
    wanted = _sections(options.sections)
    if not 1 <= options.episodes <= 100:
        raise UserError(f"episodes={options.episodes} is not possible. Set it to a whole number from 1 to 100.")
    check_request(options.seed, {"--html": options.html})
    effort = Effort(options.episodes, options.skills, options.tasks, options.seed)
    run = None if options.run is None else absolute(options.run)
    if run is not None and not (run / CONFIG_FILE).is_file():
        raise UserError(f"run={options.run} holds no run ({CONFIG_FILE} is missing). Name a run folder.")
    path = absolute(name)
    if path.is_dir() and (path / CONFIG_FILE).is_file():
        path, run = newest(path), run or path
    begun = time.monotonic()
    if (turned := models_at(path)) is not None:
        skilled = RestSubject(turned, run, effort, progress)
        chosen(skilled.restored.agent.num_skills, effort.skills or "all")
        subject: Subject | RestSubject = skilled
        parts = made(sections_of_models(skilled), wanted, progress)
    else:
        content = read_named(path, "snapshot")
        subject = acting = Subject(path, content, run, effort, options.named, progress)
        acting.to_play()  # what is not possible is refused before anything is played
        behaviour.wanted_tasks(acting)
        parts = made(sections_of(acting), wanted, progress)
    config = subject.content["config"]
    subject_of = config["task"] if config["phase"] != "pretrain" or config["domain"] == "none" else config["domain"]
    title = f"{subject.content['agent']} on {subject_of}"
    under = Html(f"{code(name)} after {subject.content['frame']:,} frames")
    line = " ".join(in_shell(word) for word in options.words)
    seconds = f"on {date.today().isoformat()}, in {time.monotonic() - begun:.0f} s"
    footer = Html(f"Made by {code(f'python report.py {line}')} {seconds}.")
    return page(title, under, tiles(subject), parts, footer), parts


def newest(run: Path) -> Path:
    """The newest snapshot of the run in ``run``: a file, or a folder of ReST's models. Raises :class:`UserError`."""
    config = located(read_config(run), run)
    if config["phase"] == "rest":
        folder = Path(config["snapshot_base_dir"], config.get("timestamp") or run.name)
        if (turned := models_at(folder)) is not None:
            return turned.path
        raise UserError(f"{run}: there are no models in {folder} yet. Name a folder of models.")
    own = [run / "finetuned_snapshot.pt", *run.glob("models/*.pt")]
    written = Path(config["snapshot_dir"]).glob("snapshot_*.pt") if config.get("snapshot_dir") else ()
    there = [path for path in (*own, *written) if path.is_file()]
    for path in sorted(there, key=lambda path: path.stat().st_mtime, reverse=True):
        if read_named(path, "snapshot").get("run_id") == config.get("run_id"):
            return path
    raise UserError(f"{run} has written no snapshot, or it lies elsewhere now. Name the file.{near(run, 'snapshot')}")


def _sections(asked: str) -> list[str]:
    words = list(TITLES) if asked == "all" else [word.strip() for word in asked.split(",")]
    for word in words:
        if word not in TITLES:
            raise unknown_value("sections", word, (*TITLES, "all"))
    return [key for key in TITLES if key in words]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser("report.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    found.add_argument("file", nargs="?", metavar="SNAPSHOT", help="the snapshot; or snapshot=<file>")
    found.add_argument("--snapshot", metavar="FILE", help="a snapshot, a run folder, or a folder of ReST's models")
    found.add_argument("--run", metavar="FOLDER", help="the run's folder, if it was moved")
    found.add_argument("--html", type=Path, default=Path("report.html"), help="what to write (default: report.html)")
    found.add_argument("--episodes", type=int, default=2, help="of everything that is played (default: 2)")
    found.add_argument("--skills", help="all, none, or numbers: 0,3,5 (default: all, of more than 8 as many)")
    found.add_argument("--tasks", default="all", help="all of the domain, or some: walker_run,walker_flip")
    found.add_argument("--sections", default="all", help=f"some of {','.join(TITLES)} (default: all)")
    found.add_argument("--seed", type=int, default=0, help="of starts, latent states and random actions (default: 0)")
    add_named(found)
    return found


@exit_status
def main(words: Sequence[str] | None = None) -> None:
    """Writes one page."""
    given: Any = list(sys.argv[1:] if words is None else words)
    options = parse_words(given, parser())
    options.words = given
    text, parts = report(options)
    write_file(options.html, lambda path: path.write_text(text, encoding="utf-8"))
    failed = [part.title for part in parts if 'class="failed"' in part.body]
    said = f" (failed: {', '.join(failed)})" if failed else ""
    print(f"{options.html}: {len(text.encode()) / 2**20:.1f} MB, {len(parts)} sections{said}")
