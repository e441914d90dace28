"""The one table of what the entry scripts differ in, by the name of their configuration.

A new script is a row here, its YAML in ``configs/`` and its file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agents.agent import Phase
from preflight.aliases import Aliases
from preflight.data_forecast import data_forecast
from preflight.forecast import Forecast, forecast
from preflight.rollout_forecast import rollout_forecast
from preflight.settings import read_offline, read_rest, read_settings
from replay.converted import Conversion
from training import layouts
from training.datasets import data_of
from training.kinds import dreamer_run, drq_run, offline_run, rest_run
from training.offline_parts import build_offline
from training.offline_settings import NOT_SIMULATED, OfflineKeys
from training.parts import build
from training.pretrained import Pretrained, read_file, read_source
from training.rest_parts import build_rest
from training.resumed import read_checkpoint
from training.resumed_offline import read_offline_checkpoint
from training.resumed_rollouts import read_rollout_checkpoint
from training.run import Run
from training.settings import DrQKeys, FinetuneKeys, PretrainKeys, RestKeys, RunKeys
from utils.log_layout import LogLayout

SAFE = (
    "checkpoint_every_minutes",
    "collect.timeout",
    "collect.workers",
    "compile",
    "device",
    "objective",
    "on_nan",
    "progress",
    "replay.device",
    "replay.prefetch",
    "replay.verify",
    "save_video",
    "snapshot_base_dir",
    "snapshot_dir",
    "use_wandb",
)
"""Keys that may change when a run of any script is resumed; others would make it another run."""

SOURCES = ("custom_snap_dir", "snapshot")
"""Where the snapshot to start from lies: keys that may change as long as a run has no checkpoint."""

SAFE_DREAMER = ("log_every_frames", "num_gpus", "num_train_frames", "recon_every_frames", "use_tb")


class Script(NamedTuple):
    """One entry script."""

    file: str
    keys: type[RunKeys]
    """Its settings; the agent may add its own."""
    phase: Phase
    """What the agent is to do."""
    run: Callable[..., Run]
    """Makes the run of its parts: see ``training/kinds.py``."""
    layout: LogLayout
    length: tuple[str, str]
    """The key that gives the length of a run, and its unit."""
    folders: tuple[str, str]
    """In which single runs and sweeps make theirs."""
    safe: tuple[str, ...]
    """Keys that may change on resume."""
    source: Callable[[Any], Pretrained | None] = lambda settings: None
    """The snapshot that the agent starts from."""
    data: Callable[[Any], Conversion | None] = lambda settings: None
    """The data set that it learns from."""
    aliases: Aliases = Aliases()
    read: Callable[[Any, Mapping[str, Any]], Any] = read_settings
    """The checked settings of a plain configuration, of the type ``keys`` or one that has them."""
    forecast: Callable[[Any, Phase], Forecast] = forecast
    """What a run will need."""
    build: Callable[..., Any] = build
    """Makes the parts of a run."""
    saved: Callable[..., dict[str, Any] | None] = read_checkpoint
    """The checkpoint that a run is to go on from, looked at before anything is touched."""

    @property
    def safe_on_resume(self) -> tuple[str, ...]:
        """The keys a user may change on resume, by the names the script has."""
        return tuple(sorted((*SAFE, *self.safe)))


SCRIPTS: dict[str, Script] = {
    "pretrain": Script(
        file="dreamer_pretrain.py",
        keys=PretrainKeys,
        phase="pretrain",
        run=dreamer_run,
        layout=layouts.DREAMER,
        length=("num_train_frames", "frames"),
        folders=("exp_local", "exp_sweep"),
        safe=SAFE_DREAMER,
    ),
    "offline_train": Script(
        file="offline_train.py",
        keys=OfflineKeys,
        phase="offline",
        run=offline_run,
        layout=layouts.OFFLINE,
        length=("num_train_updates", "updates"),
        folders=("exp_local", "exp_sweep"),
        safe=("dataset_dir", "log_every_updates", "num_gpus", "num_train_updates", "use_tb"),
        data=data_of,
        aliases=Aliases(hidden=tuple(NOT_SIMULATED)),
        read=read_offline,
        forecast=data_forecast,
        build=build_offline,
        saved=read_offline_checkpoint,
    ),
    "finetune": Script(
        file="dreamer_finetune.py",
        keys=FinetuneKeys,
        phase="finetune",
        run=dreamer_run,
        layout=layouts.DREAMER,
        length=("num_train_frames", "frames"),
        folders=("exp_local", "exp_sweep"),
        safe=SAFE_DREAMER,
        source=read_source,
    ),
    "drq": Script(
        file="drq_train.py",
        keys=DrQKeys,
        phase="pretrain",
        run=drq_run,
        layout=layouts.DRQ,
        length=("num_train_steps", "steps"),
        folders=("runs", "runs_sweep"),
        safe=("log_frequency_step", "log_save_tb", "num_gpus", "num_train_steps"),
        source=read_file,
        aliases=Aliases(
            {"render_size": "image_size", "replay_buffer_capacity": "replay.capacity", "log_save_tb": "use_tb"},
            hidden=("domain", "obs_type", "replay.store_physics", "goal_seed", "task_id"),
        ),
    ),
    "rest": Script(
        file="rest_train.py",
        keys=RestKeys,
        phase="pretrain",
        run=rest_run,
        layout=layouts.REST,
        length=("epochs", "iterations"),
        folders=("exp_local", "exp_sweep"),
        safe=("epochs",),
        aliases=Aliases(
            {"env": "task", "expname": "experiment"},
            hidden=(
                *("domain", "action_repeat", "snapshots", "snapshot_dir", "snapshot_variant", "compile", "num_gpus"),
                "save_video",
            ),
        ),
        read=read_rest,
        forecast=rollout_forecast,
        build=build_rest,
        saved=read_rollout_checkpoint,
    ),
}
