"""Who acts, and where its skill comes from."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from agents.agent import Mode
from agents.dreamer.behavior import Behavior
from agents.dreamer.drive import Drive
from agents.dreamer.skill_choice import choose_by_imagination, join_views
from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import ReplayView
from agents.nn.distributions import Policy
from agents.nn.latent import Latent
from agents.skills import SkillSchedule, SkillSpace

CHOICE_RECORDS = 4096
"""Replayed records, at least, on which a skill is chosen."""

Look = Callable[[], tuple[ReplayView, Tensor]]
"""Another batch of replay as the world model sees it, and its task rewards (B, T)."""


class Pilot:
    """The actor of one drive under the skills of that drive's schedule; without skills, simply the actor.

    What else there can be derives from it: a choice made for good (:class:`Chooser`), or a selector that reads the
    latent of every step (:meth:`select`). A pilot has no weights and no state of its own; both are its drives'.
    """

    def __init__(self, drive: Drive) -> None:
        self.drive = drive

    @property
    def collects(self) -> Mode:
        """How training data is collected after the seed frames."""
        return "train" if self.drive.trains else "random"

    @property
    def skills(self) -> SkillSchedule:
        """What skills are drawn from while acting, and when they are renewed."""
        return self.drive.skills

    @property
    def recorded(self) -> SkillSpace:
        """What is stored beside every step (see :class:`agents.agent.Acts`)."""
        return self.skills.space

    @property
    def shown(self) -> SkillSpace:
        """What can be looked at (see :class:`agents.agent.Acts`)."""
        return self.skills.space

    @property
    def undecided(self) -> bool:
        """Whether it has yet to decide how to act: planning waits for that, and so may drives."""
        return False

    def adapt(self, frame: int, look: Look, world_model: WorldModel) -> str | None:
        """Decide on the host, before a step: ``frame`` counts from the start of the run.

        Returns a note when something changed.
        """
        return None

    def select(self, latent: Latent, skill: Tensor, mode: Mode) -> Tensor:
        """The skill (n, k) to act by now, given the latent (n, ...) after filtering and the skill so far (n, k).

        Not asked in ``random`` and ``show``, where nobody chooses.
        """
        return skill

    def behavior(self, mode: Mode) -> Behavior:
        """What acts in ``mode``: in ``show`` it is given a skill of :attr:`shown`."""
        return self.drive.behavior

    def policy(self, latent: Latent, skill: Tensor, mode: Mode) -> Policy:
        """latent (n, ...), skill (n, k) -> policy with parameters (n, A)."""
        return self.behavior(mode).actor(latent.feat, skill)


class Chooser(Pilot):
    """Skills from the schedule until frame ``at``, the best one from then on.

    ``how``: ``replay`` asks the method, by default for the likeliest under the actions of good sequences;
    ``imagination`` takes the skill with the largest imagined return.
    """

    def __init__(self, drive: Drive, at: int, how: Literal["replay", "imagination"]) -> None:
        super().__init__(drive)
        self.at, self.how = at, how

    @property
    def undecided(self) -> bool:
        return not self.skills.settled

    def adapt(self, frame: int, look: Look, world_model: WorldModel) -> str | None:
        if not self.undecided or frame < self.at:
            return None
        skill = self._choose(look, world_model)
        self.skills.settle(skill)
        return f"skill chosen at frame {frame}: {self.skills.space.name(skill)}"

    @torch.no_grad()
    def _choose(self, look: Look, world_model: WorldModel) -> Tensor:
        views: list[ReplayView] = []
        rewards: list[Tensor] = []
        while sum(reward.numel() for reward in rewards) < CHOICE_RECORDS:
            view, reward = look()
            views.append(view)
            rewards.append(reward)
        view, reward = join_views(views), torch.cat(rewards)
        if self.how == "imagination":
            return choose_by_imagination(world_model, self.drive.behavior, self.skills.space, view)
        return self.drive.method.choose_skill(view, reward, self.drive.behavior.actor)
