"""What may be asked of any agent: to act, to learn, to be saved and fine-tuned, to be compiled and captured."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from agents.settings import AgentSettings
from agents.skills import SkillSpace
from utils.compile import Captured

Phase = Literal["pretrain", "offline", "finetune"]
"""What an agent is to do: find out by itself, learn from data that somebody else has collected, or learn a task."""

Mode = Literal["random", "train", "eval", "show", "sample"]
"""How to act: uniform actions, a sample of the policy, its mean; under a skill set from outside the mean, or a sample.
"""

FOLLOWS: tuple[Mode, ...] = ("show", "sample")
"""Where the skill is set from outside."""


class Acting(NamedTuple):
    """What an agent carries from one environment step to the next, one row per environment."""

    memory: tuple[Tensor, ...]
    """What it remembers of the episode so far: a NamedTuple of tensors (n, ...), such as Dreamer's
    :class:`agents.nn.latent.Latent` or the last frames."""
    action: Tensor
    """The action executed last, (n, A)."""
    skill: Tensor
    """(n, skill_dim)."""
    age: Tensor
    """Steps taken with that skill, int64 (n,)."""
    plan: Tensor
    """What the planner found last, (n, P, A); P = 0 without a planner."""


class Updated(NamedTuple):
    """What an update says of itself: 0-dim tensors by name, which stay on the device."""

    losses: dict[str, Tensor]
    """Losses and gradient norms, in the order in which they arose. An update in which one of them is NaN or infinite is
    taken back."""
    metrics: dict[str, Tensor]
    """Everything else worth a curve; what is said here decides nothing."""

    @property
    def logged(self) -> dict[str, Tensor]:
        """Both, under one roof."""
        return self.losses | self.metrics

    def prefixed(self, prefix: str) -> "Updated":
        """The same with ``prefix`` before every name."""
        losses, metrics = ({f"{prefix}{name}": value for name, value in part.items()} for part in self)
        return Updated(losses, metrics)

    @classmethod
    def of(cls, *parts: "Updated") -> "Updated":
        """Several as one. A name that two of them use is an error of whoever chose it."""
        whole = cls({}, {})
        for part in parts:
            assert not (twice := whole.logged.keys() & part.logged.keys()), f"logged twice: {', '.join(sorted(twice))}"
            whole.losses.update(part.losses)
            whole.metrics.update(part.metrics)
        return whole


class Memory(Protocol):
    """What an agent may look at of the run so far."""

    def sample(self) -> Mapping[str, Tensor]:
        """A batch as updates get them."""
        ...

    def history(self, *keys: str) -> Iterable[Mapping[str, np.ndarray]]:
        """These keys of all records, a finished episode (L, ...) at a time, the reset's record first."""
        ...


class Acts(Protocol):
    """Acts on n environments at once, and can be looked at."""

    name: str
    device: torch.device

    @property
    def collects(self) -> Mode:
        """How training data is collected after the seed frames: ``train``, or ``random`` for the random agent."""
        ...

    @property
    def recorded(self) -> SkillSpace:
        """The skills that replay stores beside each step: those of ``Acting.skill``, or none."""
        ...

    @property
    def shown(self) -> SkillSpace:
        """The skills that can be looked at, each for itself: in videos, probes and evaluations of every skill.

        :meth:`act` follows one of them in modes ``show`` and ``sample``. Need not be those that are recorded, nor those
        that act in training.
        """
        ...

    @property
    def tries_skills(self) -> bool:
        """Whether it has skills and none of them was chosen for good: an evaluation then plays several."""
        ...

    @classmethod
    def schema(cls, agent: Mapping[str, Any]) -> type[AgentSettings]:
        """The settings that the agent reads, by its section ``agent`` (checked for ``name`` and ``_target_`` only).

        Raises :class:`utils.settings.SettingError` where that says too little.
        """
        ...

    def start(self, count: int) -> Acting:
        """A fresh acting state for ``count`` environments."""
        ...

    def begin(self, acting: Acting, begins: Tensor) -> Acting:
        """Prepare the environments where ``begins`` (n,) holds for a new episode: they get new skills."""
        ...

    def act(self, observation: Tensor, acting: Acting, is_first: Tensor, mode: Mode) -> tuple[Tensor, Acting]:
        """observation uint8 (n, C, S, S) or float32 (n, D), is_first bool (n,) -> action float32 (n, A) in [-1, 1] and
        the new state.
        """
        ...

    def skill_images(self) -> Tensor | None:
        """Images of where each candidate of :attr:`shown` is meant to lead, by the agent's own idea: float32 in [0, 1],
        (n, C, S, S). None where it has no such idea, or sees no images.
        """
        ...

    def skill_to(self, observation: Tensor) -> Tensor | None:
        """The skill of :attr:`shown`, (n,), that is to lead to where ``observation`` is seen, by the agent's own idea:
        uint8 (C, S, S) or float32 (D,). None where it has no such idea.
        """
        ...

    def embed(self, observations: Tensor) -> Tensor:
        """Where an episode leads: features (F,) of its last observation, from all of them, uint8 (T, C, S, S) or
        float32 (T, D).
        """
        ...

    def skill_log_probs(self, observations: Tensor) -> Tensor | None:
        """log q(. | s) of the T steps between an episode's observations (T + 1, ...): (T, n) over n one-hot skills, in
        nats. None for an agent without a discriminator that tells skills by observations.
        """
        ...


class Learns(Protocol):
    """Learns from batches of sequences, or of transitions, and can be stopped and go on."""

    device: torch.device
    updates: int
    """Updates so far; all else that an update changes are the tensors of :meth:`training_state`, in place."""

    def adapt(self, frame: int, memory: Memory) -> str | None:
        """Called before every step once the replay has a finished episode: the time for what is decided on the host,
        such as to choose a skill for good, or to begin to plan.

        ``frame`` counts from the start of the run; returns a note when something changed.
        """
        ...

    def update(self, batch: Mapping[str, Tensor]) -> Updated:
        """Train everything once."""
        ...

    def report(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Videos that show what was learned, each (N, T, C, H, W) float32 in [0, 1]."""
        ...

    def activation_bytes(self, batch_size: int, length: int) -> int:
        """Roughly what an update keeps for its gradients, of ``batch_size`` sequences of ``length`` records (or as many
        transitions, of length 1).
        """
        ...

    def training_state(self) -> dict[str, Any]:
        """Everything a resumed run needs: weights, optimisers, normalisers, counters."""
        ...

    def load_training_state(self, state: Mapping[str, Any]) -> None: ...


class Finetunes(Protocol):
    """Leaves snapshots, and starts from one."""

    def snapshot_modules(self) -> dict[str, dict[str, Tensor]]:
        """State dicts by module name: what fine-tuning may want."""
        ...

    def load_snapshot(
        self, modules: Mapping[str, Mapping[str, Tensor]], *, init_actor: bool, init_critic: bool
    ) -> None:
        """Start fine-tuning from the modules of a snapshot."""
        ...

    def load_weights(self, modules: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take all that a snapshot of the same phase holds, to act as the agent that was saved."""
        ...


class Agent(Acts, Learns, Finetunes, Captured, Protocol):
    """All that a run asks of its agent. What needs less asks for less: one of the four above."""


ASKED = tuple(
    name
    for part in (Acts, Learns, Finetunes, Captured)
    for name, value in vars(part).items()
    if not name.startswith("_") and (callable(value) or isinstance(value, property | classmethod))
)
"""The methods and properties that the class of an agent must have."""
