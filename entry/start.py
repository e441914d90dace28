"""From a Hydra configuration to a running or resumed run."""

import errno
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from entry.cli import run_folder, started_in
from entry.composing import choices_of
from entry.folders import no_sweep
from entry.lock import FolderLock
from entry.objective import objective
from entry.places import absolute, portable
from entry.resumed import resumed_settings
from entry.run_folder import begins, refuse_foreign
from entry.scripts import SCRIPTS, Script
from entry.settings import settings_of, worded
from entry.stored import CHOICES, DIFFERS, PHASE, RUN_ID, TAKEN, stored_id
from preflight.room import short_of
from training.clock import Clock
from training.fitting import check_fits
from training.interrupt import StopSignal
from training.lost import CHECKPOINTED, refuse_lost
from training.resumed import check_folder
from training.run import CHECKPOINT, Origin, Run
from training.settings import RunKeys
from utils.advice import override
from utils.atomic import atomic_path
from utils.config import CONFIG_FILE, resume_words, to_plain
from utils.device import resolve_device
from utils.errors import UserError
from utils.heap import keep_freed_memory
from utils.latest import AUTO
from utils.logger import Logger
from utils.plain_yaml import dump
from utils.settings import in_words
from utils.variant import differing
from utils.wandb_log import wandb_settings

SHORT_RUN = 100_010
"""A length, in the unit of the script, that shows on a small machine whether something is learned."""


def start(config: DictConfig, phase: str) -> float | None:
    """The body of an entry script: settings from the command line or the resumed run's folder, then :func:`launch`.

    Returns the objective of a job of a sweep, if it has one.
    """
    StopSignal.standing().check()  # nothing is made yet
    run_dir = run_folder().absolute()
    resume = config["resume"]
    if resume == AUTO:
        resume = None if begins(AUTO, run_dir) else run_dir
    elif resume is not None and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise no_sweep(resume)
    asked = _asked(config)
    if resume is None:
        run = launch(asked, run_dir, phase)
    else:
        words = [str(word) for word in HydraConfig.get().overrides.task]
        run = launch(resumed_settings(run_dir, asked, words, phase), run_dir, phase, resume=True)
    if HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    found, why = objective(run.settings.objective, run_dir)
    if why:
        print(f"note: {why}")
    return found


def launch(asked: dict[str, Any], run_dir: Path, phase: str, *, resume: bool = False) -> Run:
    """Check everything, build, and run to the end; returns the finished run.

    ``asked`` is the plain configuration of the script ``phase``, by the names it has for its keys. Raises
    :class:`UserError` before anything is written when something is wrong with the request.
    """
    with worded(SCRIPTS[phase]):
        return _launch(SCRIPTS[phase], asked, run_dir, phase, resume)


def _launch(script: Script, asked: dict[str, Any], run_dir: Path, phase: str, resume: bool) -> Run:
    settings = settings_of(phase, asked)
    device = resolve_device(settings.device)
    if device.type == "cpu":
        keep_freed_memory()
    if not resume:
        refuse_foreign(run_dir)
    check_folder(run_dir)
    with FolderLock(run_dir) as lock:
        if not resume and (run_dir / CONFIG_FILE).exists():
            raise UserError(
                f"{override('hydra.run.dir', run_dir)} already holds a run. "
                f"Continue it with {_again(run_dir, settings)} or choose another."
            )
        need = script.forecast(settings, script.phase)
        tight = short_of(need, run_dir)
        saved = script.saved(run_dir, settings, need.layout, script.phase) if resume else None
        if resume and saved is None:
            refuse_lost(run_dir, run_dir / CHECKPOINT)
        had = saved is not None
        source = script.source(settings) if saved is None else None
        if source is not None:
            check_fits(source, settings, asked.get(CHOICES, {}))
        parts = script.build(settings, run_dir, script.phase, device, source)
        try:
            with _logger(script, settings, run_dir, phase, parts, resume) as logger:
                run_id = stored_id(run_dir) if resume else secrets.token_hex(8)
                run = assemble(phase, settings, run_dir, parts, logger, asked.get(CHOICES, {}), run_id)
                if not resume and not run.lineage:  # these keep their sizes
                    run.advise(smaller(run.clock, asked.get(CHOICES, {})))
                told = (*lock.notes, *tight, *run.notes)
                notes = [in_words(f"note: {text}", script.aliases.published) for text in told]
                taken = (
                    [f"taken over from {source.path}: {' '.join(asked[TAKEN])}"] if source and asked.get(TAKEN) else []
                )
                for line in (f"run folder: {run_dir}", *taken, *run.describe(), need.describe(), *notes):
                    logger.say(line)
                if resume:
                    run.load_checkpoint(saved)
                    del saved  # as large as the agent and its optimisers
                ours = settings.fixed(run_dir) | {PHASE: phase, RUN_ID: run_id, CHECKPOINTED: had}
                if words := [str(one.input_line) for one in differing()]:
                    ours[DIFFERS] = words
                with atomic_path(run_dir / CONFIG_FILE) as path:
                    path.write_text(dump(portable(asked, run_dir) | ours))
                try:
                    return _run(run)
                finally:
                    run.close()
        finally:
            parts.close()


def _again(run_dir: Path, settings: RunKeys) -> str:
    """The overrides that make a command which would begin a run go on with the one in ``run_dir``."""
    in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return f"resume={AUTO}" if in_sweep else resume_words(run_dir, settings.plain())


def assemble(
    phase: str,
    settings: RunKeys,
    run_dir: Path,
    parts: Any,
    logger: Logger,
    choices: dict[str, str],
    run_id: str | None = None,
) -> Run:
    """The run of the script ``phase`` from what was built for it; ``choices`` are the chosen files of each group."""
    script = SCRIPTS[phase]
    clock = Clock(*script.length, settings.steps, settings.step_frames)
    config = settings.plain() | {PHASE: phase, CHOICES: choices}
    origin = Origin(script.phase, config, parts.spec, parts.lineage, run_id)
    return script.run(settings, run_dir, parts, clock, logger, origin)


def smaller(clock: Clock, choices: Mapping[str, str]) -> str | None:
    """Overrides that make a run with these ``choices`` of group files smaller; None where it is small already.

    Turns of skills have no length that shows anything: of such a run only the sizes are made smaller.
    """
    if choices.get("preset") != "published":
        return None
    if clock.unit not in ("frames", "steps"):
        return "preset=small"
    shorter = (
        f" {clock.key}={SHORT_RUN}" if clock.steps * (clock.frames if clock.unit == "frames" else 1) > SHORT_RUN else ""
    )
    return f"preset=small{shorter}"


def _run(run: Run) -> Run:
    say, folder = run.logger.say, run.run_dir
    if run.lineage:
        say(f"fine-tuning from {run.lineage[0]['path']}")
    if run.clock.over:
        run.finish()
        say(f"resume: {folder} is finished; nothing to do (raise {run.clock.key} to go on)")
        return run
    try:
        run.run()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        stands = "the last checkpoint stands" if (folder / CHECKPOINT).exists() else "there is no checkpoint yet"
        raise UserError(
            f"the disk is full ({error.filename or folder}); {stands}. Free some space, then go on with {run.go_on}"
        ) from error
    updates = "" if run.clock.unit == "updates" else f", {run.updates} updates"
    say(f"finished: {run.clock}{updates}; {CHECKPOINT} and logs in {folder}")
    return run


def _logger(script: Script, settings: RunKeys, run_dir: Path, phase: str, parts: Any, resume: bool) -> Logger:
    try:
        return Logger(
            run_dir,
            use_tb=settings.use_tb,
            use_wandb=settings.use_wandb,
            wandb_settings=wandb_settings(
                stage=phase,
                project_name=settings.project_name,
                agent=settings.agent.name,
                domain_or_task=settings.subject,
                obs_type=settings.observes,
                seed=settings.seed,
                config=settings.plain(),
                experiment=settings.experiment,
            ),
            config=settings.plain(),
            published=script.aliases.published,
            action_repeat=settings.step_frames,
            total_frames=settings.frames,
            progress=None if settings.progress == "auto" else settings.progress,
            layout=script.layout,
        )
    except BaseException:
        if not resume:
            # a run that has not begun leaves nothing behind
            parts.abandon()
        raise


def _asked(config: DictConfig) -> dict[str, Any]:
    """The configuration of the command line in plain form, with its paths as seen from where it was given."""
    return absolute(to_plain(config), started_in()) | {CHOICES: choices_of(HydraConfig.get().runtime.choices)}
