"""Builds what a run is made of from a checked configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import torch
from hydra.utils import get_class

from agents.agent import Agent
from envs.make import DOMAINS, make
from envs.vector import make_vector
from replay import RecordSpec, Replay
from training import checkpoint
from utils.errors import UserError
from utils.seeding import derive, seed_everything

# what each random stream is for, so that none shares a seed with another
TRAIN_ENVS, EVAL_ENV, REPLAY = 0, 1, 2


class Parts(NamedTuple):
    """Everything a run needs, on its device."""

    agent: Agent
    envs: gymnasium.vector.VectorEnv
    eval_env: gymnasium.Env
    replay: Replay
    device: torch.device
    parent: Path | None
    """The snapshot fine-tuning started from."""


def build(
    config: Mapping[str, Any], run_dir: Path, phase: Literal["pretrain", "finetune"], device: torch.device
) -> Parts:
    """Environments, agent (from its snapshot in fine-tuning) and replay, seeded by ``config["seed"]``.

    Raises :class:`UserError`; the run folder is not written to before every check has passed.
    """
    seed = config["seed"]
    snapshot, parent = _read_snapshot(config) if phase == "finetune" else (None, None)
    settings = {
        "obs_type": config["obs_type"],
        "action_repeat": config["action_repeat"],
        "image_size": config["image_size"],
        "render_quality": config["render"]["quality"],
    }
    envs = make_vector(config["task"], config["num_envs"], seed=derive(seed, TRAIN_ENVS), **settings)
    eval_env = make(config["task"], seed=derive(seed, EVAL_ENV), **settings)
    seed_everything(seed)
    obs_space, action_space = eval_env.observation_space["observation"], eval_env.action_space  # type: ignore[index]
    assert obs_space.shape is not None and action_space.shape is not None
    agent = _build_agent(config, obs_space.shape, action_space.shape[0], phase, device)
    spec = _record_spec(config, obs_space, action_space, agent.skill_dim, eval_env)
    if snapshot is not None:
        assert parent is not None
        needed = {"observation": [list(obs_space.shape), "|u1"], "action": [list(action_space.shape), "<f4"]}
        checkpoint.check_spec(parent, snapshot["spec"], needed)
        if snapshot["agent"] != agent.name:
            raise UserError(
                f"{parent} is of agent={snapshot['agent']}, not agent={agent.name}. Set agent={snapshot['agent']}."
            )
        agent.load_snapshot(snapshot["modules"], init_actor=config["init_actor"], init_critic=config["init_critic"])
    replay = _build_replay(config, run_dir, spec, derive(seed, REPLAY), device)
    return Parts(agent, envs, eval_env, replay, device, parent)


def _read_snapshot(config: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Path | None]:
    if config["snapshot_ts"] == 0:
        return None, None
    base = Path(config["snapshot_base_dir"]).absolute()
    if config["custom_snap_dir"] is not None:
        folder = Path(config["custom_snap_dir"]).absolute()
    else:
        folder = base / config["obs_type"] / config["domain"] / config["agent"]["name"] / str(config["seed"])
    path = checkpoint.find_snapshot(folder, config["snapshot_ts"], base)
    return checkpoint.load(path, "snapshot"), path


def _build_agent(
    config: Mapping[str, Any], obs_shape: tuple[int, ...], action_dim: int, phase: str, device: torch.device
) -> Agent:
    try:
        agent_class = get_class(config["agent"]["_target_"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"agent._target_={config['agent']['_target_']} cannot be imported ({reason}).") from error
    try:
        return agent_class(config, obs_shape, action_dim, phase=phase, device=device)
    except ValueError as error:
        raise UserError(f"agent={config['agent']['name']} cannot be built: {error}") from error


def _record_spec(
    config: Mapping[str, Any],
    obs_space: gymnasium.Space,
    action_space: gymnasium.Space,
    skill_dim: int,
    env: gymnasium.Env,
) -> RecordSpec:
    spec: dict[str, tuple[tuple[int, ...], Any]] = {
        "observation": (tuple(obs_space.shape or ()), obs_space.dtype),
        "action": (tuple(action_space.shape or ()), "float32"),
        "reward": ((), "float32"),
        **dict.fromkeys(("is_first", "is_last", "is_terminal"), ((), "bool")),
    }
    if skill_dim:
        spec |= {"skill": ((skill_dim,), "float32"), "skill_valid": ((), "bool")}
    if config["replay"]["store_physics"]:
        spec["physics"] = (env.unwrapped.physics.get_state().shape, "float64")  # type: ignore[attr-defined]
    return spec


def _build_replay(
    config: Mapping[str, Any], run_dir: Path, spec: RecordSpec, seed: int, device: torch.device
) -> Replay:
    length = config["batch_length"]
    records = DOMAINS[config["domain"]].control_steps // config["action_repeat"] + 1
    if length > records:
        raise UserError(f"batch_length={length} is longer than an episode of {records} records. Lower it.")
    return Replay(
        run_dir / "replay",
        spec,
        capacity=config["replay"]["capacity"],
        batch_size=config["batch_size"],
        batch_length=length,
        seed=seed,
        num_envs=config["num_envs"],
        device=device,
        episode_length=records,
    )
