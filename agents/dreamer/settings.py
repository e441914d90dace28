"""What a Dreamer agent reads: keys at the root, shared by all of them, and those of the section ``agent``."""

import functools
from typing import Annotated, Any, ClassVar, Literal

from pydantic import create_model

from agents.exploration.build import own_keys
from agents.exploration.intrinsic_reward import RunSizes
from agents.nn.distributions import POLICIES
from agents.settings import AgentSection, AgentSettings, MLPSettings, OptimizerSettings
from utils.rules import (
    Count,
    Flag,
    Fraction,
    Kernels,
    Layers,
    NotNegative,
    OneOf,
    Positive,
    Rule,
    Several,
    Size,
    Text,
    Whole,
    choice,
    whole,
)
from utils.settings import Section, SettingError
from utils.shared_keys import DomainKey, SeedPhaseKey

GradHeads = Annotated[
    list[str],
    Rule("a list out of decoder, reward", lambda v: isinstance(v, list) and all(h in ("decoder", "reward") for h in v)),
]


class RSSMSettings(Section):
    deter: Size
    hidden: Size
    stoch: Size
    discrete: Size


class CodecSettings(Section):
    """Encoder or decoder: ``cnn_*`` of images, ``mlp_*`` of states."""

    cnn_depth: Size
    cnn_kernels: Kernels
    mlp_layers: Layers
    mlp_units: Size


class KLSettings(Section):
    free: NotNegative
    balance: Fraction


class LossScales(Section):
    """Weights of the parts of the world model's loss."""

    kl: NotNegative
    observation: NotNegative
    reward: NotNegative


class ActorSettings(MLPSettings):
    min_std: Positive
    dist: Annotated[str, choice(*POLICIES)]


class PlannerSettings(Section):
    """Of a :class:`agents.dreamer.planner.Planner`."""

    start_after: Whole
    horizon: Annotated[int, whole(2, 100)]
    iterations: Annotated[int, whole(1, 1000)]
    num_samples: Annotated[int, whole(1, 2**14)]
    num_elites: Count
    mixture_coef: Fraction
    temperature: NotNegative
    momentum: Fraction
    min_std: Positive
    use_value: Flag

    @property
    def candidates(self) -> int:
        """Action sequences that an iteration scores, the policy's included."""
        return self.num_samples + int(self.mixture_coef * self.num_samples)


class RetainSettings(Section):
    """How fine-tuning holds on to the actor it starts from (:mod:`agents.dreamer.retain`)."""

    actor_waits: Whole
    anchor: NotNegative
    anchor_updates: Count


class RewardNormSettings(Section):
    """Of a :class:`agents.dreamer.returns.StreamNorm`."""

    momentum: Fraction
    scale: Positive
    eps: Positive


class MethodOptimizerSettings(OptimizerSettings):
    """What an agent's file leaves out is the published value."""

    eps: Positive = 1e-5
    clip: Positive = 100
    wd: Fraction = 1e-6


class DreamerSection(AgentSection):
    """``agent``; :func:`dreamer_settings` adds the keys of the method."""

    method: Text
    grad_heads: GradHeads
    actor_ent: NotNegative
    reward_norm: RewardNormSettings
    reference: Flag
    decoder_elu_output: Flag
    entropy_in_targets: Flag
    drives: Text | None = None
    """Import path of a factory of drives (``agents/dreamer/setup.py``); None: the method's alone."""
    method_opt: MethodOptimizerSettings | None = None
    """None: as the world model's."""

    needs_snapshot: ClassVar[bool] = False
    """Whether fine-tuning cannot begin without one."""
    one_actor: ClassVar[bool] = True
    """Whether fine-tuning has one actor, which ``retain.anchor`` can hold to the snapshot's."""

    has_skills: ClassVar[bool] = False
    """Whether there are skills to follow."""
    has_codes: ClassVar[bool] = False
    """Whether one of them is the nearest to an observation."""

    def check(self, run: RunSizes) -> None:
        """Raise :class:`utils.settings.SettingError` if keys besides the method's do not go with the run."""


class SkillSection(DreamerSection):
    """``agent`` of a method with skills."""

    update_skill_every_step: Count
    num_init_frames: Whole
    skill_choice: Text
    """One of the method's ``choices``."""
    skill_draw: OneOf[Literal["even", "random"]] = "random"
    """How skills are tried in fine-tuning before one is chosen."""
    train_before_choice: Flag = True
    skill_actor_ent: NotNegative = 0.0

    has_skills: ClassVar[bool] = True


class DreamerSettings(AgentSettings, DomainKey, SeedPhaseKey):
    """What :class:`agents.dreamer.agent.DreamerAgent` reads."""

    agent: DreamerSection
    rssm: RSSMSettings
    state_norm: OneOf[Literal["none", "running"]]
    encoder: CodecSettings
    decoder: CodecSettings
    reward_head: MLPSettings
    kl: KLSettings
    loss_scales: LossScales
    clip_rewards: OneOf[Literal["identity", "sign", "tanh"]]
    actor: ActorSettings
    critic: MLPSettings
    imag_horizon: Several
    discount: Fraction
    discount_lambda: Fraction
    actor_grad: OneOf[Literal["dynamics", "reinforce"]]
    task_actor_ent: NotNegative
    slow_target: Flag
    slow_target_update: Count
    slow_target_fraction: Fraction
    mpc: Flag
    planner: PlannerSettings
    retain: RetainSettings | None = None
    """Of fine-tuning alone."""
    model_opt: OptimizerSettings
    actor_opt: OptimizerSettings
    critic_opt: OptimizerSettings
    precision: OneOf[Literal[16, 32, "bf16"]]


@functools.cache
def settings_with(method: Any, section: type[DreamerSection] = DreamerSection) -> type[DreamerSettings]:
    """:class:`DreamerSettings` whose ``agent`` is ``section`` with the keys of ``method``, too.

    Raises :class:`SettingError` where both have a key.
    """
    own = own_keys(method)
    if twice := sorted(own.keys() & section.model_fields.keys()):
        raise SettingError(
            f"`agent.method`={method.__module__}.{method.__qualname__} has `agent.{twice[0]}`, and so has "
            "`agent.drives`. Take another method."
        )
    base = SkillSection if "skill_dim" in own else section
    if base is SkillSection:
        own |= {"skill_choice": (Annotated[str, choice(*method.choices)], ...)}
    section = create_model(f"{method.__name__}Section", __base__=base, **own)  # type: ignore[call-overload]
    return create_model("DreamerSettings", __base__=DreamerSettings, agent=(section, ...))
