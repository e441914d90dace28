"""Checks a configuration of ``drq_train.py`` as a whole before anything is built."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.make import RENDER_QUALITIES, canonical_task, check_settings, validate_task
from preflight.combinations import check_collecting
from preflight.keys import check_missing, check_unknown
from preflight.settings import DEVICE, FOLDER_NAME, REPLAY, check_writable
from replay.layout import divide
from training.parts import episode_records
from utils.compile import MODES
from utils.errors import UserError
from utils.rules import (
    COLLECTING,
    COUNT,
    FLAG,
    FRACTION,
    LAYERS,
    MARKS,
    NOT_NEGATIVE,
    NUMBER,
    OPTIONAL_TEXT,
    POSITIVE,
    SIZE,
    TEXT,
    WHOLE,
    Rule,
    check_values,
    choice,
    is_int,
    optional,
    whole,
)

SKILLS = Rule("0 for none, or a whole number from 2 to 1000", lambda v: is_int(v) and (v == 0 or 2 <= v <= 1000))
SIDE = whole(16, 1024)
STACK = whole(1, 100)

RULES: dict[str, Rule] = {
    "seed": whole(0, 2**32 - 1),
    "device": DEVICE,
    "resume": OPTIONAL_TEXT,
    **COLLECTING,
    "task": TEXT,
    "env": OPTIONAL_TEXT,
    "action_repeat": COUNT,
    "render_size": SIDE,
    "framestack": STACK,
    "render.quality": choice(*RENDER_QUALITIES),
    **dict.fromkeys(("num_train_steps", "num_train_iters"), COUNT),
    **dict.fromkeys(("eval_frequency", "num_eval_episodes"), optional(COUNT)),
    "log_frequency_step": COUNT,
    "num_seed_steps": WHOLE,
    "checkpoint_every_minutes": NOT_NEGATIVE,
    "snapshots": MARKS,
    "replay_buffer_capacity": COUNT,
    **REPLAY,
    "batch_size": COUNT,
    "snapshot": OPTIONAL_TEXT,
    **dict.fromkeys(("init_actor", "init_critic"), FLAG),
    "image_pad": whole(0, 64),
    "discount": FRACTION,
    "lr": POSITIVE,
    "init_temperature": POSITIVE,
    "actor_update_frequency": COUNT,
    "critic_tau": FRACTION,
    "critic_target_update_frequency": COUNT,
    "encoder_feature_dim": SIZE,
    "encoder_channels": SIZE,
    **{f"{part}_hidden_dim": SIZE for part in ("critic", "actor", "discriminator")},
    **{f"{part}_hidden_depth": LAYERS for part in ("critic", "actor", "discriminator")},
    "actor_log_std_min": NUMBER,
    "actor_log_std_max": NUMBER,
    "grad_clip": optional(POSITIVE),
    "num_skills": SKILLS,
    "skill_embedding_dim": SIZE,
    "extrinsic_coeff": optional(NUMBER),
    "diayn_intrinsic_reward_coeff": NUMBER,
    "lr_discriminator": optional(POSITIVE),
    "skill_critic": FLAG,
    "discriminator_features": choice("own", "critic"),
    "reward_state": choice("next", "current"),
    "reference": FLAG,
    "compile": choice(*MODES),
    "on_nan": choice("stop", "skip"),
    "snapshot_base_dir": TEXT,
    "snapshot_dir": OPTIONAL_TEXT,
    "log_save_tb": FLAG,
    "use_wandb": FLAG,
    "project_name": TEXT,
    "experiment": TEXT,
    "save_video": FLAG,
    "progress": choice("auto", True, False),
    "agent.name": FOLDER_NAME,
    "agent._target_": TEXT,
}

EVALUATION = {"eval_frequency": (5000, 100_000), "num_eval_episodes": (10, 1)}
"""What null means without and with skills: the values of DrQ and of its DIAYN extension (their released code)."""


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check every value and the values against each other; returns the configuration with the full name of ``task``,
    how often to evaluate (``EVALUATION``) and what the training loop reads besides (:func:`derived`).

    Raises :class:`UserError` that names the key, the value and what is allowed.
    """
    check_values(config, RULES)
    check_missing(config, RULES)
    check_unknown(config, RULES)
    config = dict(config) | {"task": canonical_task(config["env"] or config["task"]), "env": None}
    skilled = config["num_skills"] > 0
    config |= {key: values[skilled] for key, values in EVALUATION.items() if config[key] is None}
    config |= derived(config)
    check_settings(config["task"], config["obs_type"], config["action_repeat"], config["seed"], config["image_size"])
    check_collecting(config)
    _check_replay(config)
    if config["actor_log_std_min"] >= config["actor_log_std_max"]:
        raise UserError(
            f"actor_log_std_min={config['actor_log_std_min']} is not below actor_log_std_max="
            f"{config['actor_log_std_max']}. Lower it."
        )
    if config["snapshots"]:
        check_writable("snapshot_dir", config["snapshot_dir"])
    return config


def derived(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that the training loop shares with other agents, in frames, by their names there."""
    repeat, domain = config["action_repeat"], validate_task(config["task"])[0]
    folder = Path(config["snapshot_base_dir"], "pixels", domain, config["agent"]["name"], str(config["seed"]))
    return {
        "domain": domain,
        "obs_type": "pixels",
        "image_size": config["render_size"],
        "num_train_frames": repeat * config["num_train_steps"],
        "num_seed_frames": repeat * config["num_seed_steps"],
        "train_every_actions": repeat,
        "eval_every_frames": repeat * config["eval_frequency"],
        "log_every_frames": repeat * config["log_frequency_step"],
        "recon_every_frames": repeat * config["log_frequency_step"],
        "seed_policy": "random",
        "evaluate": True,
        "replay": config["replay"] | {"capacity": config["replay_buffer_capacity"], "store_physics": True},
        "snapshot_dir": config["snapshot_dir"] or str(folder),
        "use_tb": config["log_save_tb"],
    }


def _check_replay(config: Mapping[str, Any]) -> None:
    """The replay holds an episode beside the one that is being written."""
    capacity, stack = config["replay_buffer_capacity"], config["framestack"]
    try:
        divide(capacity, None, config["num_envs"], episode_records(config), stack=stack)
    except UserError as error:
        raise UserError(str(error).replace("replay.capacity", "replay_buffer_capacity")) from None
