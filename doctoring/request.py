"""The command line that is asked about: which script it is for, its settings, and where the run would write.

Imports Hydra and torch when it is read, not before.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from utils.errors import UserError

if TYPE_CHECKING:
    from entry.scripts import Script
    from training.settings import OffPolicyKeys

FLAGS_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--info", "-i", "--hydra-help")


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
    """The words of a command line, sorted; flags such as ``--multirun`` are dropped."""

    script: str | None
    """File name of the script it names, None without."""
    overrides: list[str]
    hydra: list[str]
    """Overrides of Hydra itself."""

    @property
    def run_dir(self) -> Path | None:
        """``hydra.run.dir``, as far as it is known before the run: up to the first value that Hydra fills in."""
        given = [word.partition("=")[2] for word in self.hydra if word.startswith("hydra.run.dir=")]
        path = given[-1].strip("'\"").partition("${")[0] if given else ""
        return Path(path).absolute() if path else None


def split(arguments: Sequence[str]) -> CommandLine:
    """Sort the words of a command line; a script's name may stand in front of them."""
    overrides: list[str] = []
    hydra: list[str] = []
    script = None
    words = iter(arguments)
    for word in words:
        if word.startswith("-"):
            if word in FLAGS_WITH_VALUE:
                next(words, None)
        elif "=" not in word and word.endswith(".py"):
            script = Path(word).name
        elif word.lstrip("+~").startswith("hydra"):
            hydra.append(word)
        elif word.startswith("drq_preset="):  # its former name says which script is meant
            script = script or "drq_train.py"
            overrides.append(word.removeprefix("drq_"))
        else:
            overrides.append(word)
    return CommandLine(script, overrides, hydra)


def read(arguments: Sequence[str]) -> Request:
    """Compose and check the settings as the scripts do. Raises :class:`UserError`, or what Hydra raises."""
    line = split(arguments)
    for word in line.overrides:
        if "=" not in word and not word.startswith("~"):
            raise UserError(f"{word} is no override. Write key=value.")
    from entry.settings import settings_of

    phase = _fitting(line) if line.script is None else _named(line.script)
    settings, first_of_sweep = _compose(phase, line)
    if (folder := _folder_to_resume(settings["resume"], line)) is not None:
        return _resumed(folder, line)
    return Request(phase, settings_of(phase, settings), line.run_dir, first_of_sweep)


def _named(script: str) -> str:
    """The phase of a script. Raises :class:`UserError` when there is none of that name."""
    from entry.scripts import SCRIPTS

    phases = {entry.file: phase for phase, entry in SCRIPTS.items()}
    if script not in phases:
        raise UserError(f"{script} is none of the scripts. Name {', '.join(phases)}, or leave it out.")
    return phases[script]


def _fitting(line: CommandLine) -> str:
    """The first script whose keys accept all overrides; without one, that which refuses the fewest.

    Its complaint is then the one to be shown.
    """
    from entry.scripts import SCRIPTS

    refused: dict[str, int] = {}
    for phase in SCRIPTS:
        if _accepts(phase, [*line.overrides, *line.hydra]):
            return phase
        refused[phase] = sum(not _accepts(phase, [word, *line.hydra]) for word in line.overrides)
    return min(refused, key=lambda phase: refused[phase])


def _accepts(phase: str, overrides: list[str]) -> bool:
    from hydra.errors import HydraException

    from entry.cli import check_overrides

    try:
        check_overrides(phase, overrides)
    except (UserError, HydraException):  # the latter for a group of another script
        return False
    return True


def _compose(phase: str, line: CommandLine) -> tuple[dict[str, Any], bool]:
    """The settings of the (first) job, and whether there would be more."""
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from entry.cli import check_overrides
    from utils.config import configs_of, to_plain

    check_overrides(phase, [*line.overrides, *line.hydra])
    parsed = [OverridesParser.create().parse_override(word) for word in line.overrides]
    sweeps = any(override.is_sweep_override() for override in parsed)
    first = [
        f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        if override.is_sweep_override()
        else override.input_line
        for override in parsed
    ]
    with initialize_config_dir(str(configs_of(phase)), version_base="1.3"):
        return to_plain(compose(phase, [word for word in first if word])), sweeps


def _folder_to_resume(resume: str | None, line: CommandLine) -> Path | None:
    """The run folder that ``resume=`` names; None for a fresh run, also of ``resume=auto``."""
    from utils.config import CONFIG_FILE, latest_run

    if resume == "auto":
        return line.run_dir if line.run_dir is not None and (line.run_dir / CONFIG_FILE).is_file() else None
    if resume is None:
        return None
    return (latest_run() if resume == "latest" else Path(resume)).absolute()


def _resumed(folder: Path, line: CommandLine) -> Request:
    """The stored settings of a run that would go on, with what the command line may and does change."""
    from entry.scripts import SCRIPTS
    from entry.settings import settings_of
    from entry.stored import PHASE, read_config, stored_settings
    from utils.config import get, put

    phase = read_config(folder)[PHASE]  # of the run itself, whichever script the words would fit
    asked, _ = _compose(phase, line)
    given = {word.lstrip("+").partition("=")[0] for word in line.overrides}
    settings = stored_settings(folder, asked)
    for key in given & set(SCRIPTS[phase].safe_on_resume):
        put(settings, key, get(asked, key))
    return Request(phase, settings_of(phase, settings), folder, False)
