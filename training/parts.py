"""Builds what a run is made of from its settings."""

import importlib
import inspect
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from agents.agent import ASKED, Agent, Phase
from agents.settings import AgentSettings
from envs.contract import Sizes
from envs.gl import pictures_if_possible
from envs.make import EnvSettings, goals_of, make, observation_shape, sizes
from envs.settings import EnvironmentKeys
from envs.vector import make_vector
from replay import RecordSpec, Replay
from replay.records import record_spec
from replay.settings import ReplayKeys
from training.pretrained import Pretrained, load_pretrained
from training.settings import OffPolicyKeys
from utils.compile import compile_agent
from utils.seeding import derive, seed_everything
from utils.settings import SettingError

# what each random stream is for, so that none shares a seed with another
TRAIN_ENVS, EVAL_ENV, REPLAY, EVALUATION, GALLERY, REPORT = range(6)


MOST_NAMED = 4
"""Of what a class lacks, in a message."""


class Parts(NamedTuple):
    """Everything a run needs, on its device."""

    agent: Agent
    envs: gymnasium.vector.VectorEnv
    eval_env: gymnasium.Env
    replay: Replay
    device: torch.device
    lineage: list[dict[str, Any]]
    """The snapshot that fine-tuning starts from, and its ancestors: see :class:`training.pretrained.Pretrained`."""
    spec: dict[str, Any]
    """See :func:`plain_spec`."""
    notes: list[str]
    """What the user should know."""
    visible: bool = True
    """Whether videos of ``eval_env`` can be made."""

    def abandon(self) -> None:
        """Take back what was made in the folder of a run that does not begin."""
        self.replay.abandon()

    def close(self) -> None:
        """End the environments."""
        self.envs.close()
        self.eval_env.close()


def build(
    settings: OffPolicyKeys, run_dir: Path, phase: Phase, device: torch.device, source: Pretrained | None = None
) -> Parts:
    """Environments, agent (from the snapshot ``source``, if there is one) and replay, seeded by ``settings.seed``.

    Raises :class:`UserError`; the run folder is not written to before every check has passed.
    """
    seed = settings.seed
    made = env_arguments(settings)
    blind = _blind(settings)
    envs = make_vector(
        settings.task,
        settings.num_envs,
        seed=derive(seed, TRAIN_ENVS),
        workers=settings.uses_workers,
        timeout=settings.collect.timeout,
        **made,
    )
    eval_env = make(settings.task, seed=derive(seed, EVAL_ENV), **made)
    seed_everything(seed)
    obs_space, action_space = eval_env.observation_space["observation"], eval_env.action_space  # type: ignore[index]
    assert obs_space.shape is not None and action_space.shape is not None
    agent = build_agent(settings, obs_space.shape, action_space.shape[0], phase, device)
    state = env_sizes(settings).state
    stored = state if settings.replay.store_physics else None
    spec = record_spec(obs_space.shape, obs_space.dtype, action_space.shape[0], agent.recorded.dim, stored)
    notes = [] if blind is None else [f"`save_video`=true, but there will be no videos: {blind}; the run goes on"]
    if settings.replay.store_physics and state is None:
        made_by = f"task={settings.task}" if settings.env_factory is None else f"env_factory={settings.env_factory}"
        notes += [f'{made_by} gives no info["physics"]: the replay keeps no simulator states']
    if source is not None:
        notes += load_pretrained(agent, source, settings, plain_spec(spec))
    notes = [*notes, *compile_agent(agent, settings.compile)]
    replay = _build_replay(settings, run_dir, spec, derive(seed, REPLAY), device)
    lineage = source.lineage if source else []
    return Parts(agent, envs, eval_env, replay, device, lineage, plain_spec(spec), notes, visible=blind is None)


def _blind(settings: OffPolicyKeys) -> str | None:
    """Why there can be no videos of environments that need no renderer for their observations; None if there can, or
    if nobody wants any: then no renderer is tried.
    """
    if settings.obs_type == "pixels" or settings.env_factory is not None or not settings.save_video:
        return None
    return pictures_if_possible()


def env_arguments(settings: EnvironmentKeys) -> dict[str, Any]:
    """What ``envs.make.make`` takes besides task and seed."""
    goals = goals_of(settings.task, settings.env_factory)
    sets = goals is not None and goals.in_sets
    return {
        "obs_type": settings.obs_type,
        "action_repeat": settings.action_repeat,
        "image_size": settings.image_size,
        "render_quality": settings.render.quality,
        "env_factory": settings.env_factory,
        "goal_seed": settings.seed if sets and settings.goal_seed is None else settings.goal_seed,
        "task_id": settings.task_id,
        "exorl": settings.exorl,
        "floor": settings.floor,
    }


def env_sizes(settings: EnvironmentKeys) -> Sizes:
    """Sizes of the environment, before it is made. Raises :class:`UserError` if it cannot be used."""
    return sizes(EnvSettings(settings.task, seed=settings.seed, **env_arguments(settings)))


def env_observation(settings: EnvironmentKeys) -> tuple[tuple[int, ...], str]:
    """Shape and type of an observation, before the environment is made. Raises as :func:`env_sizes`."""
    shape = observation_shape(EnvSettings(settings.task, seed=settings.seed, **env_arguments(settings)))
    return shape, "uint8" if settings.obs_type == "pixels" else "float32"


def ring_device(settings: ReplayKeys, device: torch.device) -> torch.device | None:
    """Where the replay's copy lives (``replay.device``); None without. ``cuda`` is the agent's GPU if it is on one."""
    asked = settings.replay.device
    if asked is None or (asked == "cuda" and device.type == "cuda"):
        return None if asked is None else device
    return torch.device(asked)


def plain_spec(spec: RecordSpec) -> dict[str, Any]:
    """What a snapshot says about observations and actions, in plain values: ``{"action": [[6], "<f4"], ...}``."""
    return {key: [list(spec[key][0]), np.dtype(spec[key][1]).str] for key in ("observation", "action")}


def agent_class(path: str) -> Any:
    """The class behind ``agent._target_``. Raises :class:`SettingError` for what is no agent."""
    module_name, _, class_name = path.rpartition(".")
    try:
        # not Hydra's get_class, which logs the error besides raising it
        found = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # whatever the module does when it is imported
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise SettingError(
            f"`agent._target_`={path} cannot be imported ({reason}). Name package.module.Class."
        ) from error
    if not inspect.isclass(found) or getattr(found, "_is_protocol", False):
        raise SettingError(f"`agent._target_`={path} is not a class of agents. Name package.module.Class.")
    if missing := [name for name in ASKED if not hasattr(found, name)]:
        more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
        raise SettingError(
            f"`agent._target_`={path} is no agent that this can play: it lacks {', '.join(missing[:MOST_NAMED])}{more} "
            "of agents.agent.Agent."
        )
    return found


def build_agent(
    settings: AgentSettings, obs_shape: tuple[int, ...], action_dim: int, phase: Phase, device: torch.device
) -> Agent:
    """The agent of ``settings`` with fresh weights. What its constructor raises is shown as it is."""
    return agent_class(settings.agent.target)(settings, obs_shape, action_dim, phase=phase, device=device)


def outline_agent(settings: AgentSettings, obs_shape: tuple[int, ...], action_dim: int, phase: Phase) -> Agent:
    """The agent of ``settings`` whose tensors have shapes and no memory: on torch's ``meta`` device.

    Nothing is drawn from the random streams. Raises what a constructor raises that reads a tensor, which has no values
    there.
    """
    meta = torch.device("meta")
    with torch.random.fork_rng(devices=[]), meta:  # networks whose constructor names no device are made there, too
        return build_agent(settings, obs_shape, action_dim, phase, meta)


def episode_records(settings: EnvironmentKeys) -> int:
    """Records of the longest episode, the reset's included."""
    return env_sizes(settings).steps + 1


def total_records(settings: OffPolicyKeys) -> int:
    """Records that each environment writes in the whole run: its steps, and one at the start of every episode.

    Fewer than it will be where episodes end early.
    """
    steps = -(-settings.frames // (settings.action_repeat * settings.num_envs))
    return steps + -(-steps // (episode_records(settings) - 1))


def _build_replay(settings: OffPolicyKeys, run_dir: Path, spec: RecordSpec, seed: int, device: torch.device) -> Replay:
    prefetch = settings.replay.prefetch
    drawn: dict[str, Any] = settings.drawn
    return Replay(
        run_dir / "replay",
        spec,
        capacity=settings.replay.capacity,
        batch_size=settings.batch_size,
        **drawn,
        seed=seed,
        num_envs=settings.num_envs,
        device=device,
        episode_length=episode_records(settings),
        total_records=total_records(settings),
        prefetch=device.type == "cuda" if prefetch is None else prefetch,
        ring=ring_device(settings, device),
    )
