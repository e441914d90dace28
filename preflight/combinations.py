"""Checks of values that are allowed one by one, but not together.

Each is a function of the section of settings it is about, and is made wherever the settings have that section's keys.
Every one raises :class:`utils.errors.UserError`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.dreamer.settings import DreamerSection, DreamerSettings, SkillSection
from agents.drq.augmentations import check_augmentation, draws_on_host
from agents.drq.methods import check_method
from agents.drq.settings import DrQSettings
from agents.exploration.build import check_observations, check_skills, method_class
from agents.exploration.intrinsic_reward import Directed, RunSizes
from agents.nn.kernels import check_decoder, check_encoder
from envs.make import EnvSettings, goals_of, with_goals
from envs.relabel import check_relabel
from replay.layout import divide
from training.offline_settings import OfflineKeys
from training.parts import env_arguments, episode_records
from training.settings import DreamerRunKeys, DrQKeys, FinetuneKeys, OffPolicyKeys, RunKeys
from utils.folders import check_writable
from utils.rules import shown
from utils.settings import Section, SettingError

FRAME_COUNTS = ("num_seed_frames", "train_every_actions", "log_every_frames", "eval_every_frames", "recon_every_frames")
"""Keys in frames that act on agent steps, so ``action_repeat`` must divide them."""


def check_combinations(settings: Section) -> None:
    """All checks below that are about sections of ``settings``, in their order."""
    for section, check in CHECKS:
        if isinstance(settings, section):
            check(settings)


def _environment(settings: OffPolicyKeys) -> None:
    """``action_repeat`` divides an episode."""
    EnvSettings(settings.task, seed=settings.seed, **env_arguments(settings)).check()


def _frames(settings: DreamerRunKeys) -> None:
    """``action_repeat`` divides the frame counts."""
    counts = [(key, getattr(settings, key)) for key in FRAME_COUNTS]
    repeat = settings.action_repeat
    for key, value in (*counts, *(("snapshots", mark) for mark in settings.snapshots)):
        if value % repeat:
            below = value - value % repeat
            near = ", ".join(str(v) for v in (below, below + repeat) if v > 0)
            raise SettingError(f"`{key}`={value} is not a multiple of `action_repeat`={repeat}. Use {near}.")


def _collecting(settings: OffPolicyKeys) -> None:
    """Environments that step while the agent learns do so in processes of their own."""
    if settings.collect.overlap and settings.collect.workers is False:
        raise SettingError(
            "`collect.async`=true needs `collect.workers`=true: environments in this process cannot step while it "
            "learns. Leave `collect.workers` out, or `collect.async`."
        )


def _replay(settings: OffPolicyKeys) -> None:
    """A sequence fits into an episode, and the episodes of all environments into the replay."""
    length, records = settings.drawn.get("batch_length"), episode_records(settings)
    if length is not None and length > records:
        raise SettingError(f"`batch_length`={length} is longer than an episode of {records} records. Lower it.")
    divide(settings.replay.capacity, num_envs=settings.num_envs, episode_length=records, **settings.drawn)


def _networks(settings: Any) -> None:
    """The kernels fit the image, if there is one."""
    if settings.obs_type != "pixels":
        return
    check_encoder("encoder.cnn_kernels", settings.encoder.cnn_kernels, settings.image_size)
    check_decoder("decoder.cnn_kernels", settings.decoder.cnn_kernels, settings.image_size)


def _imagined_choice(settings: FinetuneKeys) -> None:
    """Imagined returns need a reward head that has been trained."""
    agent, seed_frames = settings.agent, settings.num_seed_frames
    if not isinstance(agent, SkillSection) or agent.skill_choice != "imagination":
        return
    if agent.num_init_frames <= seed_frames:
        raise SettingError(
            f"`agent.skill_choice`=imagination needs a trained reward head, but `agent.num_init_frames`="
            f"{agent.num_init_frames} lies within `num_seed_frames`={seed_frames}. "
            f"Raise `agent.num_init_frames`, for example to {2 * seed_frames}."
        )


def _retain(settings: DreamerSettings) -> None:
    """There is an actor to hold on to in fine-tuning only."""
    if settings.retain is not None and not isinstance(settings, FinetuneKeys):
        raise SettingError(
            "`retain` holds on to a snapshot's actor: use it with dreamer_finetune.py; leave it out here."
        )


def _planner(settings: DreamerSettings) -> None:
    """Planning needs a reward head for the task, and as many candidates as elites."""
    if not settings.mpc:
        return
    if not isinstance(settings, FinetuneKeys):
        raise SettingError(
            "`mpc`=true plans with the reward head of a task, and pre-training has none. "
            "Use it with dreamer_finetune.py; leave it out here."
        )
    planner = settings.planner
    if planner.num_elites > planner.candidates:
        raise SettingError(
            f"`planner.num_elites`={planner.num_elites} is more than the {planner.candidates} candidates of an "
            f"iteration (`planner.num_samples`={planner.num_samples} and the policy's). Lower it."
        )


def _source(settings: FinetuneKeys) -> None:
    """One snapshot at most is named, and its folder is no file.

    Both may be missing: a resumed run needs its snapshot no more.
    """
    folder = settings.custom_snap_dir
    if settings.snapshot is None and settings.snapshot_ts is None:
        raise SettingError(
            "`snapshot_ts`=null: no snapshot is named. Set `snapshot`=<file>, or `snapshot_ts`=0 for none."
        )
    if settings.from_offline and settings.snapshot is not None:
        raise SettingError(
            f"`snapshot`={settings.snapshot} names the file to start from, and `from_offline`=true another one. Leave "
            "one of them out."
        )
    for key, example in (("dataset", "exorl"), ("collection_method", "rnd")):
        if settings.from_offline and getattr(settings, key) is None:
            raise SettingError(
                f"`from_offline`=true needs `{key}`: the snapshot lies in a folder of that name. Set it as in the run "
                f"of offline_train.py, for example `{key}`={example}."
            )
    for key in ("snapshot_ts", "snapshot_variant", "custom_snap_dir"):
        if settings.snapshot is not None and (other := getattr(settings, key)) is not None:
            raise SettingError(
                f"`snapshot`={settings.snapshot} names the file to start from, and `{key}`={other} another one. "
                "Leave one of them out."
            )
    if folder is not None and Path(folder).is_file():
        raise SettingError(f"`custom_snap_dir`={folder} is a file. Name the folder of the snapshots.")


def _data(settings: OfflineKeys) -> None:
    """Files hold the simulator's own numbers, once in a control step; rewards of the task can be computed from them."""
    if settings.obs_type != "states":
        raise SettingError(
            f"`obs_type`={settings.obs_type}: the files of a data set hold states, and no images. Use "
            "configs=dmc_states."
        )
    if settings.action_repeat != 1:
        raise SettingError(
            f"`action_repeat`={settings.action_repeat}: the files of a data set have a row for every control step. "
            "Use configs=dmc_states, with `action_repeat`=1."
        )
    if settings.relabel_task is not None:
        check_relabel(settings.domain, settings.relabel_task)


def _skills(settings: Any) -> None:
    """Data that others have collected hold no skills of the agent's method."""
    if isinstance(settings, OfflineKeys):
        check_skills(settings.agent.name, method_class(settings.agent.method))  # type: ignore[attr-defined]


def _method(settings: Any) -> None:
    """What the agent's method asks of the rest of the settings."""
    sizes = RunSizes(
        domain=settings.domain,
        images=settings.obs_type == "pixels",
        image_size=settings.image_size,
        particles=(settings.imag_horizon + 1) * settings.batch_size * settings.batch_length,
    )
    method = method_class(settings.agent.method)
    check_observations(method, sizes.images)
    method.check(settings.agent, sizes)
    settings.agent.check(sizes)


def _starting_point(settings: FinetuneKeys) -> None:
    """An agent that adapts the skills of a snapshot has one, and one that is held to its actor has one actor."""
    agent = settings.agent
    if not isinstance(agent, DreamerSection):
        return
    if isinstance(settings, DreamerSettings) and settings.retain and settings.retain.anchor and not agent.one_actor:
        raise SettingError(
            f"`retain.anchor`={settings.retain.anchor} holds the actor to the snapshot's, and agent={agent.name} acts "
            "by a controller that is new. Leave it out, or keep the skills as they are with `agent.freeze_skills`=true."
        )
    if agent.needs_snapshot and settings.snapshot is None and settings.snapshot_ts == 0:
        raise SettingError(
            f"`snapshot_ts`=0: agent={agent.name} adapts the skills of a snapshot, and without one there are none. "
            "Name a snapshot, or learn from scratch with agent=dreamer."
        )


def _goals(settings: FinetuneKeys) -> None:
    """What reaches goals without learning the task are skills, and there are goals."""
    if not settings.eval_goals:
        if settings.goal_mode != "random_skills":
            raise SettingError(f"`goal_mode`={settings.goal_mode} says how goals are evaluated: add `eval_goals`=true.")
        return
    agent, mode, task = settings.agent, settings.goal_mode, settings.task
    goals = goals_of(task, settings.env_factory)
    if goals is None:
        raise SettingError(
            f"`eval_goals`=true: `task`={task} has no goals. Choose one of {', '.join(with_goals())}, or leave it out."
        )
    if not getattr(agent, "has_skills", False):
        raise SettingError(
            f"`eval_goals`=true evaluates which goals the skills of a snapshot reach, and agent={agent.name} has none. "
            "Name an agent with skills, such as agent=choreo, or leave `eval_goals` out."
        )
    if not settings.evaluate:
        raise SettingError("`eval_goals`=true is what evaluations are to do, and `evaluate`=false allows none.")
    if mode == "nearest_code" and not getattr(agent, "has_codes", False):
        raise SettingError(
            f"`goal_mode`={mode} follows the skill whose code is nearest to the goal, and agent={agent.name} has no "
            "codes. Take agent=choreo, or leave `goal_mode` out."
        )
    if mode == "toward_goal" and not (isinstance(agent, DreamerSection) and _has_directions(agent)):
        raise SettingError(
            f"`goal_mode`={mode} follows the skills whose direction leads to the goal, and those of agent={agent.name} "
            "have none. Take agent=metra_dreamer, or leave `goal_mode` out."
        )


def _has_directions(agent: DreamerSection) -> bool:
    return issubclass(method_class(agent.method), Directed)


def _log_std(settings: DrQSettings) -> None:
    low, high = settings.actor_log_std_min, settings.actor_log_std_max
    if low >= high:
        raise SettingError(f"`actor_log_std_min`={low} is not below `actor_log_std_max`={high}. Lower it.")


def _gpus(settings: OffPolicyKeys | OfflineKeys) -> None:
    """What several GPUs share can be divided evenly, and nothing in it is of one process."""
    count, device, compiled = settings.num_gpus, settings.device, settings.compile
    if count == 1:
        return
    if (rest := settings.batch_size % count) != 0:
        near = ", ".join(str(size) for size in (settings.batch_size - rest, settings.batch_size - rest + count) if size)
        raise SettingError(f"`batch_size`={settings.batch_size} is not a multiple of `num_gpus`={count}. Use {near}.")
    if ":" in device:
        raise SettingError(
            f"`num_gpus`={count} takes the first {count} GPUs, and `device`={device} names one. Use `device`=cuda; "
            "CUDA_VISIBLE_DEVICES says which they are."
        )
    if compiled != "off":
        raise SettingError(
            f"`compile`={compiled}: updates that GPUs share cannot be compiled. Leave it out, or `num_gpus`={count}."
        )
    if isinstance(settings, DrQSettings) and draws_on_host(settings.augmentation):
        raise SettingError(
            f"`augmentation`={shown(settings.augmentation)} draws for each GPU by itself, and `num_gpus`={count} needs "
            "draws that all know. Use shift or none, or `num_gpus`=1."
        )


def _augmentation(settings: DrQKeys) -> None:
    """Every step is known, can be built, and leaves stacks as they have to be."""
    check_augmentation(settings.augmentation, settings.image_size)


def _drq_method(settings: DrQKeys) -> None:
    """Skills and keys go with the method."""
    sizes = RunSizes(settings.domain, images=True, image_size=settings.image_size, particles=settings.batch_size)
    check_method(settings, sizes)


def _snapshot_folder(settings: RunKeys) -> None:
    if settings.snapshots and settings.snapshot_dir is not None:
        check_writable("snapshot_dir", settings.snapshot_dir)


CHECKS: list[tuple[type[Section], Callable[[Any], None]]] = [
    (OffPolicyKeys, _environment),
    (DreamerRunKeys, _frames),
    (OffPolicyKeys, _collecting),
    (OffPolicyKeys, _replay),
    (OfflineKeys, _data),
    (DreamerSettings, _skills),
    (DreamerSettings, _networks),
    (FinetuneKeys, _imagined_choice),
    (DreamerSettings, _retain),
    (DreamerSettings, _planner),
    (FinetuneKeys, _source),
    (FinetuneKeys, _starting_point),
    (FinetuneKeys, _goals),
    (DreamerSettings, _method),
    (DrQSettings, _log_std),
    (DrQKeys, _augmentation),
    (DrQKeys, _drq_method),
    (OffPolicyKeys, _gpus),
    (OfflineKeys, _gpus),
    (OffPolicyKeys, _snapshot_folder),
    (OfflineKeys, _snapshot_folder),
]
