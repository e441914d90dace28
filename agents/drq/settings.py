"""What DrQ reads; its keys lie at the root, under their published names."""

from typing import Annotated, Literal

from agents.drq.augmentations import NAMES, Step, is_steps
from agents.exploration.cic import Particles
from agents.exploration.metra import Constraint
from agents.exploration.particle_entropy import Scale
from agents.settings import AgentSettings
from utils.rules import (
    Count,
    Flag,
    Fraction,
    Kernels,
    Layers,
    NotNegative,
    Number,
    OneOf,
    Positive,
    Rule,
    Size,
    is_int,
    whole,
)
from utils.settings import Section
from utils.shared_keys import StackKey

Skills = Annotated[
    int, Rule("0 for none, or a whole number from 2 to 1000", lambda v: is_int(v) and (v == 0 or 2 <= v <= 1000))
]

AUGMENTATION = Rule(
    f"one of {', '.join(NAMES)}, or a list of these and of kornia's classes, such as "
    "[shift,RandomGrayscale,{RandomErasing:{p:0.3}}]",
    is_steps,
)


Method = Literal["diayn", "metra", "cic", "rnd", "apt"]


class MethodKeys(Section):
    """Of the methods besides DIAYN, under the names that their classes in ``agents/exploration`` have for them."""

    discrete: Flag
    dual_lambda: Positive
    dual_slack: NotNegative
    constraint: OneOf[Constraint]
    cic_temp: Positive
    project_skill: Flag
    exact_negatives: Flag
    cic_particles: OneOf[Particles]
    knn_k: Count
    knn_scale: OneOf[Scale]
    knn_avg: Flag
    knn_clip: Number
    knn_self: Flag
    rnd_rep_dim: Size
    rnd_cnn_depth: Size
    rnd_cnn_kernels: Kernels
    batch_statistics: Flag


class DrQSettings(AgentSettings, StackKey, MethodKeys):
    """What :class:`agents.drq.agent.DrQAgent` reads."""

    method: OneOf[Method]
    augmentation: Annotated[Step | list[Step], AUGMENTATION]
    image_pad: Annotated[int, whole(0, 64)]
    discount: Fraction
    lr: Positive
    init_temperature: Positive
    actor_update_frequency: Count
    critic_tau: Fraction
    critic_target_update_frequency: Count
    encoder_feature_dim: Size
    encoder_channels: Size
    critic_hidden_dim: Size
    critic_hidden_depth: Layers
    actor_hidden_dim: Size
    actor_hidden_depth: Layers
    actor_log_std_min: Number
    actor_log_std_max: Number
    grad_clip: Positive | None
    num_skills: Skills
    skill_embedding_dim: Size
    extrinsic_coeff: Number | None
    diayn_intrinsic_reward_coeff: Number
    lr_discriminator: Positive | None
    discriminator_hidden_dim: Size
    discriminator_hidden_depth: Layers
    skill_critic: Flag
    discriminator_features: OneOf[Literal["own", "critic"]]
    reward_state: OneOf[Literal["next", "current"]]
    reference: Flag
