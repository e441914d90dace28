"""The keys of Choreographer's own, and what has to fit."""

from typing import ClassVar

from agents.dreamer.settings import DreamerSection, DreamerSettings, GradHeads, RewardNormSettings
from agents.exploration.intrinsic_reward import RunSizes
from agents.exploration.particle_entropy import check_neighbours
from agents.skills import SkillCount
from utils.rules import Count, Flag, Fraction, Layers, NotNegative, Number, Size, Whole


class ChoreographerSection(DreamerSection):
    """``agent``, besides the keys of the method that explores."""

    skill_dim: SkillCount
    code_dim: Size
    code_layers: Layers
    code_units: Size
    commitment: NotNegative
    code_decay: Fraction
    code_resampling: Flag
    resample_every: Count
    published_ema: Flag
    knn_k: Count
    knn_rms: Flag
    knn_avg: Flag
    knn_clip: Number
    knn_self: Flag
    skill_reward_norm: RewardNormSettings
    skill_actor_ent: NotNegative
    update_skill_every_step: Count
    num_init_frames: Whole
    freeze_skills: Flag
    task_grad_heads: GradHeads
    num_skill_videos: Count

    needs_snapshot: ClassVar[bool] = True
    one_actor: ClassVar[bool] = False
    has_skills: ClassVar[bool] = True
    has_codes: ClassVar[bool] = True

    def check(self, run: RunSizes) -> None:
        check_neighbours(self.knn_k, self.knn_self, run.particles)


class ChoreographerSettings(DreamerSettings):
    """What :func:`agents.choreographer.setup.choreographer` reads."""

    agent: ChoreographerSection
