"""The interface every exploration method implements, and the three tuples that pass through it.

One update of :class:`agents.dreamer.agent.DreamerAgent` calls the method of every drive in this order::

    observe -> loss, step -> score_replay -> world model steps -> imagine -> score_imagined -> behaviour steps
            -> after_update

Shapes: B sequences, T time, N = B * T imagination starts, H horizon, F feature, E embedding, A action, n skills.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from agents.nn.latent import Latent
from agents.skills import NoSkills, SkillSpace

CriticHead = Literal["scalar", "successor"]
Scoring = Literal["replay", "imagination", "none"]

CHOICES = ("reward", "likelihood_centred", "likelihood_paired", "likelihood", "imagination")
"""Ways to choose the skill that fine-tuning keeps: see :class:`agents.dreamer.pilot.Chooser`."""

NO_METRICS: Mapping[str, Tensor] = MappingProxyType({})


class ReplayView(NamedTuple):
    """A replayed batch as a method sees it, (B, T, ...), detached from the world model."""

    obs: Tensor
    """Images uint8 (B, T, C, S, S), or states float32 (B, T, D)."""
    embed: Tensor
    action: Tensor
    """``action[:, t]`` led to record t."""
    skill: Tensor
    """Skill stored with record t, (B, T, n); n = 0 without skills."""
    skill_valid: Tensor
    """bool (B, T): False where the action did not come from that skill."""
    is_first: Tensor
    post: Latent
    feat: Tensor
    kl: Tensor
    """KL(post || prior) per step, (B, T)."""


class Imagined(NamedTuple):
    """An imagined rollout, time-major (H + 1, N, ...); index 0 is the replayed start."""

    feat: Tensor
    deter: Tensor
    action: Tensor
    """``action[t]`` led into ``feat[t]``; ``action[0]`` is a zero placeholder."""
    skill: Tensor
    """(H + 1, N, n): constant over time, unless the behaviour picks skills itself; then what it picked at t."""


class Scored(NamedTuple):
    """Rewards and where they count; entries outside ``valid`` reach neither normaliser, nor mean, nor loss."""

    value: Tensor
    valid: Tensor
    """bool; of the shape of ``value``, or of its leading dimensions only."""
    metrics: Mapping[str, Tensor] = NO_METRICS
    """What to log about this score, 0-dim tensors."""

    def masked(self) -> "Scored":
        """``valid`` expanded to the shape of ``value``, and zeros where it does not hold.

        A NaN there would be hidden by a masked mean, but not by its gradient (0 * NaN).
        """
        missing = self.value.dim() - self.valid.dim()
        valid = self.valid.reshape(*self.valid.shape, *[1] * missing).expand_as(self.value)
        return Scored(torch.where(valid, self.value, 0.0), valid, self.metrics)


def everywhere(value: Tensor, metrics: Mapping[str, Tensor] = NO_METRICS) -> Scored:
    """``value`` with every entry valid."""
    return Scored(value, torch.ones_like(value, dtype=torch.bool), metrics)


class Sizes(NamedTuple):
    """What a method needs to know of the run it is built for."""

    obs_shape: tuple[int, ...]
    action: int
    embed: int
    feat: int
    deter: int
    domain: str


class RunSizes(NamedTuple):
    """What a method's keys may have to fit, known before anything is built."""

    domain: str
    images: bool
    """Whether observations are images; else they are states."""
    image_size: int
    """Pixels a side."""
    particles: int
    """States that an update imagines, the starts included: (imag_horizon + 1) * batch_size * batch_length."""


class IntrinsicReward(nn.Module):
    """Base of all methods: no skills, no reward of its own, nothing to train.

    A method's constructor takes :class:`Sizes` first; its other parameters are the method's own keys in the agent's
    YAML, and their annotations (``icm_scale: Positive``) say what the values must be: see ``utils/rules.py``.
    """

    scores: ClassVar[Scoring] = "none"
    """Where the reward is computed. ``none``: the reward head learns the task reward. ``replay``: the head learns
    :meth:`score_replay`. ``imagination``: :meth:`score_imagined` is used and the head learns the task reward."""
    acts: ClassVar[Literal["actor", "uniform"]] = "actor"
    """``uniform``: collects with uniform random actions and trains no behaviour."""

    needs_images: ClassVar[bool] = False
    """Whether the method cannot do without images: it is refused where observations are states."""

    needs_skills: ClassVar[bool] = False
    """Whether the method learns from the skill stored with every record: it is refused where data hold none."""

    reads_view: ClassVar[bool] = False
    """Whether :meth:`after_update` is given the batch. It is kept until then; a captured graph copies it, about 50 MB
    at published sizes."""

    choices: ClassVar[tuple[str, ...]] = CHOICES
    """What ``agent.skill_choice`` may be for a method with skills: see :class:`agents.dreamer.pilot.Chooser`."""

    metric_name: ClassVar[str] = "method"
    """Prefix of ``<name>_loss`` and ``<name>_grad_norm`` in the logs."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.skills: SkillSpace = NoSkills()
        self.reward_outputs = 1
        """Outputs of the reward head in pre-training: n where :meth:`score_replay` gives (B, T, n)."""
        self.critic_head: CriticHead = "scalar"
        """What the behaviour's critic puts out: a value, or psi in R^d whose product with the skill is the value."""
        self.scores_steps = False
        """Whether :meth:`score_imagined` scores the step that leads to a state: the first one of a rollout has none."""

    @classmethod
    def check(cls, own: Any, run: RunSizes) -> None:
        """Raise :class:`utils.settings.SettingError` if the section ``agent``, which has the method's keys as
        attributes, does not go with the run; called before anything is built.
        """

    def loss(self, view: ReplayView) -> tuple[Tensor, dict[str, Tensor]] | None:
        """Loss (scalar) and metrics on replay, or None when the method trains nothing."""
        return None

    def score_replay(self, view: ReplayView) -> Scored:
        """Reward of every replayed step, (B, T), or (B, T, n) for all n skills at once."""
        raise TypeError(f"{type(self).__name__} does not score replayed steps")

    def score_imagined(self, traj: Imagined) -> Scored:
        """Reward of being in each imagined state, (H + 1, N); differentiable where the method wants it to be."""
        raise TypeError(f"{type(self).__name__} does not score imagined states")

    def choose_skill(self, view: ReplayView, reward: Tensor) -> Tensor:
        """The skill fine-tuning keeps, (n,), from replayed sequences and their task rewards (B, T).

        Asked by a choice of the method's own, one in :attr:`choices` that every method with skills does not have.
        """
        raise TypeError(f"{type(self).__name__} has no choice of its own")

    def finetuned(self) -> "IntrinsicReward":
        """What stays of the method in fine-tuning, where the task gives the reward: its skills, by default."""
        return TaskReward.keeping(self)

    def finetune_state(self) -> dict[str, Tensor]:
        """Tensors that fine-tuning restores from a snapshot; nothing by default."""
        return {}

    def after_update(self, count: int, view: ReplayView | None) -> None:
        """Host-side work after update number ``count`` (from 0), outside any captured graph.

        ``view``: the batch of that update, with ``reads_view``; None without.
        """


class TaskReward(IntrinsicReward):
    """Supervised Dreamer: the reward head learns the task's reward and the behaviour maximises it."""

    @classmethod
    def keeping(cls, method: IntrinsicReward) -> "TaskReward":
        """With the skills and the critic's head of ``method``, and nothing else of it."""
        rest = cls(method.sizes)
        rest.skills, rest.critic_head = method.skills, method.critic_head
        return rest


class RandomActions(IntrinsicReward):
    """Uniform random collection: only the world model learns; the snapshot holds an untrained actor."""

    acts = "uniform"


@runtime_checkable
class Directed(Protocol):
    """A method of which features of a goal, and of where one is, say which skill leads there."""

    def goal_skill(self, feat: Tensor, goal: Tensor) -> Tensor:
        """(..., F), (..., F) -> (..., D), a zero vector where the two are the same."""
        ...
