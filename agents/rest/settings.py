"""What ReST reads; keys have their published names where they have one."""

from typing import Annotated, Any, Literal

from utils.rules import (
    MOST_UNITS,
    Count,
    Flag,
    Fraction,
    Layers,
    NotNegative,
    Number,
    OneOf,
    Positive,
    Rule,
    Size,
    Whole,
    ints,
    whole,
)
from utils.settings import Section


def _widths(value: Any) -> bool:
    return ints(value, 1) and 1 <= len(value) <= 8 and max(value) <= MOST_UNITS


Widths = Annotated[list[int], Rule(f"a list of 1 to 8 whole numbers from 1 to {MOST_UNITS}, such as [64,64]", _widths)]

Method = Literal["rest", "diayn", "random", "task"]
Init = Literal["code", "paper"]


class PPOSettings(Section):
    """Of :mod:`agents.rest.ppo`, its networks, and what it makes of a reward."""

    hid_sizes: Widths
    log_std_init: Number
    pi_lr: Positive
    vf_lr: Positive
    train_pi_iters: Count
    train_v_iters: Count
    batch_size: Count | None
    """Rows of a step; None: the whole rollout."""
    clip_ratio: Positive
    ent_coef: NotNegative
    target_kl: Positive | None
    gamma: Fraction
    gaelam: Fraction


class DensitySettings(Section):
    """Of :class:`agents.rest.density.Densities` and the reward that comes of them."""

    hid_sizes: Widths
    outputs: Size
    lr: Positive
    iters: Count
    batch_size: Count | None
    alpha: Positive
    obs: OneOf[Literal["raw", "normalised", "positions_scaled"]]
    position_scale: Positive
    fit_on: OneOf[Literal["next", "current", "next_and_first"]]
    shared_target: Flag


class DiscriminatorSettings(Section):
    """Of :class:`agents.rest.diayn.Discriminator`."""

    hidden: Size
    depth: Layers
    lr: Positive
    iters: Count
    batch_size: Count
    memory: Count


class RestSettings(Section):
    """What :class:`agents.rest.agent.RestAgent` reads."""

    method: OneOf[Method]
    num_skills: Annotated[int, whole(2, 1000)]
    epochs: Count
    turn_iters: Count
    init: OneOf[Init]
    warmup_rollouts: Whole
    same_start: Flag
    ppo: PPOSettings
    rnd: DensitySettings
    diayn: DiscriminatorSettings
