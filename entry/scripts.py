"""What the entry scripts differ in, by the name of their configuration."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from preflight import drq_settings, settings
from training.drq_run import DrQRun
from training.off_policy import OffPolicyRun, Phase

Check = Callable[[Mapping[str, Any]], dict[str, Any]]

_SAFE = (
    "checkpoint_every_minutes",
    "collect.timeout",
    "collect.workers",
    "device",
    "compile",
    "on_nan",
    "progress",
    "replay.device",
    "replay.prefetch",
    "save_video",
    "use_wandb",
)


class Script(NamedTuple):
    """One entry script."""

    file: str
    check: Check
    """Of its configurations; returns them with what the run reads besides."""
    run: type[OffPolicyRun]
    safe_on_resume: tuple[str, ...]
    """Keys that may change when a run is resumed; all others would make it another run."""


_DREAMER = tuple(sorted((*_SAFE, "log_every_frames", "num_train_frames", "recon_every_frames", "use_tb")))

SCRIPTS: dict[Phase, Script] = {
    "pretrain": Script("dreamer_pretrain.py", settings.check, OffPolicyRun, _DREAMER),
    "finetune": Script("dreamer_finetune.py", settings.check, OffPolicyRun, _DREAMER),
    "drq": Script(
        "drq_train.py",
        drq_settings.check,
        DrQRun,
        tuple(sorted((*_SAFE, "log_frequency_step", "log_save_tb", "num_train_steps"))),
    ),
}
