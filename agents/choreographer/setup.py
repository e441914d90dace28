"""Choreographer's drives and pilots (Mazzaglia et al. 2023): exploration beside skills, then a controller over them."""

import torch
from torch import Tensor

from agents.agent import FOLLOWS, Mode, Phase
from agents.choreographer.controller import EXECUTOR, SELECTOR, ControllerDrive, Picks, by_codes
from agents.choreographer.settings import ChoreographerSettings
from agents.choreographer.skill_codes import SkillCodes, build_codes
from agents.dreamer.actor_critic import Actor, Critic
from agents.dreamer.behavior import Behavior, Term
from agents.dreamer.drive import MAIN, Drive
from agents.dreamer.pilot import Pilot
from agents.dreamer.setup import Setup, behavior_settings, main_drive, task_behavior
from agents.exploration.intrinsic_reward import Sizes
from agents.nn.distributions import Policy
from agents.nn.latent import Latent
from agents.nn.networks import MLP
from agents.skills import NoSkills, SkillSpace


class Explorer(Pilot):
    """A drive collects, and no skills are recorded; what can be looked at are those of the drive ``skill``."""

    def __init__(self, drive: Drive, skill: Drive) -> None:
        super().__init__(drive)
        self.skill = skill

    @property
    def recorded(self) -> SkillSpace:
        return NoSkills()

    @property
    def shown(self) -> SkillSpace:
        return self.skill.skills.space

    def behavior(self, mode: Mode) -> Behavior:
        return (self.skill if mode in FOLLOWS else self.drive).behavior

    def goals(self) -> Tensor | None:
        return self._codes.goals()

    def code_of(self, deter: Tensor) -> Tensor | None:
        return self._codes.code_of(deter)

    def coded(self, deter: Tensor) -> Tensor | None:
        return self._codes.coded(deter)

    @property
    def _codes(self) -> SkillCodes:
        assert isinstance(self.skill.method, SkillCodes)
        return self.skill.method


class Controller(Pilot):
    """Random codes until the controller may act, then those that it picks; none of them is recorded.

    A code that is looked at is followed by the executor alone, whoever else acts.
    """

    drive: ControllerDrive

    @property
    def recorded(self) -> SkillSpace:
        return NoSkills()

    @property
    def tries_skills(self) -> bool:
        return self.undecided

    @property
    def undecided(self) -> bool:
        return not self.drive.controls

    def select(self, latent: Latent, skill: Tensor, mode: Mode) -> Tensor:
        """A draw in ``train``, the likeliest code in ``eval``."""
        if self.undecided:
            return skill
        picks = Picks(self.drive.behavior.terms[SELECTOR].network(latent.feat))
        return picks.sample() if mode == "train" else picks.mode

    def plans(self, mode: Mode) -> bool:
        return mode not in FOLLOWS

    def policy(self, latent: Latent, skill: Tensor, mode: Mode) -> Policy:
        return self.drive.behavior.terms[EXECUTOR].network(latent.feat, skill)

    def goals(self) -> Tensor | None:
        return self.drive.codes.goals()

    def code_of(self, deter: Tensor) -> Tensor | None:
        return self.drive.codes.code_of(deter)

    def coded(self, deter: Tensor) -> Tensor | None:
        return self.drive.codes.coded(deter)


def choreographer(settings: ChoreographerSettings, sizes: Sizes, phase: Phase, device: torch.device) -> Setup:
    """Pre-training: ``main`` explores by the agent's method, and ``skill`` learns codes and a policy to each of them.

    On data of others there is nothing to explore, and ``skill`` is alone; the reward head learns the data's rewards.

    Fine-tuning: a controller picks a code at every step, by REINFORCE, and the policy of the skills executes it, by
    dynamics unless ``freeze_skills``.
    """
    if phase == "finetune":
        return _finetuning(settings, sizes, device)
    if phase == "offline":
        skill = _skill_drive(settings, sizes, device)
        return Setup([skill], Explorer(skill, skill))
    (main,), _ = main_drive(settings, sizes, phase, device)
    skill = _skill_drive(settings, sizes, device)
    return Setup([main, skill], Explorer(main, skill))


def _skill_drive(settings: ChoreographerSettings, sizes: Sizes, device: torch.device) -> Drive:
    agent = settings.agent
    return Drive(
        "skill",
        build_codes(sizes, agent).to(device),
        lambda feat_dim: task_behavior(
            settings,
            feat_dim,
            sizes.action,
            agent.skill_dim,
            "scalar",
            device,
            actor_ent=agent.skill_actor_ent,
            reward_norm=agent.skill_reward_norm.plain(),
        ),
        scores="imagination",
        method_opt=settings.actor_opt.plain(),
    ).to(device)


def _finetuning(settings: ChoreographerSettings, sizes: Sizes, device: torch.device) -> Setup:
    agent, actor, critic = settings.agent, settings.actor, settings.critic
    codes = agent.skill_dim

    def behavior(feat_dim: int) -> Behavior:
        selector = MLP(feat_dim, codes, actor.layers, actor.units)
        executor = Actor(feat_dim + codes, sizes.action, **actor.plain())
        opt = settings.actor_opt.plain()
        terms = {
            SELECTOR: Term(selector, opt, agent.actor_ent, "reinforce"),
            EXECUTOR: Term(executor, opt, 0.0, settings.actor_grad, trains=not agent.freeze_skills),
        }
        critics = (Critic(feat_dim, 0, **critic.plain()) for _ in range(2))
        return Behavior(terms, *critics, rollout=by_codes, **behavior_settings(settings, device))

    drive = ControllerDrive(
        MAIN,
        build_codes(sizes, agent).finetuned().to(device),
        behavior,
        scores="none",
        period=agent.update_skill_every_step,
        actor_waits=settings.retain.actor_waits if settings.retain else 0,
        init_frames=agent.num_init_frames,
    ).to(device)
    return Setup([drive], Controller(drive))
