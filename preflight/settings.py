"""Checks a configuration as a whole before anything is built."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.dreamer.agent import CLIP_REWARDS
from agents.exploration.build import method_class
from agents.nn.distributions import POLICIES
from envs.make import RENDER_QUALITIES, resolve_task, validate_task
from preflight.combinations import check_combinations
from preflight.keys import check_missing, check_unknown, dreamer_keys
from utils.compile import MODES
from utils.errors import UserError
from utils.rules import (
    COLLECTING,
    COUNT,
    FLAG,
    FRACTION,
    KERNELS,
    MARKS,
    MOST_UNITS,
    NOT_NEGATIVE,
    OPTIONAL_TEXT,
    POSITIVE,
    SEVERAL,
    SIZE,
    TEXT,
    WHOLE,
    Rule,
    check_values,
    choice,
    is_text,
    mlp,
    optimizer,
    optional,
    shown,
    whole,
)

DEVICE = Rule(
    "auto, cpu, cuda or cuda:<index>",
    lambda v: isinstance(v, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", v) is not None,
)
REPLAY = {
    "replay.prefetch": optional(FLAG),
    "replay.device": optional(
        Rule(
            "cpu, cuda or cuda:<index>",
            lambda v: isinstance(v, str) and re.fullmatch(r"cpu|cuda(:[0-9]{1,4})?", v) is not None,
        )
    ),
}
"""Rules of the keys that say how batches are made; they change no batch."""
FOLDER_NAME = Rule("a text without /", lambda v: is_text(v) and "/" not in v and v not in (".", ".."))
GRAD_HEADS = Rule(
    "a list out of decoder, reward", lambda v: isinstance(v, list) and all(h in ("decoder", "reward") for h in v)
)


RULES: dict[str, Rule] = {
    "seed": whole(0, 2**32 - 1),
    "device": DEVICE,
    "resume": OPTIONAL_TEXT,
    **COLLECTING,
    "domain": TEXT,
    "task": TEXT,
    "obs_type": choice("pixels"),
    "image_size": choice(64),
    "action_repeat": COUNT,
    "render.quality": choice(*RENDER_QUALITIES),
    "replay.capacity": COUNT,
    "replay.store_physics": FLAG,
    **REPLAY,
    "batch_size": COUNT,
    "batch_length": SEVERAL,
    "num_train_frames": COUNT,
    "num_seed_frames": WHOLE,
    "seed_policy": choice("random", "actor"),
    "train_every_actions": COUNT,
    "log_every_frames": COUNT,
    "recon_every_frames": COUNT,
    "checkpoint_every_minutes": NOT_NEGATIVE,
    "evaluate": FLAG,
    "eval_every_frames": COUNT,
    "num_eval_episodes": COUNT,
    "snapshots": MARKS,
    "snapshot_dir": OPTIONAL_TEXT,
    "snapshot_base_dir": TEXT,
    "snapshot_ts": WHOLE,
    "custom_snap_dir": OPTIONAL_TEXT,
    "init_actor": FLAG,
    "init_critic": FLAG,
    "save_ft_model": FLAG,
    **{f"rssm.{key}": SIZE for key in ("deter", "hidden", "stoch", "discrete")},
    **{f"{part}.cnn_depth": SIZE for part in ("encoder", "decoder")},
    **{f"{part}.cnn_kernels": KERNELS for part in ("encoder", "decoder")},
    **mlp("reward_head"),
    "kl.free": NOT_NEGATIVE,
    "kl.balance": FRACTION,
    **{f"loss_scales.{key}": NOT_NEGATIVE for key in ("kl", "observation", "reward")},
    "clip_rewards": choice(*CLIP_REWARDS),
    **mlp("actor"),
    "actor.min_std": POSITIVE,
    "actor.dist": choice(*POLICIES),
    **mlp("critic"),
    "imag_horizon": SEVERAL,
    "discount": FRACTION,
    "discount_lambda": FRACTION,
    "actor_grad": choice("dynamics", "reinforce"),
    "task_actor_ent": NOT_NEGATIVE,
    "slow_target": FLAG,
    "slow_target_update": COUNT,
    "slow_target_fraction": FRACTION,
    "mpc": FLAG,
    **{f"planner.{key}": COUNT for key in ("iterations", "num_samples", "num_elites")},
    "planner.start_after": WHOLE,
    "planner.horizon": SEVERAL,
    "planner.mixture_coef": FRACTION,
    "planner.temperature": NOT_NEGATIVE,
    "planner.momentum": FRACTION,
    "planner.min_std": POSITIVE,
    "planner.use_value": FLAG,
    **optimizer("model_opt"),
    **optimizer("actor_opt"),
    **optimizer("critic_opt"),
    "compile": choice(*MODES),
    "on_nan": choice("stop", "skip"),
    "precision": choice(16, 32, "bf16"),
    "use_tb": FLAG,
    "use_wandb": FLAG,
    "project_name": TEXT,
    "experiment": TEXT,
    "save_video": FLAG,
    "num_skill_videos": COUNT,
    "skill_video_steps": COUNT,
    "progress": choice("auto", True, False),
    "agent.name": FOLDER_NAME,
    "agent._target_": TEXT,
    "agent.method": TEXT,
    "agent.drives": TEXT,
    "agent.grad_heads": GRAD_HEADS,
    "agent.actor_ent": NOT_NEGATIVE,
    "agent.reward_norm.momentum": FRACTION,
    "agent.reward_norm.scale": POSITIVE,
    "agent.reward_norm.eps": POSITIVE,
    "agent.reference": FLAG,
    "agent.decoder_elu_output": FLAG,
    "agent.entropy_in_targets": FLAG,
    "agent.skill_dim": whole(2, MOST_UNITS),
    "agent.skill_actor_ent": NOT_NEGATIVE,
    "agent.update_skill_every_step": COUNT,
    "agent.num_init_frames": WHOLE,
    "agent.skill_choice": choice("replay", "imagination"),
    "agent.train_before_choice": FLAG,
    **optimizer("agent.method_opt"),
}
"""Rules of the keys that scripts and agents share; a method adds those of its own (:func:`method_rules`)."""


def method_rules(config: Mapping[str, Any]) -> dict[str, Rule]:
    """Rules for the keys of the agent's method, if it has one. Raises :class:`UserError` for a method that is none."""
    if "method" not in config["agent"]:
        return {}
    return {f"agent.{key}": rule for key, rule in method_class(config["agent"]).rules.items()}


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check every value and the values against each other; returns the configuration with ``task`` resolved.

    Raises :class:`UserError` that names the key, the value and what is allowed.
    """
    check_values(config, RULES)
    keys = dreamer_keys(config, RULES)
    check_missing(config, keys)
    method = method_rules(config)
    check_values(config, method)
    check_unknown(config, [*keys, *method])
    config = dict(config)
    if config["domain"] == "none":
        config["domain"] = validate_task(config["task"])[0]
    config["task"] = resolve_task(config["domain"], config["task"])
    check_combinations(config)
    for check_whole in method_class(config["agent"]).checks if "method" in config["agent"] else ():
        check_whole(config)
    if config["snapshots"] and config["snapshot_dir"] is not None:
        check_writable("snapshot_dir", config["snapshot_dir"])
    return config


def check_writable(key: str, folder: str) -> None:
    """Raise :class:`UserError` unless ``folder`` can be written to, or made where it does not exist yet."""
    path = Path(folder).absolute()
    try:
        existing = next(parent for parent in (path, *path.parents) if parent.exists())
    except OSError as error:  # a name too long, or a folder whose content may not be seen
        raise UserError(f"{key}={shown(folder)}: {error.strerror}. Choose another one.") from error
    if not existing.is_dir():
        raise UserError(f"{key}={folder}: {existing} is not a folder. Choose another one.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{key}={folder}: {existing} cannot be written to. Choose another one or change its rights.")


def resolve_device(name: str, key: str = "device") -> torch.device:
    """``auto`` takes CUDA when there is one and says so, loudly, when there is not.

    Raises :class:`UserError` for a CUDA device that is not there, naming ``key``.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        if not available:
            print(
                "device: cpu, NO CUDA DEVICE FOUND. The published sizes want a GPU; for a CPU there are small presets."
            )
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda"):
        index = int(name[5:]) if ":" in name else 0
        if not available:
            raise UserError(
                f"{key}={name}: torch {torch.__version__} finds no CUDA device. Use {key}=cpu or {key}="
                + ("auto." if key == "device" else "null.")
            )
        if index >= torch.cuda.device_count():
            raise UserError(f"{key}={name}: there are {torch.cuda.device_count()} CUDA devices. Use a lower index.")
    return torch.device(name)
