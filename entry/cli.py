"""The command line: Hydra's entry with errors a user can read, run folders, and checks of overrides."""

import functools
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entry.composing import REFUSALS, Composed, Refused, compose, hydra_put_back, read_words
from entry.folders import check_resume, home_of, sweep_folder, with_home
from entry.help import help_text
from entry.launchers import check_cluster, check_search, lost, of_launcher
from entry.loader import taking_over
from entry.refusal import told
from entry.stored import FORMER_PRESET
from entry.sweep import check_jobs, swept
from entry.sweep_table import Outcome, begun, conclude, recorded
from training.interrupt import StopSignal
from utils.advice import ROOT
from utils.config import CONFIG_FILE, only_shown, resume_words, unresolved
from utils.errors import UserError, exit_status
from utils.folders import remove_empty
from utils.latest import asking
from utils.process import STOPPED, interruptible, leave_on_signals
from utils.streams import protect

_job_started = False

Job = Callable[[DictConfig], float | None]


def job_errors(job: Job) -> Job:
    """Decorator below ``@hydra.main``: shows a :class:`UserError` as a message and an interrupt as one line."""

    @functools.wraps(job)
    def wrapped(config: DictConfig) -> float | None:
        global _job_started
        _job_started = True
        protect(announce=True)  # a launcher's process has not been through cli()
        folder, sweep = run_folder(), HydraConfig.get().mode == RunMode.MULTIRUN
        with _noted(folder) if sweep else nullcontext(Outcome()) as outcome, StopSignal.standing() as stop:
            try:
                outcome.finished(job(config))
                if sweep:  # a signal that came when this job had nothing left to save is meant for the others
                    stop.check()
                return outcome.result
            except (UserError, OmegaConfBaseException) as error:  # the latter from ${...} that leads nowhere
                remove_empty(folder)
                text = unresolved(error) if isinstance(error, OmegaConfBaseException) else str(error).strip()
                if sweep:
                    # the sweep's other jobs go on; it ends with exit status 1
                    outcome.refused(text)
                    print(f"job {HydraConfig.get().job.num}: error: {text}", file=sys.stderr)
                    stop.check()
                    raise
                raise SystemExit(f"error: {text}") from None
            except KeyboardInterrupt:
                if (folder / CONFIG_FILE).exists():
                    words = resume_words(folder, config)
                    print(f"\nstopped; the run's files are in {folder} (continue with {words})", file=sys.stderr)
                else:
                    remove_empty(folder)
                    print("\nstopped before the run had begun", file=sys.stderr)
                raise

    return wrapped


def cli(main: Callable[[], None], config_name: str) -> None:
    """Run a ``@hydra.main`` function: user errors end in one message and exit status 1, never in a traceback; stop
    signals in status 130.
    """
    leave_on_signals()
    # let exceptions come here instead of Hydra's own report
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with interruptible():  # after it one more signal ends this process where it is
            sys.argv[1:] = present_names(config_name, with_home(sys.argv[1:]))
            _start(main, config_name, read_words(sys.argv[1:]))
    except UserError as error:
        raise SystemExit(f"error: {str(error).strip()}") from None
    except OSError as error:
        if _job_started or error.filename is None:
            raise
        raise SystemExit(
            f"error: hydra.run.dir: cannot use {error.filename}: {error.strerror}. Choose a folder you may write to."
        ) from None
    except KeyboardInterrupt:
        raise SystemExit(STOPPED) from None


def _start(main: Callable[[], None], config_name: str, asked: Namespace) -> None:
    """Hand a command line that leads to something to Hydra. Raises :class:`UserError` for one that does not."""
    if asked.help:
        sys.exit(exit_status(print)(help_text(config_name, checked(config_name, asked).choices)))
    shows = asked.cfg or asked.info or asked.hydra_help or asked.shell_completion
    around: AbstractContextManager[object] = only_shown() if shows else nullcontext()
    composed = Composed([], False)
    if not (shows or asked.experimental_rerun):
        last = max((at for at, word in enumerate(sys.argv) if word in asked.overrides), default=len(sys.argv) - 1)
        composed = checked(config_name, asked)
        check_jobs(config_name, composed)
        sys.argv[last + 1 : last + 1] = begin(composed)
        if not composed.sweep:  # Hydra makes the run's folder, and only the job can take it back
            around = StopSignal()
    try:
        completing = asked.shell_completion  # of half a path, maybe
        taken = nullcontext() if completing else taking_over(config_name)
        with asking(config_name), hydra_put_back(), taken, around:
            main()
    except Exception as error:
        if begun and of_launcher(error):
            raise lost(error, begun[-1]) from error
        if not isinstance(error, REFUSALS):
            raise
        if _job_started and not isinstance(error, HydraException | OmegaConfBaseException):
            raise
        raise told(config_name, asked, error) from error
    finally:
        for folder in begun:
            conclude(folder, composed.known)
            remove_empty(folder)
        begun.clear()


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


def begin(composed: Composed) -> list[str]:
    """Prepare this process for the jobs; returns overrides to go after those of the command line."""
    job = composed.jobs[0]
    if composed.sweep:  # launchers start processes that have to import the packages, whatever folder they start in
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        check_cluster(job)
        check_search(job)
    return [*home_of(job, composed.sweep), *([*sweep_folder(job), *swept(composed)] if composed.sweep else [])]


def _noted(folder: Path) -> AbstractContextManager[Outcome]:
    return recorded(started_in() / os.path.expanduser(str(HydraConfig.get().sweep.dir)), folder)


def run_folder() -> Path:
    """The folder Hydra made for this job."""
    return _known("output_dir")


def started_in() -> Path:
    """The folder the command was given in; ``hydra.job.chdir`` may have left it since."""
    return _known("cwd")


def _known(key: str) -> Path:
    runtime = OmegaConf.to_container(HydraConfig.get().runtime, resolve=False)  # a name may have a ${ in it
    assert isinstance(runtime, dict)
    return Path(runtime[key])


def check_overrides(config_name: str, arguments: Sequence[str]) -> Composed:
    """What Hydra makes of a command line of the script ``config_name``.

    Raises :class:`UserError` where it makes nothing of it, naming the nearest match, and where ``resume`` and the
    folders do not go together. Values, and keys that ``+`` adds, are left to :func:`entry.settings.settings_of`.
    """
    return checked(config_name, read_words(arguments))


def checked(config_name: str, asked: Namespace) -> Composed:
    """:func:`check_overrides` for words that are sorted."""
    try:
        composed = compose(config_name, asked)
        for job in composed.jobs:
            check_resume(job, composed.sweep)
    except (*REFUSALS, OSError, UserError) as error:  # OSError for files of the user's own
        refused: Refused | None = getattr(error, "refused", None)
        if refused is None:
            raise _in_words(config_name, asked, error) from error
        words: dict[str, str] = {}  # to find them takes Hydra a second
        for _, one in refused.faults:
            words[str(one)] = words.get(str(one)) or str(_in_words(config_name, asked, one))
        raise UserError(refused.known.together([(job, words[str(one)]) for job, one in refused.faults])) from error
    return composed


def _in_words(config_name: str, asked: Namespace, error: Exception) -> UserError:
    return error if isinstance(error, UserError) else told(config_name, asked, error)
