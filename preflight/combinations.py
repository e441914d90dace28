"""Checks of values that are allowed one by one, but not together. Every function raises :class:`UserError`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.nn.kernels import check_decoder, check_encoder
from envs.make import EnvSettings
from replay.layout import divide
from training.parts import env_settings, episode_records
from utils.config import is_finetuning
from utils.errors import UserError

FRAME_COUNTS = ("num_seed_frames", "train_every_actions", "log_every_frames", "eval_every_frames", "recon_every_frames")
"""Keys in frames that act on agent steps, so ``action_repeat`` must divide them."""


def check_combinations(config: Mapping[str, Any]) -> None:
    """All checks below, of a configuration whose ``domain`` and ``task`` are resolved."""
    _check_frames(config)
    check_collecting(config)
    _check_replay(config)
    _check_networks(config)
    _check_skill_choice(config)
    _check_planner(config)
    _check_source(config)


def _check_frames(config: Mapping[str, Any]) -> None:
    """``action_repeat`` divides an episode and the frame counts."""
    repeat = config["action_repeat"]
    EnvSettings(config["task"], seed=config["seed"], **env_settings(config)).check()
    for key in FRAME_COUNTS:
        _divides(repeat, key, config[key])
    for mark in config["snapshots"]:
        _divides(repeat, "snapshots", mark)


def _divides(repeat: int, key: str, value: int) -> None:
    if value % repeat:
        below = value - value % repeat
        near = ", ".join(str(v) for v in (below, below + repeat) if v > 0)
        raise UserError(f"{key}={value} is not a multiple of action_repeat={repeat}. Use {near}.")


def check_collecting(config: Mapping[str, Any]) -> None:
    """Environments that step while the agent learns do so in processes of their own."""
    collect = config["collect"]
    if collect["async"] and collect["workers"] is False:
        raise UserError(
            "collect.async=true needs collect.workers=true: environments in this process cannot step while it learns. "
            "Leave collect.workers out, or collect.async."
        )


def _check_replay(config: Mapping[str, Any]) -> None:
    """A sequence fits into an episode, and the episodes of all environments into the replay."""
    length = config["batch_length"]
    records = episode_records(config)
    if length > records:
        raise UserError(f"batch_length={length} is longer than an episode of {records} records. Lower it.")
    divide(config["replay"]["capacity"], length, config["num_envs"], records)


def _check_networks(config: Mapping[str, Any]) -> None:
    """The kernels fit the image."""
    check_encoder("encoder.cnn_kernels", config["encoder"]["cnn_kernels"], config["image_size"])
    check_decoder("decoder.cnn_kernels", config["decoder"]["cnn_kernels"], config["image_size"])


def _check_skill_choice(config: Mapping[str, Any]) -> None:
    """Imagined returns need a reward head that has been trained."""
    agent = config["agent"]
    if not is_finetuning(config) or agent.get("skill_choice") != "imagination":
        return
    if agent["num_init_frames"] <= config["num_seed_frames"]:
        raise UserError(
            f"agent.skill_choice=imagination needs a trained reward head, but agent.num_init_frames="
            f"{agent['num_init_frames']} lies within num_seed_frames={config['num_seed_frames']}. "
            f"Raise agent.num_init_frames, for example to {2 * config['num_seed_frames']}."
        )


def _check_planner(config: Mapping[str, Any]) -> None:
    """Planning needs a reward head for the task, and as many candidates as elites."""
    if not config["mpc"]:
        return
    if not is_finetuning(config):
        raise UserError(
            "mpc=true plans with the reward head of a task, and pre-training has none. "
            "Use it with dreamer_finetune.py; leave it out here."
        )
    planner = config["planner"]
    candidates = planner["num_samples"] + int(planner["mixture_coef"] * planner["num_samples"])
    if planner["num_elites"] > candidates:
        raise UserError(
            f"planner.num_elites={planner['num_elites']} is more than the {candidates} candidates of an iteration "
            f"(planner.num_samples={planner['num_samples']} and the policy's). Lower it."
        )


def _check_source(config: Mapping[str, Any]) -> None:
    """The folder of the snapshot is no file. It may be missing: a resumed run needs its snapshot no more."""
    folder = config.get("custom_snap_dir")
    if folder is not None and Path(folder).is_file():
        raise UserError(f"custom_snap_dir={folder} is a file. Name the folder of the snapshots.")
