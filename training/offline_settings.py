"""What a run on data that others have collected reads."""

from pathlib import Path

from typing_extensions import Self

from envs.make import resolve_task
from envs.settings import VariantKeys
from replay.settings import DataSettings, WindowKeys
from training.settings import RunKeys
from utils.rules import Count, FolderName, Text
from utils.shared_keys import SeedPhaseKey


class OfflineKeys(RunKeys, VariantKeys, WindowKeys, SeedPhaseKey):
    """Of ``offline_train.py``; its unit is the update."""

    dataset: FolderName
    collection_method: FolderName
    dataset_dir: Text
    relabel_task: Text | None
    replay: DataSettings
    num_train_updates: Count
    log_every_updates: Count

    @property
    def steps(self) -> int:
        return self.num_train_updates

    @property
    def step_frames(self) -> int:
        return 1

    @property
    def subject(self) -> str:
        return self.domain

    @property
    def observes(self) -> str:
        return self.obs_type

    @property
    def source(self) -> Path:
        """The folder of the data."""
        return Path(self.dataset_dir).expanduser().absolute()

    def resolved(self) -> Self:
        """With the task whose rewards are learned, or else the domain's primal one, for who looks at snapshots. Raises
        :class:`UserError` for a domain there is not.
        """
        primal = resolve_task(self.domain, None)
        return self.model_copy(update={"task": self.relabel_task or primal})


NOT_SIMULATED = {
    "task": "none",
    "env_factory": None,
    "image_size": 64,
    "floor": "default",
    "render": {"quality": "lite"},
    "num_seed_frames": 0,
    "save_video": False,
}
"""Settings of environments, which a run without any has for the tools that play the agents of its snapshots."""
