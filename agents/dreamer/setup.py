"""What a Dreamer agent is made of besides its world model: its drives by name, and who acts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch

from agents.dreamer.behavior import Behavior, build_behavior
from agents.dreamer.drive import MAIN, Drive
from agents.dreamer.pilot import Chooser, Pilot
from agents.exploration.build import build_method, import_named
from agents.exploration.intrinsic_reward import CriticHead, Sizes
from utils.errors import UserError

Phase = Literal["pretrain", "finetune"]


class Setup(NamedTuple):
    """The drives, none of them with a behaviour yet, and the pilot."""

    drives: Sequence[Drive]
    """``main`` first: the reward head learns its target. No other may score replay."""
    pilot: Pilot


Factory = Callable[[Mapping[str, Any], Sizes, Phase, torch.device], Setup]
"""(configuration, sizes, phase, device) -> setup."""


def set_up(config: Mapping[str, Any], sizes: Sizes, phase: Phase, device: torch.device) -> Setup:
    """The setup of the factory that ``agent.drives`` names by its import path; :func:`main_drive` without that key.

    Raises :class:`UserError` for a path that leads to no function.
    """
    path = config["agent"].get("drives")
    factory: Factory = main_drive if path is None else import_named("agent.drives", path)
    if not callable(factory):
        raise UserError(f"agent.drives={path} is no function. Name package.module.function.")
    setup = factory(config, sizes, phase, device)
    assert setup.drives[0].name == MAIN, "the first drive is the main one"
    for drive in setup.drives[1:]:
        assert drive.scores != "replay", f"the reward head learns the reward of {MAIN}, not that of {drive.name}"
    return setup


def main_drive(config: Mapping[str, Any], sizes: Sizes, phase: Phase, device: torch.device) -> Setup:
    """One drive, rewarded by the agent's method in pre-training and by the task in fine-tuning.

    With skills, fine-tuning chooses one of them for good.
    """
    agent, pretrains = config["agent"], phase == "pretrain"
    method = build_method(agent, sizes)
    method = (method if pretrains else method.finetuned()).to(device)
    skill_dim = method.skills.dim
    drive = Drive(
        MAIN,
        method,
        lambda feat_dim: task_behavior(config, feat_dim, sizes.action, skill_dim, method.critic_head, device),
        scores=method.scores if pretrains else "none",
        period=agent["update_skill_every_step"] if skill_dim else 0,
        method_opt=agent.get("method_opt", config["model_opt"]) if pretrains else None,
        trains=not pretrains or method.acts == "actor",
        waits=not agent.get("train_before_choice", True),
    ).to(device)
    if pretrains or not skill_dim:
        return Setup([drive], Pilot(drive))
    return Setup([drive], Chooser(drive, agent["num_init_frames"], agent["skill_choice"]))


def task_behavior(
    config: Mapping[str, Any],
    feat_dim: int,
    action_dim: int,
    skill_dim: int,
    critic_head: CriticHead,
    device: torch.device,
) -> Behavior:
    """The behaviour that the configuration's sections describe: one actor and its critics."""
    agent = config["agent"]
    return build_behavior(
        feat_dim,
        action_dim,
        skill_dim,
        actor=config["actor"],
        critic=config["critic"],
        critic_head=critic_head,
        actor_opt=config["actor_opt"],
        critic_opt=config["critic_opt"],
        reward_norm=agent["reward_norm"],
        actor_ent=agent["actor_ent"],
        actor_grad=config["actor_grad"],
        imag_horizon=config["imag_horizon"],
        discount=config["discount"],
        discount_lambda=config["discount_lambda"],
        slow_target=config["slow_target"],
        slow_target_update=config["slow_target_update"],
        slow_target_fraction=config["slow_target_fraction"],
        entropy_in_targets=agent["entropy_in_targets"],
        device=device,
    )
