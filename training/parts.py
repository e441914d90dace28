"""Builds what a run is made of from a checked configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from hydra.utils import get_class
from numpy.typing import DTypeLike

from agents.agent import Agent
from envs.make import DOMAINS, make
from envs.vector import make_vector
from replay import RecordSpec, Replay
from training.pretrained import load_pretrained, read_pretrained
from utils.compile import compile_agent
from utils.config import is_finetuning
from utils.errors import UserError
from utils.seeding import derive, seed_everything

# what each random stream is for, so that none shares a seed with another
TRAIN_ENVS, EVAL_ENV, REPLAY, EVALUATION, GALLERY, REPORT = range(6)


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


def build(
    config: Mapping[str, Any],
    run_dir: Path,
    phase: Literal["pretrain", "finetune", "drq"],
    device: torch.device,
    *,
    load_snapshot: bool = True,
) -> Parts:
    """Environments, agent (from its snapshot in fine-tuning) and replay, seeded by ``config["seed"]``.

    ``load_snapshot=False``: a checkpoint will be loaded over everything. Raises :class:`UserError`; the run folder is
    not written to before every check has passed.
    """
    seed = config["seed"]
    source = read_pretrained(config) if phase != "pretrain" and load_snapshot else None
    settings = env_settings(config)
    envs = make_vector(
        config["task"],
        config["num_envs"],
        seed=derive(seed, TRAIN_ENVS),
        workers=uses_workers(config),
        timeout=config["collect"]["timeout"],
        **settings,
    )
    eval_env = make(config["task"], seed=derive(seed, EVAL_ENV), **settings)
    seed_everything(seed)
    obs_space, action_space = eval_env.observation_space["observation"], eval_env.action_space  # type: ignore[index]
    assert obs_space.shape is not None and action_space.shape is not None
    agent = build_agent(config, obs_space.shape, action_space.shape[0], phase, device)
    state = eval_env.unwrapped.physics.get_state()  # type: ignore[attr-defined]
    spec = record_spec(config, obs_space.shape, obs_space.dtype, action_space.shape[0], agent.recorded.dim, len(state))
    notes = []
    if source is not None:
        notes = load_pretrained(agent, source, config, plain_spec(spec))
    notes = [*notes, *compile_agent(agent, config["compile"])]
    replay = _build_replay(config, run_dir, spec, derive(seed, REPLAY), device)
    lineage = source.lineage if source else []
    return Parts(agent, envs, eval_env, replay, device, lineage, plain_spec(spec), notes)


def env_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What ``envs.make.make`` takes from ``config`` besides task and seed."""
    return {
        "obs_type": config["obs_type"],
        "action_repeat": config["action_repeat"],
        "image_size": config["image_size"],
        "render_quality": config["render"]["quality"],
    }


def uses_workers(config: Mapping[str, Any]) -> bool:
    """Whether the training environments have processes of their own."""
    asked = config["collect"]["workers"]
    return config["num_envs"] > 1 or config["collect"]["async"] if asked is None else asked


def ring_device(config: Mapping[str, Any], device: torch.device) -> torch.device | None:
    """Where the replay's copy lives (``replay.device``); None without. ``cuda`` is the agent's GPU if it is on one."""
    asked = config["replay"]["device"]
    if asked is None or (asked == "cuda" and device.type == "cuda"):
        return None if asked is None else device
    return torch.device(asked)


def plain_spec(spec: RecordSpec) -> dict[str, Any]:
    """What a snapshot says about observations and actions, in plain values: ``{"action": [[6], "<f4"], ...}``."""
    return {key: [list(spec[key][0]), np.dtype(spec[key][1]).str] for key in ("observation", "action")}


def build_agent(
    config: Mapping[str, Any], obs_shape: tuple[int, ...], action_dim: int, phase: str, device: torch.device
) -> Agent:
    """The agent of ``config`` with fresh weights. Raises :class:`UserError` when its class cannot be imported.

    What the constructors of the agent and its method raise is shown as it is: the settings are checked before, so it is
    no missing key of the user's.
    """
    try:
        agent_class = get_class(config["agent"]["_target_"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"agent._target_={config['agent']['_target_']} cannot be imported ({reason}).") from error
    return agent_class(config, obs_shape, action_dim, phase=phase, device=device)


def restore_agent(content: Mapping[str, Any], *, untrained: bool = False) -> Agent:
    """The agent of a snapshot's ``content`` on the CPU, to act as it did; fresh weights with ``untrained``.

    Raises :class:`UserError` when it cannot be built or its weights do not fit.
    """
    config, spec = content["config"], content["spec"]
    agent = build_agent(
        config, tuple(spec["observation"][0]), spec["action"][0][0], phase_of(config), torch.device("cpu")
    )
    if not untrained:
        agent.load_weights(content["modules"])
    return agent


def phase_of(config: Mapping[str, Any]) -> Literal["pretrain", "finetune", "drq"]:
    """What a run with ``config`` is: only DrQ stacks frames, only fine-tuning names a snapshot by its frames."""
    if "framestack" in config:
        return "drq"
    return "finetune" if is_finetuning(config) else "pretrain"


def record_spec(
    config: Mapping[str, Any],
    obs_shape: tuple[int, ...],
    obs_dtype: DTypeLike,
    action_dim: int,
    skill_dim: int,
    physics_dim: int,
) -> RecordSpec:
    """What the replay stores at every step."""
    spec: dict[str, tuple[tuple[int, ...], Any]] = {
        "observation": (tuple(obs_shape), obs_dtype),
        "action": ((action_dim,), "float32"),
        "reward": ((), "float32"),
        **dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), "bool")),
    }
    if skill_dim:
        spec |= {"skill": ((skill_dim,), "float32"), "skill_valid": ((), "bool")}
    if config["replay"]["store_physics"]:
        spec["physics"] = ((physics_dim,), "float64")
    return spec


def episode_records(config: Mapping[str, Any]) -> int:
    """Records of a whole episode, the reset's included."""
    return DOMAINS[config["domain"]].control_steps // config["action_repeat"] + 1


def total_records(config: Mapping[str, Any]) -> int:
    """Records that each environment writes in the whole run: its steps, and one at the start of every episode."""
    steps = -(-config["num_train_frames"] // (config["action_repeat"] * config["num_envs"]))
    return steps + -(-steps // (episode_records(config) - 1))


def _build_replay(
    config: Mapping[str, Any], run_dir: Path, spec: RecordSpec, seed: int, device: torch.device
) -> Replay:
    return Replay(
        run_dir / "replay",
        spec,
        capacity=config["replay"]["capacity"],
        batch_size=config["batch_size"],
        batch_length=config.get("batch_length"),
        stack=config.get("framestack"),
        seed=seed,
        num_envs=config["num_envs"],
        device=device,
        episode_length=episode_records(config),
        total_records=total_records(config),
        prefetch=device.type == "cuda" if config["replay"]["prefetch"] is None else config["replay"]["prefetch"],
        ring=ring_device(config, device),
    )
