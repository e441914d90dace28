"""What a Dreamer agent is made of besides its world model: its drives by name, and who acts."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, get_type_hints

import torch

from agents.agent import Phase
from agents.dreamer.behavior import Behavior, build_behavior
from agents.dreamer.drive import MAIN, Drive
from agents.dreamer.pilot import Chooser, Pilot
from agents.dreamer.settings import DreamerSection, DreamerSettings, SkillSection
from agents.exploration.build import build_method, import_named
from agents.exploration.intrinsic_reward import CriticHead, Sizes
from utils.errors import UserError
from utils.own_code import foreign_in
from utils.settings import fields_of


class Setup(NamedTuple):
    """The drives, none of them with a behaviour yet, and the pilot."""

    drives: Sequence[Drive]
    """The reward head learns the target of the first. That is ``main``, but for data of others, where a drive that only
    collects is left out. No other may score replay.
    """
    pilot: Pilot


Factory = Callable[[DreamerSettings, Sizes, Phase, torch.device], Setup]
"""(settings, sizes, phase, device) -> setup."""


def set_up(settings: DreamerSettings, sizes: Sizes, phase: Phase, device: torch.device) -> Setup:
    """The setup of the factory that ``agent.drives`` names by its import path; :func:`main_drive` without that key.

    Raises :class:`UserError` for a path that leads to no function, or to one that gives something else.
    """
    path = settings.agent.drives
    setup = factory_named(path)(settings, sizes, phase, device)
    if not isinstance(setup, Setup):
        raise UserError(f"agent.drives={path} gave a {type(setup).__name__}, no agents.dreamer.setup.Setup.")
    first = setup.drives[0].name
    assert first == MAIN or phase == "offline", "the first drive is the main one"
    for drive in setup.drives[1:]:
        assert drive.scores != "replay", f"the reward head learns the reward of {first}, not that of {drive.name}"
    return setup


def factory_named(path: str | None) -> Factory:
    """See :func:`set_up`; raises as that does."""
    factory: Factory = main_drive if path is None else import_named("agent.drives", path)
    # of this project's many functions, which a file may name without the user's word, only those that say so are called
    if not callable(factory) or (not _is_foreign(path) and not _gives_setup(factory)):
        raise UserError(f"agent.drives={path} is no function that makes drives. Name package.module.function.")
    return factory


def section_of(factory: Factory) -> type[DreamerSection]:
    """The section ``agent`` that a factory reads, by the annotation of its first parameter: keys of its own are those
    of a section derived from :class:`DreamerSection`, in settings derived from :class:`DreamerSettings`.
    """
    if not inspect.isfunction(factory):
        return DreamerSection
    first, hints = next(iter(inspect.signature(factory).parameters), ""), get_type_hints(factory)
    settings = hints.get(first, DreamerSettings)
    if not (inspect.isclass(settings) and issubclass(settings, DreamerSettings)):
        return DreamerSection
    section: Any = fields_of(settings)["agent"].annotation
    return section  # type: ignore[no-any-return]


def _is_foreign(path: str | None) -> bool:
    return path is not None and bool(foreign_in({"agent": {"drives": path}}))


def _gives_setup(factory: Any) -> bool:
    if not inspect.isfunction(factory) or factory is set_up or factory.__module__.partition(".")[0] != "agents":
        return False
    return get_type_hints(factory).get("return") is Setup


def main_drive(settings: DreamerSettings, sizes: Sizes, phase: Phase, device: torch.device) -> Setup:
    """One drive, rewarded by the agent's method, also on data of others, and in fine-tuning by the task.

    With skills, fine-tuning chooses one of them for good.
    """
    agent, pretrains = settings.agent, phase != "finetune"
    method = build_method(agent, sizes)
    method = (method if pretrains else method.finetuned()).to(device)
    skill_dim = method.skills.dim
    skilled = agent if isinstance(agent, SkillSection) else None
    assert bool(skill_dim) == (skilled is not None), "the constructor of a method with skills takes skill_dim"
    drive = Drive(
        MAIN,
        method,
        lambda feat_dim: task_behavior(settings, feat_dim, sizes.action, skill_dim, method.critic_head, device),
        scores=method.scores if pretrains else "none",
        period=skilled.update_skill_every_step if skilled else 0,
        evenly=skilled is not None and not pretrains and skilled.skill_draw == "even",
        method_opt=(agent.method_opt or settings.model_opt).plain() if pretrains else None,
        trains=not pretrains or method.acts == "actor",
        waits=skilled is not None and not skilled.train_before_choice,
        actor_waits=settings.retain.actor_waits if settings.retain else 0,
    ).to(device)
    if pretrains or skilled is None:
        return Setup([drive], Pilot(drive))
    return Setup([drive], Chooser(drive, skilled.num_init_frames, skilled.skill_choice))


def task_behavior(
    settings: DreamerSettings,
    feat_dim: int,
    action_dim: int,
    skill_dim: int,
    critic_head: CriticHead,
    device: torch.device,
    *,
    actor_ent: float | None = None,
    reward_norm: Mapping[str, float] | None = None,
) -> Behavior:
    """The behaviour that the settings describe: one actor and its critics. ``actor_ent`` and ``reward_norm`` replace
    those of the section ``agent``.
    """
    agent, retain = settings.agent, settings.retain
    return build_behavior(
        feat_dim,
        action_dim,
        skill_dim,
        actor=settings.actor.plain(),
        critic=settings.critic.plain(),
        critic_head=critic_head,
        actor_opt=settings.actor_opt.plain(),
        actor_ent=agent.actor_ent if actor_ent is None else actor_ent,
        actor_grad=settings.actor_grad,
        anchor=(retain.anchor, retain.anchor_updates) if retain and retain.anchor else None,
        **behavior_settings(settings, device) | ({} if reward_norm is None else {"reward_norm": reward_norm}),
    )


def behavior_settings(settings: DreamerSettings, device: torch.device) -> dict[str, Any]:
    """What every :class:`Behavior` takes of the settings, whatever its networks are."""
    return {
        "critic_opt": settings.critic_opt.plain(),
        "reward_norm": settings.agent.reward_norm.plain(),
        "imag_horizon": settings.imag_horizon,
        "discount": settings.discount,
        "discount_lambda": settings.discount_lambda,
        "slow_target": settings.slow_target,
        "slow_target_update": settings.slow_target_update,
        "slow_target_fraction": settings.slow_target_fraction,
        "entropy_in_targets": settings.agent.entropy_in_targets,
        "device": device,
    }
