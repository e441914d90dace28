"""A drive: a behaviour, the method that rewards it, and everything the two need."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from agents.agent import Memory, Updated
from agents.dreamer.behavior import Behavior
from agents.dreamer.retain import Due
from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import Imagined, IntrinsicReward, ReplayView, Scored, Scoring, everywhere
from agents.nn.latent import Latent
from agents.nn.optimizer import Optimizer
from agents.skills import SkillSchedule

MAIN = "main"
"""The drive whose parts and metrics carry no prefix, and whose target the reward head learns."""

SPREAD_STATES = 64
"""States on which the dependence of the policy on the skill is measured."""


class Drive(nn.Module):
    """One reason to act: a method, the behaviour it rewards, the skills that behaviour knows, and their optimisers.

    ``name`` prefixes the drive's parts in snapshots and its behaviour's metrics; ``main`` has no prefix.
    ``behavior`` builds the behaviour for features (..., F) once the world model is there (:meth:`build`). ``scores``:
    where the reward comes from, as :attr:`IntrinsicReward.scores` has it. ``period``: steps until a skill is renewed,
    0 for never. ``evenly``: environments try the skills in turns. ``method_opt``: settings of the method's optimiser,
    None where the method is not trained. ``trains``: whether the behaviour learns; with ``waits`` not before the pilot
    has decided how to act, and in the first ``actor_waits`` updates of the agent only its critic.
    The method has to be on its device already.

    What a drive has to know of data, it learns in :meth:`adapt` and keeps in a :class:`agents.latch.Latch`.
    """

    behavior: Behavior

    def __init__(
        self,
        name: str,
        method: IntrinsicReward,
        behavior: Callable[[int], Behavior],
        *,
        scores: Scoring,
        period: int = 0,
        evenly: bool = False,
        method_opt: Mapping[str, float] | None = None,
        trains: bool = True,
        waits: bool = False,
        actor_waits: int = 0,
    ) -> None:
        super().__init__()
        self.name, self.scores, self.trains, self.waits = name, scores, trains, waits
        self.actor_waits = actor_waits
        self.prefix = "" if name == MAIN else f"{name}_"
        self.method = method
        self.skills = SkillSchedule(method.skills, period, evenly=evenly)
        self._behavior = behavior
        learned = [p for p in method.parameters() if p.requires_grad]
        self.method_opt = Optimizer(learned, **method_opt) if learned and method_opt is not None else None

    def build(self, feat_dim: int) -> None:
        """Make the behaviour, whose networks read features (..., F) of the world model."""
        self.behavior = self._behavior(feat_dim)

    @property
    def reward_outputs(self) -> int:
        """Outputs of a reward head that learns this drive's target."""
        return self.method.reward_outputs if self.scores == "replay" else 1

    # ---- on the host

    def adapt(self, frame: int, memory: Memory) -> str | None:
        """See :class:`agents.agent.Learns`."""
        return None

    def behaves(self, undecided: bool) -> bool:
        """Whether the behaviour learns in the next update; ``undecided``: the pilot has yet to choose how to act."""
        return self.trains and not (self.waits and undecided)

    def prepare(self, count: int, undecided: bool) -> Due:
        """What of the behaviour learns in the next update, the agent's ``count`` + 1st."""
        if self.behavior.anchor is not None:
            self.behavior.anchor.settle(max(0, count - self.actor_waits))
        if not self.behaves(undecided):
            return "nothing"
        return "critic" if count < self.actor_waits else "all"

    def after_update(self, count: int, view: ReplayView | None) -> None:
        """Slow targets, and what the method does between updates."""
        self.behavior.after_update(count)
        self.method.after_update(count, view)

    # ---- on the device, in the order of an update

    def train_method(self, view: ReplayView) -> Updated:
        """One step of the method's own loss, if it has one."""
        if self.method_opt is None:
            return Updated({}, {})
        trained = self.method.loss(view)
        assert trained is not None, f"{type(self.method).__name__} has parameters but no loss"
        loss, metrics = trained
        assert loss.shape == (), f"the loss of {type(self.method).__name__} is {tuple(loss.shape)}, not a scalar"
        name = self.method.metric_name
        return Updated({f"{name}_loss": loss.detach(), f"{name}_grad_norm": self.method_opt.step(loss)}, metrics)

    @torch.no_grad()
    def target(self, view: ReplayView, task_reward: Tensor) -> Scored:
        """What the reward head learns if this is the main drive: the method's score of replay, or the task reward."""
        return self.method.score_replay(view) if self.scores == "replay" else everywhere(task_reward)

    def score(self, world_model: WorldModel, traj: Imagined) -> Scored:
        """The reward of an imagined rollout, (H + 1, N): the method's, or what the reward head predicts."""
        if self.scores == "imagination":
            return self.method.score_imagined(traj)
        return everywhere(world_model.reward(traj.feat, traj.skill))

    def train_behavior(self, world_model: WorldModel, start: Latent, due: Due = "all") -> Updated:
        """One step of the behaviour, as far as it is ``due``, from states (N, ...), each under a skill drawn for it."""
        if due == "nothing":
            return Updated({}, {})
        skill = self.skills.draw(len(start.deter))
        assert skill.shape == (len(start.deter), self.skills.space.dim)
        score = partial(self.score, world_model)
        through = world_model.reward_head, self.method
        updated = self.behavior.update(world_model.rssm, start, skill, score, *through, decides=due == "all")
        if self.skills.space.dim and "actor" in self.behavior.terms:
            updated.metrics["skill_spread"] = self.skill_spread(start.feat)
        return updated.prefixed(self.prefix)

    @torch.no_grad()
    def skill_spread(self, feat: Tensor) -> Tensor:
        """How much the policy depends on the skill: standard deviation of its mean action over the skills.

        Averaged over actions and at most ``SPREAD_STATES`` of the features (N, F).
        """
        skills = self.skills.space.candidates(feat.device)
        pairs = feat[:SPREAD_STATES, None].expand(-1, len(skills), -1)
        policy = self.behavior.actor(pairs, skills.expand(*pairs.shape[:2], -1))
        return policy.mean.std(1).mean()

    # ---- saving

    def parts(self) -> dict[str, nn.Module]:
        """The modules of a snapshot by name: what decides, critics, method, and skills if there are any."""
        found: dict[str, nn.Module] = {
            **{name: term.network for name, term in self.behavior.terms.items()},
            "critic": self.behavior.critic,
            "slow_critic": self.behavior.slow_critic,
            "method": self.method,
        }
        if self.skills.space.dim:
            found["skills"] = self.skills
        return {f"{self.prefix}{name}": module for name, module in found.items()}

    def initial(self, *, init_actor: bool, init_critic: bool) -> dict[str, nn.Module]:
        """What fine-tuning takes from a snapshot: the module for each of the snapshot's parts that is wanted."""
        found: dict[str, nn.Module] = {}
        if init_actor:
            found |= {name: term.network for name, term in self.behavior.terms.items()}
        if init_critic:
            found |= {"critic": self.behavior.critic, "slow_critic": self.behavior.slow_critic}
        return {f"{self.prefix}{name}": module for name, module in found.items()}

    def optimizers(self) -> dict[str, Optimizer]:
        """By the names a checkpoint knows them by."""
        found: dict[str, Any] = dict(self.behavior.optimizers)
        if self.method_opt is not None:
            found["method"] = self.method_opt
        return {f"{self.prefix}{name}": optimizer for name, optimizer in found.items()}
