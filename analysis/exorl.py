"""``python -m analysis.exorl export | import | check``: data sets in the format of ExORL (Yarats et al. 2022).

``export RUN_FOLDER OUT`` writes the episodes of a run, ``import FOLDER`` converts a data set as ``offline_train.py``
would, ``check FOLDER`` reads every file of one and says what it holds. None changes a run or a data set.
"""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from analysis.exorl_check import check
from analysis.exorl_export import export
from envs.make import DOMAINS, TASKS, body, validate_task
from envs.relabel import check_relabel, relabeller
from replay import exorl
from replay.converted import CACHE_VARIABLE, Conversion, conversion, converted, default_cache
from replay.exorl import Sizes
from replay.files import readable
from utils.errors import UserError, exit_status, unknown_value

EVERY = 1.0
"""Seconds between two looks at how far it has come."""


def sizes_of(domain: str, exorl: bool) -> Sizes:
    """Of data of ``domain``, in ExORL's variant of it. Raises :class:`UserError` for one that is not known."""
    if domain not in DOMAINS:
        raise unknown_value("--domain", domain, DOMAINS)
    moved = body(TASKS[domain][0], exorl)
    return Sizes(moved.observed, moved.actions, moved.state)


def domain_of(source: Path, given: str | None, relabel: str | None) -> str:
    """The domain of a data set: given, of the task to relabel, of the run it is from, or the folder's that it is in."""
    if given is not None:
        return given
    if relabel is not None:
        return validate_task(relabel)[0]
    named = exorl.read_about(source).get("domain")
    if named is not None:
        return str(named)
    for part in reversed(source.resolve().parts):
        if part in DOMAINS:
            return part
    raise UserError(f"{source} does not say of which domain it is. Add --domain <domain>.")


def is_variant(source: Path) -> bool:
    """Whether data are of ExORL's variant of their domain: those of others are, exports of ours say it."""
    return bool(exorl.read_about(source).get("exorl", True))


def planned(options: argparse.Namespace) -> Conversion:
    """What ``import`` is to convert. Raises :class:`UserError` for what cannot be."""
    domain = domain_of(options.folder, options.domain, options.relabel)
    if options.relabel is not None:
        check_relabel(domain, options.relabel)
    if options.capacity < 1:
        raise UserError(f"--capacity={options.capacity} is not possible. Set it to a whole number above 0.")
    return conversion(
        options.folder,
        domain=domain,
        sizes=sizes_of(domain, is_variant(options.folder)),
        capacity=options.capacity,
        label=options.relabel or "",
        physics=options.physics,
    )


def bring_in(options: argparse.Namespace) -> None:
    """Convert a data set, unless that was done before; print where the replay lies."""
    wanted = planned(options)
    began = time.monotonic()
    print(f"{len(wanted.files):,} episodes, {wanted.records:,} records, {readable(wanted.nbytes)} on the disk")
    relabel = None if options.relabel is None else relabeller(options.relabel, is_variant(options.folder))
    folder = converted(wanted, options.cache or default_cache(), relabel=relabel, progress=Watched("file"), say=print)
    print(f"{folder}  {time.monotonic() - began:.1f} s")


class Watched:
    """Shows someone at a terminal how far it has come."""

    def __init__(self, what: str) -> None:
        self._what, self._said = what, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and (time.monotonic() - self._said > EVERY or done == total):
            self._said = time.monotonic()
            end = "\n" if done == total else ""
            print(f"\r{self._what} {done:,} of {total:,} ({done / total:.0%})", file=sys.stderr, end=end, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser("python -m analysis.exorl", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    out = commands.add_parser("export", help="write the episodes of a run as a data set")
    out.add_argument("folder", type=Path, metavar="RUN_FOLDER")
    out.add_argument("out", type=Path, metavar="OUT", help="a new or empty folder")
    out.add_argument("--keep-repeat", action="store_true", help="a row per agent step where action_repeat is above 1")
    into = commands.add_parser("import", help="convert a data set into a replay in the cache")
    into.add_argument("folder", type=Path, metavar="FOLDER")
    into.add_argument("--domain", help="where neither the folder nor the task to relabel says it")
    into.add_argument("--capacity", type=int, default=2_000_000, help="transitions at most (default: %(default)s)")
    into.add_argument("--relabel", metavar="TASK", help="store the reward of this task, from the simulator's states")
    into.add_argument("--physics", action="store_true", help="keep the simulator's states")
    into.add_argument(
        "--cache", type=Path, metavar="FOLDER", help=f"default: ${CACHE_VARIABLE}/exorl, {default_cache()}"
    )
    look = commands.add_parser("check", help="read every file of a data set and say what it holds")
    look.add_argument("folder", type=Path, metavar="FOLDER")
    return made


def send_out(options: argparse.Namespace) -> None:
    """Export a run; print what was written."""
    watched: Callable[[int, int], None] = Watched("episode")
    done = export(options.folder, options.out, keep_repeat=options.keep_repeat, progress=watched)
    print(f"{options.out}  {done.episodes:,} episodes, {done.transitions:,} transitions")


@exit_status
def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one of the three commands."""
    options = parser().parse_args(arguments)
    if options.command == "export":
        send_out(options)
    elif options.command == "import":
        bring_in(options)
    else:
        print(check(options.folder, Watched("file")))


if __name__ == "__main__":
    sys.exit(main())
