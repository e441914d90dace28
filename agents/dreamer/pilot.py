"""Who acts, and where its skill comes from."""

from collections.abc import Callable

import torch
from torch import Tensor

from agents.agent import Memory, Mode
from agents.dreamer.behavior import Behavior
from agents.dreamer.drive import Drive
from agents.dreamer.skill_choice import LIKELIHOODS, best_paid, choose_by_imagination, join_views, likelihoods
from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import ReplayView
from agents.nn.distributions import Policy
from agents.nn.latent import Latent
from agents.skill_values import rewards_by_skill
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
    def tries_skills(self) -> bool:
        """See :class:`agents.agent.Acts`."""
        return self.skills.space.dim > 0 and not self.skills.settled

    @property
    def undecided(self) -> bool:
        """Whether it has yet to decide how to act: planning waits for that, and so may drives."""
        return False

    def adapt(self, frame: int, memory: Memory, look: Look, world_model: WorldModel) -> str | None:
        """Decide on the host, before a step: ``frame`` counts from the start of the run.

        Returns a note when something changed.
        """
        return None

    def select(self, latent: Latent, skill: Tensor, mode: Mode) -> Tensor:
        """The skill (n, k) to act by now, given the latent (n, ...) after filtering and the skill so far (n, k).

        Not asked in ``random`` and ``show``, where nobody chooses.
        """
        return skill

    def plans(self, mode: Mode) -> bool:
        """Whether the planner, where there is one, acts in ``mode``."""
        return mode != "sample"

    def goals(self) -> Tensor | None:
        """The deterministic states (n, deter) that the skills of :attr:`shown` are to lead to; None if nobody says."""
        return None

    def code_of(self, deter: Tensor) -> Tensor | None:
        """The skill of :attr:`shown`, (n,), whose state is nearest to ``deter`` (deter,); None if nobody says."""
        return None

    def coded(self, deter: Tensor) -> Tensor | None:
        """Deterministic states (..., deter) as the skills' own model has them; None without such a model."""
        return None

    def behavior(self, mode: Mode) -> Behavior:
        """What acts in ``mode``: in ``show`` it is given a skill of :attr:`shown`."""
        return self.drive.behavior

    def policy(self, latent: Latent, skill: Tensor, mode: Mode) -> Policy:
        """latent (n, ...), skill (n, k) -> policy with parameters (n, A)."""
        return self.behavior(mode).actor(latent.feat, skill)


class Chooser(Pilot):
    """Skills from the schedule until frame ``at``, the best one from then on.

    ``how``: ``reward`` takes the skill that was paid most (:func:`agents.skill_values.rewards_by_skill`), and where
    that cannot be told the one by ``likelihood_centred``; ``sweep`` does the same with a grid of skills;
    ``likelihood``, ``likelihood_paired`` and ``likelihood_centred`` the one under which the actions of good sequences
    are likeliest; ``imagination`` the one with the largest imagined return. Any other choice is the method's own.
    """

    def __init__(self, drive: Drive, at: int, how: str) -> None:
        super().__init__(drive)
        self.at, self.how = at, how

    @property
    def undecided(self) -> bool:
        return not self.skills.settled

    def adapt(self, frame: int, memory: Memory, look: Look, world_model: WorldModel) -> str | None:
        if not self.undecided or frame < self.at:
            return None
        skill, why = self._choose(memory, look, world_model)
        self.skills.settle(skill)
        return f"skill chosen at frame {frame}: {self.skills.space.name(skill)} ({why})"

    def _choose(self, memory: Memory, look: Look, world_model: WorldModel) -> tuple[Tensor, str]:
        """The skill (n,), and why it."""
        if self.how not in ("reward", "sweep"):
            return self._choose_by_sample(self.how, look, world_model), self.how
        candidates = self.skills.space.candidates(self.skills.chosen.device)
        tried = rewards_by_skill(memory.history("skill", "skill_valid", "reward"), candidates)
        best = best_paid(tried)
        if isinstance(best, str):
            how = "likelihood_centred"
            return self._choose_by_sample(how, look, world_model), f"{how}: {best}"
        paid = f"paid {tried.values[best]:.3g} per step, {tried.values[tried.steps > 0].mean():.3g} on average"
        return candidates[best], f"{self.how}: {paid}"

    @torch.no_grad()
    def _choose_by_sample(self, how: str, look: Look, world_model: WorldModel) -> Tensor:
        """By some batches of replay as the world model sees them."""
        views: list[ReplayView] = []
        rewards: list[Tensor] = []
        while sum(reward.numel() for reward in rewards) < CHOICE_RECORDS:
            view, reward = look()
            views.append(view)
            rewards.append(reward)
        view, reward = join_views(views), torch.cat(rewards)
        behavior, space = self.drive.behavior, self.skills.space
        if how == "imagination":
            return choose_by_imagination(world_model, behavior, space, view)
        if how not in LIKELIHOODS:
            return self.drive.method.choose_skill(view, reward)
        candidates = space.candidates(reward.device)
        return candidates[likelihoods(how, view, reward, behavior.actor, candidates).argmax()]
