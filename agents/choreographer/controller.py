"""The meta-controller: which code to follow next, picked at every step (Mazzaglia et al. 2023, section 3.3)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agents.agent import Memory
from agents.choreographer.skill_codes import KnownCodes, SkillCodes
from agents.dreamer.behavior import Decision, Rolled, imagine
from agents.dreamer.drive import Drive
from agents.dreamer.rssm import RSSM
from agents.dreamer.world_model import WorldModel
from agents.exploration.intrinsic_reward import Imagined, ReplayView, Scored
from agents.latch import Latch
from agents.nn import across
from agents.nn.distributions import categorical_entropy, log_softmax, sample_one_hot
from agents.nn.latent import Latent

SELECTOR, EXECUTOR = "selector", "executor"
"""The two networks: features -> logits over the codes, and the actor of the skills."""

REWARDED = 1e-4
"""A task reward above this has been found."""


class Picks:
    """Codes as one-hot vectors, drawn from logits (..., N)."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def until(self, time: int) -> "Picks":
        """Those of the times 0 .. time - 1, the first dimension."""
        return Picks(self.logits[:time])

    def sample(self) -> Tensor:
        """(..., N), without gradient."""
        return sample_one_hot(self.logits.detach()[..., None, :])[..., 0, :]

    @property
    def mode(self) -> Tensor:
        """The likeliest, (..., N)."""
        return F.one_hot(self.logits.argmax(-1), self.logits.shape[-1]).float()

    def log_prob(self, code: Tensor) -> Tensor:
        """In nats, of one-hot codes (..., N) -> (...)."""
        return (log_softmax(self.logits) * code).sum(-1)

    def entropy(self) -> Tensor:
        """In nats, (...)."""
        return categorical_entropy(log_softmax(self.logits)[..., None, :])


def by_codes(networks: Mapping[str, nn.Module], rssm: RSSM, start: Latent, skill: Tensor, horizon: int) -> Rolled:
    """The rollout of a controller: a code drawn from the selector at every step, an action of the executor under it.

    Neither reads features with a gradient, and none flows from the executor into the selector. ``skill`` is ignored.
    """
    logits: list[Tensor] = []

    def pick(feat: Tensor) -> Tensor:
        logits.append(networks[SELECTOR](feat))
        return Picks(logits[-1]).sample()

    traj, policy = imagine(rssm, networks[EXECUTOR], start, pick, horizon)  # type: ignore[arg-type]
    picked = Decision(Picks(torch.stack(logits)), traj.skill[:-1])
    return Rolled(traj, {SELECTOR: picked, EXECUTOR: Decision(policy, traj.action[1:])})


class ControllerDrive(Drive):
    """The task, by a controller over the codes; until a reward was found in a batch only the world model learns.

    ``init_frames``: frames of the run before the controller may act.
    """

    def __init__(self, *given: Any, init_frames: int, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.init_frames = init_frames
        self.found, self.begun = Latch(), Latch()
        self.rewarded: Tensor
        self.register_buffer("rewarded", torch.zeros((), dtype=torch.bool))

    @property
    def codes(self) -> SkillCodes:
        """The codes as fine-tuning found them."""
        assert isinstance(self.method, KnownCodes)
        return self.method.codes

    @property
    def controls(self) -> bool:
        """Whether the controller acts; random codes are followed before."""
        return self.found.on and self.begun.on

    def target(self, view: ReplayView, task_reward: Tensor) -> Scored:
        self.rewarded.logical_or_(across.any_of((task_reward > REWARDED).any()))
        return super().target(view, task_reward)

    def adapt(self, frame: int, memory: Memory) -> str | None:
        before = self.controls
        if not self.begun.on and frame >= self.init_frames:
            self.begun.trip()
        notes = []
        if not self.found.on and bool(self.rewarded):
            self.found.trip()
            notes.append(f"a reward was found by frame {frame}")
        if self.controls and not before:
            notes.append(f"the controller picks the skills from frame {frame} on")
        return "; ".join(notes) or None

    def behaves(self, undecided: bool) -> bool:
        return self.found.on

    def score(self, world_model: WorldModel, traj: Imagined) -> Scored:
        scored = super().score(world_model, traj)
        picked = traj.skill.flatten(0, -2).amax(0).sum()
        return scored._replace(metrics={**scored.metrics, "skills_updated": picked})

    def parts(self) -> dict[str, nn.Module]:
        """Executor and codes go by the names they had in pre-training, so that fine-tuning can start from this, too."""
        found = super().parts() | {"found": self.found, "begun": self.begun, "method": self.codes}
        return {_STORED.get(name, name): module for name, module in found.items()}

    def initial(self, *, init_actor: bool, init_critic: bool) -> dict[str, nn.Module]:
        critics = super().initial(init_actor=False, init_critic=init_critic)
        executor = {_STORED[EXECUTOR]: self.behavior.terms[EXECUTOR].network} if init_actor else {}
        return critics | executor | {_STORED["method"]: self.codes}


_STORED = {EXECUTOR: "skill_actor", "method": "skill_method"}
"""The names that parts have in the snapshots of pre-training."""
