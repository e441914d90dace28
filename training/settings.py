"""Checks a configuration as a whole before anything is built."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.dreamer.agent import CLIP_REWARDS
from agents.exploration.build import check_keys, method_class
from agents.nn.distributions import POLICIES
from envs.make import RENDER_QUALITIES, resolve_task, validate_task
from utils.config import is_finetuning
from utils.errors import UserError
from utils.rules import (
    COUNT,
    FLAG,
    FRACTION,
    KERNELS,
    MARKS,
    NOT_NEGATIVE,
    OPTIONAL_TEXT,
    POSITIVE,
    TEXT,
    WHOLE,
    Rule,
    check_values,
    choice,
    is_int,
    mlp,
    optimizer,
)

DEVICE = Rule(
    "auto, cpu, cuda or cuda:<index>",
    lambda v: v in ("auto", "cpu", "cuda") or (isinstance(v, str) and v.startswith("cuda:") and v[5:].isdigit()),
)
GRAD_HEADS = Rule(
    "a list out of decoder, reward", lambda v: isinstance(v, list) and all(h in ("decoder", "reward") for h in v)
)


RULES: dict[str, Rule] = {
    "seed": Rule("a whole number from 0 to 4294967295", lambda v: is_int(v) and 0 <= v < 2**32),
    "device": DEVICE,
    "resume": OPTIONAL_TEXT,
    "num_envs": COUNT,
    "domain": TEXT,
    "task": TEXT,
    "obs_type": choice("pixels"),
    "image_size": choice(64),
    "action_repeat": COUNT,
    "render.quality": choice(*RENDER_QUALITIES),
    "replay.capacity": COUNT,
    "replay.store_physics": FLAG,
    "batch_size": COUNT,
    "batch_length": Rule("a whole number above 1", lambda v: is_int(v) and v > 1),
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
    **{f"rssm.{key}": COUNT for key in ("deter", "hidden", "stoch", "discrete")},
    **{f"{part}.cnn_depth": COUNT for part in ("encoder", "decoder")},
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
    "imag_horizon": Rule("a whole number above 1", lambda v: is_int(v) and v > 1),
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
    "planner.horizon": Rule("a whole number above 1", lambda v: is_int(v) and v > 1),
    "planner.mixture_coef": FRACTION,
    "planner.temperature": NOT_NEGATIVE,
    "planner.momentum": FRACTION,
    "planner.min_std": POSITIVE,
    "planner.use_value": FLAG,
    **optimizer("model_opt"),
    **optimizer("actor_opt"),
    **optimizer("critic_opt"),
    "precision": choice(16, 32),
    "use_tb": FLAG,
    "use_wandb": FLAG,
    "project_name": TEXT,
    "experiment": TEXT,
    "save_video": FLAG,
    "num_skill_videos": COUNT,
    "skill_video_steps": COUNT,
    "progress": choice("auto", True, False),
    "agent.name": TEXT,
    "agent._target_": TEXT,
    "agent.method": TEXT,
    "agent.grad_heads": GRAD_HEADS,
    "agent.actor_ent": NOT_NEGATIVE,
    "agent.reward_norm.momentum": FRACTION,
    "agent.reward_norm.scale": POSITIVE,
    "agent.reward_norm.eps": POSITIVE,
    "agent.reference": FLAG,
    "agent.decoder_elu_output": FLAG,
    "agent.entropy_in_targets": FLAG,
    "agent.skill_dim": Rule("a whole number above 1", lambda v: is_int(v) and v > 1),
    "agent.skill_actor_ent": NOT_NEGATIVE,
    "agent.update_skill_every_step": COUNT,
    "agent.num_init_frames": WHOLE,
    "agent.skill_choice": choice("replay", "imagination"),
    "agent.train_before_choice": FLAG,
    **optimizer("agent.method_opt"),
}
"""Rules of the keys that scripts and agents share; a method adds those of its own (:func:`method_rules`)."""

FRAME_COUNTS = ("num_seed_frames", "train_every_actions", "log_every_frames", "eval_every_frames", "recon_every_frames")
"""Keys in frames that act on agent steps, so ``action_repeat`` must divide them."""


def method_rules(config: Mapping[str, Any]) -> dict[str, Rule]:
    """Rules for the keys of the agent's method. Raises :class:`UserError` for a method that is none."""
    return {f"agent.{key}": rule for key, rule in method_class(config["agent"]).rules.items()}


def _check_method(config: Mapping[str, Any]) -> None:
    """The keys of the agent's exploration method: all there, each of them allowed, and fitting the others."""
    if "method" not in config["agent"]:
        return
    check_keys(config["agent"])
    check_values(config, method_rules(config))
    for check_whole in method_class(config["agent"]).checks:
        check_whole(config)


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """Check every value and the values against each other; returns the configuration with ``task`` resolved.

    Raises :class:`UserError` that names the key, the value and what is allowed.
    """
    check_values(config, RULES)
    _check_method(config)
    config = dict(config)
    if config["domain"] == "none":
        config["domain"] = validate_task(config["task"])[0]
    config["task"] = resolve_task(config["domain"], config["task"])
    repeat = config["action_repeat"]
    for key in FRAME_COUNTS:
        _divides(repeat, key, config[key])
    for mark in config["snapshots"]:
        _divides(repeat, "snapshots", mark)
    _check_skill_choice(config)
    _check_planner(config)
    if config["snapshots"] and config["snapshot_dir"] is not None:
        check_writable("snapshot_dir", config["snapshot_dir"])
    return config


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


def check_writable(key: str, folder: str) -> None:
    """Raise :class:`UserError` unless ``folder`` can be written to, or made where it does not exist yet."""
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"{key}={folder}: {existing} is not a folder. Choose another one.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{key}={folder}: {existing} cannot be written to. Choose another one or change its rights.")


def _divides(repeat: int, key: str, value: int) -> None:
    if value % repeat:
        below = value - value % repeat
        near = ", ".join(str(v) for v in (below, below + repeat) if v > 0)
        raise UserError(f"{key}={value} is not a multiple of action_repeat={repeat}. Use {near}.")


def resolve_device(name: str) -> torch.device:
    """``auto`` takes CUDA when there is one and says so, loudly, when there is not.

    Raises :class:`UserError` for a CUDA device that is not there.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        if not available:
            print("device: cpu, NO CUDA DEVICE FOUND. The published sizes want a GPU; for a CPU there is preset=small.")
        return torch.device("cuda" if available else "cpu")
    if name.startswith("cuda"):
        index = int(name[5:]) if ":" in name else 0
        if not available:
            raise UserError(
                f"device={name}: torch {torch.__version__} finds no CUDA device. Use device=cpu or device=auto."
            )
        if index >= torch.cuda.device_count():
            raise UserError(f"device={name}: there are {torch.cuda.device_count()} CUDA devices. Use a lower index.")
    return torch.device(name)
