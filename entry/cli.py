"""The command line: Hydra's entry with errors a user can read, run folders, and checks of overrides."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
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

from entry.help import FLAGS, help_text
from entry.stored import FORMER_PRESET
from entry.unknown_key import hint, other_group
from utils.config import CONFIG_FILE, configs_of, flatten, resume_words
from utils.errors import UserError, exit_status, unknown_value
from utils.folders import remove_empty
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
            remove_empty(folder)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                # the sweep's other jobs go on; it ends with exit status 1
                print(f"job {HydraConfig.get().job.num}: error: {error}", file=sys.stderr)
                raise
            raise SystemExit(f"error: {str(error).strip()}") from None
        except KeyboardInterrupt:
            words = resume_words(folder, config)
            print(f"\nstopped; the run's files are in {folder} (continue with {words})", file=sys.stderr)
            raise

    return wrapped


def cli(main: Callable[[], None], config_name: str) -> None:
    """Run a ``@hydra.main`` function: user errors end in one message and exit status 1, never in a traceback."""
    # let exceptions come here instead of Hydra's own report
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        sys.argv[1:] = present_names(config_name, sys.argv[1:])
        chosen = check_overrides(config_name, sys.argv[1:])
        if set(FLAGS) & set(sys.argv[1:]):
            sys.exit(exit_status(print)(help_text(config_name, chosen)))
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


def check_overrides(config_name: str, arguments: Iterable[str]) -> list[tuple[str, str]]:
    """Refuse unknown keys and unknown group options of a command line, naming the nearest match.

    Returns the (group, option) pairs it chooses. Raises :class:`UserError`. Keys that ``+`` adds are left to
    :func:`entry.settings.settings_of`.
    """
    arguments = list(arguments)
    parser = OverridesParser.create()
    overrides = [_parse(parser, a) for a in arguments if not a.startswith("-") and ("=" in a or a.startswith("~"))]
    own = _own_folders(arguments, overrides)
    for override in overrides:
        if not override.is_add() and (elsewhere := other_group(override.key_or_group, config_name)):
            raise UserError(f"{override.input_line}: {elsewhere}")
    with initialize_config_dir(str(configs_of(config_name)), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        groups = {o.key_or_group: o for o in overrides if loader.get_group_options(o.key_or_group)}
        for name, override in groups.items():
            _check_options(_options(loader, name, own), name, override)
        chosen = _chosen(groups.values())
        known = _known_keys(config_name, chosen, own)
        known_or_group = [*known, *loader.get_group_options("", ObjectType.GROUP)]
    for override in overrides:
        key = override.key_or_group
        if key in groups or key.startswith("hydra") or override.is_add() or override.is_delete():
            continue
        if key == "resume":
            _check_resume(override.value(), {o.key_or_group: o.value() for o in overrides})
        if key not in known and not any(name.startswith(f"{key}.") for name in known):
            near = hint(key, known_or_group)
            raise UserError(f"{override.input_line}: there is no key {key}.{near} --cfg job prints them all.")
    return [(override.key_or_group, option) for override, option in chosen]


def _own_folders(arguments: Sequence[str], overrides: Iterable[Override]) -> list[str]:
    """Where a command line has Hydra look for configurations besides ours, as entries of ``hydra.searchpath``."""
    folders = [word.partition("=")[2] for word in arguments if word.startswith("--config-dir=")]
    folders += [folder for flag, folder in pairwise(arguments) if flag in ("--config-dir", "-cd")]
    own = [f"file://{Path(folder).absolute()}" for folder in folders]
    for override in overrides:
        if override.key_or_group == "hydra.searchpath" and isinstance(paths := override.value(), list):
            own += [str(path) for path in paths]
    return own


def _options(loader: ConfigLoader, group: str, own: Iterable[str]) -> list[str]:
    """The options of a group, also those in the folders ``own``."""
    folders = [Path(path.removeprefix("file://"), group) for path in own if path.startswith("file://")]
    return sorted({*loader.get_group_options(group), *(path.stem for f in folders for path in f.glob("*.yaml"))})


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


def _check_options(options: Sequence[str], name: str, override: Override) -> None:
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


def _check_resume(folder: object, given: Mapping[str, object]) -> None:
    if folder == "auto" and not {"hydra.run.dir", "hydra.sweep.dir"} & set(given):
        raise UserError(
            "resume=auto needs a folder that stays the same: add hydra.run.dir=<folder>, or hydra.sweep.dir=<folder> "
            "with --multirun."
        )
    if folder in (None, "auto"):
        return
    other = given.get("hydra.run.dir", folder)
    if other != folder:
        raise UserError(
            f"resume={folder} goes on in the folder of that run, not in hydra.run.dir={other}. Leave that out; "
            "a job that begins there or goes on takes resume=auto."
        )
    if folder != "latest" and not (Path(str(folder)) / CONFIG_FILE).is_file():
        raise UserError(
            f"resume={folder}: this folder holds no run ({CONFIG_FILE} is missing). Name a run folder, or latest."
        )


def _chosen(groups: Iterable[Override]) -> list[tuple[Override, str]]:
    """Each with the option it chooses, the first one where it is a sweep."""
    values = ((override, override.value()) for override in groups)
    options = ((override, v.list[0] if isinstance(v, ChoiceSweep) else v) for override, v in values)
    return [(override, option) for override, option in options if isinstance(option, str)]


def _known_keys(config_name: str, chosen: Iterable[tuple[Override, str]], own: Sequence[str]) -> list[str]:
    # a group that + adds is not in the defaults
    words = [f"{'+' if override.is_add() else ''}{override.key_or_group}={option}" for override, option in chosen]
    words += [f"hydra.searchpath={json.dumps(own)}"] if own else []
    return list(flatten(compose(config_name, words)))
