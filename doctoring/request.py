"""The command line that is asked about: which script it is for, its settings, and where the run would write.

Imports Hydra and torch when it is read, not before.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from utils.errors import UserError

if TYPE_CHECKING:
    from argparse import Namespace

    from entry.scripts import Script
    from training.settings import OffPolicyKeys


class Request(NamedTuple):
    """A command line that the checks of the scripts let pass."""

    phase: str
    """A key of ``entry.scripts.SCRIPTS``."""
    settings: "OffPolicyKeys"
    """Checked."""
    run_dir: Path | None
    """The run folder, where the command line names it."""
    first_of_sweep: bool
    """Whether ``settings`` are those of the first of several jobs."""
    choices: Mapping[str, str] = {}  # noqa: RUF012
    """The chosen file of each configuration group."""

    @property
    def script(self) -> "Script":
        """What distinguishes it."""
        from entry.scripts import SCRIPTS

        return SCRIPTS[self.phase]

    def worded(self, notes: list[str]) -> list[str]:
        """Notes with keys in backquotes, by the names that the script has for them."""
        from utils.settings import in_words

        return [in_words(note, self.script.aliases.published) for note in notes]


class CommandLine(NamedTuple):
    """The words of a command line, the script's name apart."""

    script: str | None
    """File name of the script it names, None without."""
    words: list[str]

    def value(self, key: str) -> str | None:
        """What the words themselves say of a key, for where they lead to no settings."""
        given = [word.partition("=")[2] for word in self.words if word.startswith(f"{key}=")]
        return given[-1] if given else None


def split(arguments: Sequence[str]) -> CommandLine:
    """Take the script's name, which may stand in front, out of the words of a command line."""
    names = [word for word in arguments if word.endswith(".py") and "=" not in word and not word.startswith("-")]
    words = [word for word in arguments if word not in names]
    script = Path(names[-1]).name if names else None
    if any(word.startswith("drq_preset=") for word in words):  # its former name says which script is meant
        script = script or "drq_train.py"
        words = [
            word.replace("drq_preset=", "preset=", 1) if word.startswith("drq_preset=") else word for word in words
        ]
    return CommandLine(script, words)


def read(arguments: Sequence[str]) -> Request:
    """Compose and check the settings as the scripts do. Raises :class:`UserError`, or what Hydra raises."""
    from entry.cli import checked
    from entry.composing import read_words
    from entry.folders import given_folder, with_home
    from entry.settings import settings_of, settled

    line = split(arguments)
    asked = read_words(with_home(line.words), sorted_by_us=True)
    phase = _fitting(asked) if line.script is None else _named(line.script)
    found = checked(phase, asked)
    settings = settled(found)
    folder = given_folder(found.jobs[0], found.sweep)
    resumed = _folder_to_resume(settings["resume"], folder, phase if line.script else None)
    if resumed is not None:
        return _resumed(resumed, asked)
    return Request(phase, settings_of(phase, settings), folder, found.sweep, found.choices)


def _named(script: str) -> str:
    """The phase of a script. Raises :class:`UserError` when there is none of that name."""
    from entry.scripts import SCRIPTS

    phases = {entry.file: phase for phase, entry in SCRIPTS.items()}
    if script not in phases:
        raise UserError(f"{script} is none of the scripts. Name {', '.join(phases)}, or leave it out.")
    return phases[script]


def _fitting(asked: "Namespace") -> str:
    """The first script whose keys accept all overrides; without one, that which refuses the fewest.

    Its complaint is then the one to be shown.
    """
    from argparse import Namespace

    from entry.scripts import SCRIPTS

    refused: dict[str, int] = {}
    for phase in SCRIPTS:
        if _accepts(phase, asked):
            return phase
        alone = (Namespace(**vars(asked) | {"overrides": [word]}) for word in asked.overrides)
        refused[phase] = sum(not (_accepts(phase, one) or _names_file(phase, one)) for one in alone)
    return min(refused, key=lambda phase: refused[phase])


def _names_file(phase: str, asked: "Namespace") -> bool:
    """Whether the one override is a snapshot, which the script takes where there is one."""
    from entry.scripts import SCRIPTS
    from entry.taken_over import SNAPSHOT
    from utils.settings import fields_of

    return asked.overrides[0].startswith(f"{SNAPSHOT}=") and SNAPSHOT in fields_of(SCRIPTS[phase].keys)


def _accepts(phase: str, asked: "Namespace") -> bool:
    from entry.composing import REFUSALS, compose

    try:
        compose(phase, asked)
    except (UserError, *REFUSALS):
        return False
    return True


def _folder_to_resume(resume: str | None, given: Path | None, phase: str | None) -> Path | None:
    """The run folder that ``resume=`` names; None for a fresh run, also of ``resume=auto``."""
    import os

    from entry.folders import LATEST
    from entry.scripts import SCRIPTS
    from utils.latest import AUTO, CONFIG_FILE, latest_run

    if resume == AUTO:
        return given if given is not None and (given / CONFIG_FILE).is_file() else None
    if resume is None:
        return None
    if resume == LATEST:
        asking = SCRIPTS.values() if phase is None else [SCRIPTS[phase]]
        return latest_run(*(folder for script in asking for folder in script.folders), phase=phase).absolute()
    return Path(os.path.expanduser(resume)).absolute()


def _resumed(folder: Path, asked: "Namespace") -> Request:
    """The stored settings of a run that would go on, with what the command line changes."""
    from entry.cli import checked
    from entry.places import absolute
    from entry.resumed import resumed_settings
    from entry.settings import settings_of, settled
    from entry.stored import CHOICES, PHASE, read_config

    phase = read_config(folder)[PHASE]  # of the run itself, whichever script the words would fit
    found = checked(phase, asked)
    words = [str(word) for word in found.jobs[0].hydra.overrides.task]
    now = absolute(settled(found), Path.cwd()) | {CHOICES: found.choices}
    stored = resumed_settings(folder, now, words, phase)
    return Request(phase, settings_of(phase, stored), folder, False, stored[CHOICES])
