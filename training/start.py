"""From a Hydra configuration to a running or resumed run."""

import shutil
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from training.lock import FolderLock
from training.off_policy import CHECKPOINT, OffPolicyRun, Phase
from training.parts import Parts, build
from training.settings import check, resolve_device
from utils.atomic import atomic_path
from utils.cli import run_folder
from utils.config import CONFIG_FILE, get, to_plain
from utils.errors import UserError
from utils.logger import Logger
from utils.wandb_log import wandb_settings

CHOICES = "choices"
"""Key of the stored configuration that names the chosen group files."""

PHASE = "phase"
"""Key of the stored configuration that names the script."""

SAFE_ON_RESUME = (
    "checkpoint_every_minutes",
    "device",
    "log_every_frames",
    "num_train_frames",
    "progress",
    "recon_every_frames",
    "save_video",
    "use_tb",
    "use_wandb",
)
"""Keys that may change when a run is resumed; all others would make it another run."""


def start(config: DictConfig, phase: Phase) -> OffPolicyRun:
    """The body of an entry script: settings from the command line or the resumed run's folder, then :func:`launch`."""
    run_dir = run_folder().absolute()
    if config["resume"] is not None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise UserError(f"resume={config['resume']} goes with a single run, not with --multirun.")
        return launch(_stored_settings(run_dir, config, phase), run_dir, phase, resume=True)
    return launch(_absolute(to_plain(config)) | {CHOICES: _choices()}, run_dir, phase)


def launch(settings: dict[str, Any], run_dir: Path, phase: Phase, *, resume: bool = False) -> OffPolicyRun:
    """Check everything, build, and run to the end; returns the finished run.

    Raises :class:`UserError` before anything is written when something is wrong with the request.
    """
    asked = settings | {PHASE: phase}
    settings = check(asked)
    device = resolve_device(settings["device"])
    with FolderLock(run_dir):
        if not resume and (run_dir / CONFIG_FILE).exists():
            raise UserError(
                f"hydra.run.dir={run_dir} already holds a run. Continue it with resume={run_dir} or choose another."
            )
        parts = build(settings, run_dir, phase, device, load_snapshot=not (run_dir / CHECKPOINT).exists())
        try:
            with _logger(settings, run_dir, phase, parts, resume) as logger:
                with atomic_path(run_dir / CONFIG_FILE) as path:
                    OmegaConf.save(OmegaConf.create(asked), path)
                return _run(OffPolicyRun(settings, run_dir, phase, parts, logger), resume)
        finally:
            parts.envs.close()
            parts.eval_env.close()


def _run(run: OffPolicyRun, resume: bool) -> OffPolicyRun:
    say, folder = run.logger.say, run.run_dir
    say(f"run folder: {folder}")
    say(run.replay.describe())
    for note in run.notes:
        say(f"note: {note}")
    if resume:
        run.load_checkpoint()
    if run.parent:
        say(f"fine-tuning from {run.parent}")
    if run.step >= run.total_steps:
        run.finish()
        say(f"resume: {folder} is finished; nothing to do (raise num_train_frames to go on)")
        return run
    run.run()
    say(f"finished: {run.frame} frames, {run.updates} updates; {CHECKPOINT} and logs in {folder}")
    return run


def _logger(settings: dict[str, Any], run_dir: Path, phase: Phase, parts: Parts, resume: bool) -> Logger:
    try:
        return Logger(
            run_dir,
            use_tb=settings["use_tb"],
            use_wandb=settings["use_wandb"],
            wandb_settings=wandb_settings(
                stage=phase,
                project_name=settings["project_name"],
                agent=settings["agent"]["name"],
                domain_or_task=settings["domain" if phase == "pretrain" else "task"],
                obs_type=settings["obs_type"],
                seed=settings["seed"],
                config=settings,
                experiment=settings["experiment"],
            ),
            action_repeat=settings["action_repeat"],
            total_frames=settings["num_train_frames"],
            progress=None if settings["progress"] == "auto" else settings["progress"],
        )
    except UserError:
        if not resume:
            # a refused run leaves nothing behind; its replay was made a moment ago and is empty
            shutil.rmtree(parts.replay.directory)
        raise


def _absolute(settings: dict[str, Any]) -> dict[str, Any]:
    """Folders as seen from where the run was started, so that it can be resumed from anywhere."""
    folders = {key: settings.get(key) for key in ("snapshot_base_dir", "snapshot_dir", "custom_snap_dir")}
    return settings | {key: str(Path(path).absolute()) for key, path in folders.items() if path is not None}


def _stored_settings(run_dir: Path, config: DictConfig, phase: Phase) -> dict[str, Any]:
    """The run's own settings with the command line's safe changes; others are refused by name."""
    stored = to_plain(OmegaConf.load(run_dir / CONFIG_FILE))  # type: ignore[arg-type]
    if stored[PHASE] != phase:
        raise UserError(f"resume={run_dir} is a run of dreamer_{stored[PHASE]}.py; resume it with that script.")
    asked = _absolute(to_plain(config)) | {CHOICES: _choices()}
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").partition("=")[0]
        name = f"{CHOICES}.{key}" if key in stored[CHOICES] else key
        try:
            then, now = get(stored, name), get(asked, name)
        except KeyError:
            raise UserError(f"{override}: this run was started without the key {key}; leave it out.") from None
        if key == "resume" or now == then:
            continue
        if key not in SAFE_ON_RESUME:
            raise UserError(
                f"{override}: this run has {key}={then} and keeps it. On resume you may change "
                f"{', '.join(SAFE_ON_RESUME)}; for anything else start a new run."
            )
        stored[key] = now
    return stored


def _choices() -> dict[str, str]:
    """Which file of each configuration group was chosen."""
    choices = HydraConfig.get().runtime.choices
    return {key: str(value) for key, value in choices.items() if not key.startswith("hydra/")}
