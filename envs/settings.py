"""What an environment is made from."""

from typing import Annotated, Literal

from envs.goals import GOALS
from utils.rules import Count, FolderName, OneOf, Seed, Text, whole
from utils.settings import Section
from utils.shared_keys import DomainKey


class RenderSettings(Section):
    quality: OneOf[Literal["full", "lite"]]


class EnvironmentKeys(DomainKey):
    """At the root of every script's settings."""

    seed: Seed
    task: Text
    goal_seed: Seed | None = None
    task_id: Annotated[int, whole(0, GOALS - 1)] | None = None
    env_factory: Text | None
    obs_type: OneOf[Literal["pixels", "states"]]
    image_size: Annotated[int, whole(16, 1024)]
    action_repeat: Count
    render: RenderSettings
    floor: OneOf[Literal["default", "gradient"]]

    @property
    def exorl(self) -> bool:
        """Whether the environment is the variant in which ExORL collected its data: see ``envs.make.EnvSettings``."""
        return False


VARIANTS = ("exorl",)
"""Data sets for which some bodies were other ones than the benchmark's."""


class VariantKeys(EnvironmentKeys):
    """Of an environment that may be the one in which data was collected."""

    dataset: FolderName | None = None
    """Name of the data."""

    @property
    def exorl(self) -> bool:
        return self.dataset in VARIANTS
