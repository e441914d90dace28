"""The command line: Hydra's entry with errors a user can read, run folders, and checks of overrides."""

import functools
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from entry.stored import FORMER_PRESET
from entry.unknown_key import hint, other_group
from utils.config import CONFIG_FILE, RUNS, configs_of, flatten, resume_words
from utils.errors import UserError, unknown_value
from utils.rules import shown

_job_started = False

Job = Callable[[DictConfig], None]


def job_errors(job: Job) -> Job:
    """Decorator below ``@hydra.main``: shows a :class:`UserError` as a message and an interrupt as one line."""

    @functools.wraps(job)
    def wrapped(config: DictConfig) -> None:
        global _job_started
        _job_started = True
        folder = run_folder()
        try:
            job(config)
        except (UserError, OmegaConfBaseException) as error:  # the latter from ${...} that leads nowhere
            _remove_empty(folder)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                # the sweep's other jobs go on; it ends with exit status 1
                print(f"job {HydraConfig.get().job.num}: error: {error}", file=sys.stderr)
                raise
            raise SystemExit(f"error: {str(error).strip()}") from None
        except KeyboardInterrupt:
            words = resume_words(folder, config.get("env_factory"))
            print(f"\nstopped; the run's files are in {folder} (continue with {words})", file=sys.stderr)
            raise

    return wrapped


def cli(main: Callable[[], None], config_name: str) -> None:
    """Run a ``@hydra.main`` function: user errors end in one message and exit status 1, never in a traceback."""
    # let exceptions come here instead of Hydra's own report
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv[1:] = present_names(config_name, sys.argv[1:])
        check_overrides(config_name, sys.argv[1:])
        main()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        raise SystemExit(f"error: {str(error).strip()}") from None
    except OSError as error:
        if _job_started or error.filename is None:
            raise
        raise SystemExit(
            f"error: hydra.run.dir: cannot use {error.filename}: {error.strerror}. Choose a folder you may write to."
        ) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def present_names(config_name: str, arguments: Iterable[str]) -> list[str]:
    """The words of a command line with names of earlier versions, which get a note, replaced by those of today.

    ``drq_preset=``, for one release, is ``preset=`` of ``drq_train.py``. Only the name is read: what stands behind the
    ``=`` is Hydra's to parse.
    """
    if config_name != "drq":
        return list(arguments)
    words = []
    for word in arguments:
        present = re.sub(rf"^([+~]*){FORMER_PRESET}(?==|$)", r"\1preset", word)
        if present != word:
            print(f"note: {word} is now {present}, as in every script", file=sys.stderr)
        words.append(present)
    return words


def run_folder() -> Path:
    """The folder Hydra made for this job."""
    return Path(HydraConfig.get().runtime.output_dir)


def _remove_empty(folder: Path) -> None:
    """A refused run leaves no empty folders behind."""
    for candidate in (folder, folder.parent, folder.parent.parent):
        try:
            candidate.rmdir()
        except OSError:
            return


def check_overrides(config_name: str, arguments: Iterable[str]) -> None:
    """Refuse unknown keys and unknown group options of a command line, naming the nearest match.

    Raises :class:`UserError`. Keys that ``+`` adds are left to :func:`entry.settings.settings_of`.
    """
    parser = OverridesParser.create()
    overrides = [_parse(parser, a) for a in arguments if not a.startswith("-") and ("=" in a or a.startswith("~"))]
    for override in overrides:
        if not override.is_add() and (elsewhere := other_group(override.key_or_group, config_name)):
            raise UserError(f"{override.input_line}: {elsewhere}")
    with initialize_config_dir(str(configs_of(config_name)), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = {o.key_or_group: o for o in overrides if loader.get_group_options(o.key_or_group)}
        for name, override in groups.items():
            _check_options(loader, name, override)
        known = _known_keys(config_name, groups.values())
        known_or_group = [*known, *loader.get_group_options("", ObjectType.GROUP)]
    for override in overrides:
        key = override.key_or_group
        if key in groups or key.startswith("hydra") or override.is_add() or override.is_delete():
            continue
        if key == "resume":
            _check_resume(override.value(), [o.key_or_group for o in overrides])
        if key not in known and not any(name.startswith(f"{key}.") for name in known):
            near = hint(key, known_or_group)
            raise UserError(f"{override.input_line}: there is no key {key}.{near} --cfg job prints them all.")


def _parse(parser: OverridesParser, argument: str) -> Override:
    try:
        override = parser.parse_override(argument)
    except (HydraException, ValueError) as error:  # the latter from a number of thousands of digits
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{shown(argument)}: not a valid override ({reason}). Write key=value, quoted for lists: 'a=[1,2]'."
        ) from None
    if not override.key_or_group:
        raise UserError(f"{shown(argument)}: there is no key before the =. Write key=value.")
    return override


def _check_options(loader: ConfigLoader, name: str, override: Override) -> None:
    options = loader.get_group_options(name)
    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    if override.is_delete():
        if not name.startswith("hydra"):
            raise UserError(f"~{name}: a run needs one. Set {name} to one of {', '.join(options)}.")
        return
    for option in values:
        # Hydra itself has groups of which one may choose several
        if not (name.startswith("hydra") and isinstance(option, list)) and option not in options:
            raise unknown_value(name, shown(option), options)


def _check_resume(folder: object, keys: Collection[str]) -> None:
    if folder == "auto" and not {"hydra.run.dir", "hydra.sweep.dir"} & set(keys):
        raise UserError(
            "resume=auto needs a folder that stays the same: add hydra.run.dir=<folder>, or hydra.sweep.dir=<folder> "
            "with --multirun."
        )
    if folder in (None, "latest", "auto"):
        return
    if not (Path(str(folder)) / CONFIG_FILE).is_file():
        raise UserError(
            f"resume={folder}: this folder holds no run ({CONFIG_FILE} is missing). Name a run folder under {RUNS}/."
        )


def _known_keys(config_name: str, groups: Iterable[Override]) -> list[str]:
    chosen = []
    for override in groups:
        value = override.value()
        option = value.list[0] if isinstance(value, ChoiceSweep) else value
        if isinstance(option, str):
            # a group that + adds is not in the defaults
            chosen.append(f"{'+' if override.is_add() else ''}{override.key_or_group}={option}")
    return list(flatten(compose(config_name, chosen)))
