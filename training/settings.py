"""What runs read: the keys of every run, and those of the kinds of runs there are."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field
from typing_extensions import Self

from agents.drq.settings import DrQSettings
from agents.rest.agent import schedule_of
from agents.rest.settings import RestSettings
from agents.settings import AgentSettings
from envs.make import canonical_task, resolve_task, validate_task
from envs.maze_layout import is_file
from envs.on_policy import known
from envs.settings import EnvironmentKeys, VariantKeys
from replay.settings import ReplayKeys, ReplaySettings, TransitionKeys, WindowKeys
from utils.compile import MODES
from utils.config import domain_of
from utils.rules import (
    Count,
    Flag,
    FolderName,
    Marks,
    NotNegative,
    OneOf,
    Positive,
    Rule,
    Seed,
    Text,
    Whole,
    choice,
    whole,
)
from utils.settings import Section
from utils.shared_keys import SeedPhaseKey

DEVICE = Rule(
    "auto, cpu, cuda or cuda:<index>",
    lambda v: isinstance(v, str) and re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,4})?", v) is not None,
)


Gpus = Annotated[int, whole(1, 64)]


class CollectSettings(Section):
    """How training environments are stepped."""

    overlap: Flag = Field(alias="async")
    workers: Flag | None
    timeout: Positive


Column = Annotated[
    str, Rule("eval/<column> or train/<column>", lambda v: isinstance(v, str) and bool(_COLUMN.fullmatch(v)))
]
"""Of ``eval.csv`` or ``train.csv``."""
_COLUMN = re.compile(r"(eval|train)/\S+")


class RunKeys(AgentSettings):
    """Of every run."""

    seed: Seed
    device: Annotated[str, DEVICE]
    num_gpus: Gpus
    resume: Text | None
    checkpoint_every_minutes: NotNegative
    snapshots: Marks
    snapshot_dir: Text | None
    snapshot_variant: FolderName | None
    objective: Column | None
    snapshot_base_dir: Text
    compile: Annotated[str, choice(*MODES)]
    on_nan: OneOf[Literal["stop", "skip"]]
    use_tb: Flag
    use_wandb: Flag
    project_name: Text
    experiment: Text
    save_video: Flag
    progress: OneOf[Literal["auto", True, False]]

    def fixed(self, run_dir: Path) -> dict[str, Any]:
        """What a run in ``run_dir`` was left to find by itself when it began, by key: it keeps that."""
        return {}

    def outside(self, run_dir: Path) -> dict[str, Path]:
        """Folders besides its own that a run in ``run_dir`` writes to, by the key that says where they are."""
        return {} if self.snapshot_dir is None else {"snapshot_dir": Path(self.snapshot_dir)}

    @property
    def steps(self) -> int:
        """Length of the run in steps of its clock."""
        raise NotImplementedError

    @property
    def step_frames(self) -> int:
        """Frames in such a step."""
        raise NotImplementedError

    @property
    def frames(self) -> int:
        """Length of the run in frames."""
        return self.steps * self.step_frames

    @property
    def subject(self) -> str:
        """Of what a run on wandb is called by: its domain, task or environment."""
        raise NotImplementedError

    @property
    def observes(self) -> str:
        """``pixels`` or ``states``."""
        raise NotImplementedError


class Schedule(NamedTuple):
    """When an off-policy run does what. Steps are agent steps over all environments."""

    steps: int
    """Length of the run."""
    seed_steps: int
    """Steps before the first update."""
    update_every: int
    """Steps between updates."""
    updates_at_once: int
    log_every: int
    """Frames between points of single updates in TensorBoard and wandb."""
    report_every: int
    """Frames between videos of what the model has learned."""
    evaluate_every: int | None
    """Frames between evaluations; None for no evaluation at all."""
    random_seed_actions: bool
    """Whether actions are random in the seed steps."""


class OffPolicyKeys(RunKeys, EnvironmentKeys, ReplayKeys):
    """Of runs that collect with environments and learn from a replay."""

    replay: ReplaySettings
    num_envs: Count
    collect: CollectSettings

    @property
    def schedule(self) -> Schedule:
        """When what is done."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """Agent steps over all environments."""
        return self.schedule.steps

    @property
    def step_frames(self) -> int:
        return self.action_repeat

    @property
    def subject(self) -> str:
        return self.task

    @property
    def observes(self) -> str:
        return self.obs_type

    @property
    def models(self) -> int:
        """Snapshots that go to the run folder, besides those at the frames of ``snapshots``."""
        return 0

    def resolved(self) -> Self:
        """With the full names of task and domain. Raises :class:`UserError` where there are none."""
        own, domain = self.env_factory, self.domain
        if domain == "none":
            domain = validate_task(self.task)[0] if own is None else domain_of(own, "none")
        task = resolve_task(domain, self.task) if own is None else self.task
        return self.model_copy(update={"domain": domain, "task": task})

    @property
    def uses_workers(self) -> bool:
        """Whether the training environments have processes of their own."""
        asked = self.collect.workers
        return self.num_envs > 1 or self.collect.overlap if asked is None else asked


class DreamerRunKeys(OffPolicyKeys, WindowKeys, SeedPhaseKey):
    """Of ``dreamer_pretrain.py`` and ``dreamer_finetune.py``; their unit is the frame."""

    image_size: OneOf[Literal[64]]
    num_eval_episodes: Count
    num_train_frames: Count
    seed_policy: OneOf[Literal["random", "actor"]]
    train_every_actions: Count
    log_every_frames: Count
    recon_every_frames: Count
    evaluate: Flag
    eval_every_frames: Count
    num_skill_videos: Count
    skill_video_steps: Count

    @property
    def schedule(self) -> Schedule:
        repeat = self.action_repeat
        return Schedule(
            steps=-(-self.num_train_frames // repeat),
            seed_steps=self.num_seed_frames // repeat,
            update_every=self.train_every_actions // repeat,
            updates_at_once=1,
            log_every=self.log_every_frames,
            report_every=self.recon_every_frames,
            evaluate_every=self.eval_every_frames if self.evaluate else None,
            random_seed_actions=self.seed_policy == "random",
        )


class PretrainKeys(DreamerRunKeys):
    """Of ``dreamer_pretrain.py``."""

    @property
    def subject(self) -> str:
        """The domain, and the task where the user has chosen one."""
        if self.task == "none":
            return self.domain
        if self.env_factory is not None:
            return f"{self.domain}_{self.task}"
        return self.domain if self.task == resolve_task(self.domain, None) else self.task


class SourceKeys(Section):
    """What fine-tuning takes over from a snapshot."""

    snapshot: Text | None
    init_actor: Flag
    init_critic: Flag


class FinetuneKeys(DreamerRunKeys, SourceKeys, VariantKeys):
    """Of ``dreamer_finetune.py``."""

    snapshot_ts: Whole | None
    from_offline: Flag
    dataset: FolderName | None
    collection_method: FolderName | None
    custom_snap_dir: Text | None
    save_ft_model: Flag
    eval_goals: Flag = False
    goal_mode: OneOf[Literal["random_skills", "nearest_code", "toward_goal"]] = "random_skills"

    @property
    def models(self) -> int:
        return int(self.save_ft_model)

    @property
    def made_in(self) -> tuple[str, ...]:
        """Folders in that of all snapshots, above the domain's, for what the one to start from has learned from."""
        if not self.from_offline:
            return (self.obs_type,)
        assert self.dataset is not None and self.collection_method is not None  # preflight has seen to it
        return self.dataset, self.collection_method


class DrQReplaySettings(ReplaySettings):
    store_physics: Flag = True


class DrQKeys(OffPolicyKeys, TransitionKeys, SourceKeys, DrQSettings):
    """Of ``drq_train.py``; its unit is the agent step."""

    env: Text | None
    domain: FolderName = "none"
    obs_type: OneOf[Literal["pixels"]] = "pixels"
    replay: DrQReplaySettings
    num_train_steps: Count
    num_train_iters: Count
    num_seed_steps: Whole
    eval_frequency: Count | None
    num_eval_episodes: Count | None
    log_frequency_step: Count

    @property
    def evaluation(self) -> tuple[int, int]:
        """Steps between evaluations and episodes of each, per skill. Null means the values of DrQ without skills
        (Kostrikov et al., 2021), and of its extension by DIAYN with them.
        """
        every, episodes = (100_000, 1) if self.num_skills else (5000, 10)
        return self.eval_frequency or every, self.num_eval_episodes or episodes

    @property
    def schedule(self) -> Schedule:
        log_every = self.action_repeat * self.log_frequency_step
        return Schedule(
            steps=self.num_train_steps,
            seed_steps=self.num_seed_steps,
            update_every=1,
            updates_at_once=self.num_train_iters,
            log_every=log_every,
            report_every=log_every,
            evaluate_every=self.action_repeat * self.evaluation[0],
            random_seed_actions=True,
        )

    @property
    def models(self) -> int:
        return 1 + self.num_train_steps // self.evaluation[0] + 1  # at step 0, and the final one

    def resolved(self) -> "DrQKeys":
        task, own = self.env or self.task, self.env_factory
        if own is None:
            task = canonical_task(task)
        domain = validate_task(task)[0] if own is None else domain_of(own, "none")
        variant = [] if self.snapshot_variant is None else [self.snapshot_variant]
        folder = Path(self.snapshot_base_dir, self.obs_type, domain, self.agent.name, str(self.seed), *variant)
        names = {"task": task, "env": None, "domain": domain, "snapshot_dir": self.snapshot_dir or str(folder)}
        return self.model_copy(update=names)


class RestKeys(RunKeys, RestSettings):
    """Of ``rest_train.py``; its unit is the iteration: a rollout and what is learned from it."""

    task: Text
    """The environment, which users call ``env``."""
    num_envs: Count
    traj_len: Count
    terminate_when_unhealthy: Flag | None
    timestamp: FolderName | None
    keep_every: Count

    domain: FolderName = "none"
    maze: Annotated[dict, Rule("a maze", lambda v: isinstance(v, dict))] | None = None
    """What the file ``task`` held when the run began, if it is one."""
    action_repeat: OneOf[Literal[1]] = 1
    snapshots: Marks = []  # noqa: RUF012
    snapshot_dir: None = None
    snapshot_variant: None = None
    compile: OneOf[Literal["off"]] = "off"
    num_gpus: OneOf[Literal[1]] = 1
    save_video: OneOf[Literal[False]] = False

    def fixed(self, run_dir: Path) -> dict[str, Any]:
        """The name of the folder of models, wherever the run is moved, and a maze, whatever becomes of its file."""
        return {"timestamp": self.models_dir(run_dir).name} | ({} if self.maze is None else {"maze": self.maze})

    def outside(self, run_dir: Path) -> dict[str, Path]:
        return {"snapshot_base_dir": self.models_dir(run_dir)}

    @property
    def steps(self) -> int:
        return len(schedule_of(self))

    @property
    def step_frames(self) -> int:
        return self.num_envs * self.traj_len

    @property
    def subject(self) -> str:
        return self.domain

    @property
    def observes(self) -> str:
        return "states"

    def models_dir(self, run_dir: Path) -> Path:
        """Where the models of this run go: under the name of its folder, those of a sweep's jobs under both names."""
        name = "_".join((run_dir.parent.name, run_dir.name)) if run_dir.name.isdigit() else run_dir.name
        return Path(self.snapshot_base_dir).absolute() / (self.timestamp or name)

    def resolved(self) -> "RestKeys":
        """With the full name of the environment. Raises :class:`UserError` for one there is not."""
        found = known(self.task, self.maze)
        own = found.maze.plain() if found.maze is not None and is_file(self.task) else None
        return self.model_copy(update={"task": found.name, "domain": Path(found.name).stem, "maze": own})
