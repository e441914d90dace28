"""The folder of a run that is to begin or to go on, looked at before anything in it is touched."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from agents.agent import Agent, Phase
from replay import Layout
from replay.state import contradictions
from training import checkpoint
from training.episode_log import EPISODES
from training.parts import env_observation, env_sizes, outline_agent
from training.restored import has_foreign_agent, misfit
from training.run import CHECKPOINT
from training.settings import OffPolicyKeys, RunKeys
from utils.config import CONFIG_FILE, get
from utils.csv_log import rows_below
from utils.errors import UserError
from utils.regular import check_own, kind_of

FILES = (".lock", CONFIG_FILE, CHECKPOINT, "train.csv", "eval.csv", EPISODES)
FOLDERS = ("replay", "tb", "videos", "models")

SAME_RUN = (
    *("agent.name", "agent._target_", "agent.method", "task", "seed", "obs_type", "action_repeat", "num_envs"),
    *("dataset", "relabel_task"),
)
"""Settings by which a checkpoint is told to be of another run."""


def check_folder(run_dir: Path) -> None:
    """Raise :class:`UserError` unless everything in ``run_dir`` that has the name of a run's file or folder is one."""
    for name in FOLDERS:
        check_own(run_dir / name, "a folder")
    for name in FILES:
        check_own(run_dir / name, "a file")
    for stream in (run_dir / "replay").glob("stream_*"):  # what is wrong in there, the replay itself says
        check_own(stream, "a folder")


def read_checkpoint(run_dir: Path, settings: OffPolicyKeys, layout: Layout, phase: Phase) -> dict[str, Any] | None:
    """The content of the checkpoint in ``run_dir``, which fits the run with these settings and this layout of the
    replay; None where there is none.

    Raises :class:`UserError` for one that is damaged, of another run, at odds with itself, or with the logs beside it.
    """
    return checked_checkpoint(
        run_dir,
        settings,
        lambda content: (
            _of_another_agent(content, settings, phase)
            or next(iter(contradictions(content["replay"], layout)), None)
            or _out_of_step(content, settings)
        ),
    )


def checked_checkpoint(
    run_dir: Path, settings: RunKeys, wrong: Callable[[Mapping[str, Any]], str | None]
) -> dict[str, Any] | None:
    """The content of the checkpoint in ``run_dir``; None where there is none.

    Raises :class:`UserError` for one that is damaged, of other settings, at odds with the logs beside it, or of which
    the kind of run finds something ``wrong``.
    """
    path = run_dir / CHECKPOINT
    if kind_of(path) is None:
        return None
    content = checkpoint.load(path, "checkpoint")
    if found := _of_another_run(content, settings.plain()) or wrong(content) or _at_odds_with_logs(content, run_dir):
        raise UserError(f"{path} is not of this run: {found}. Nothing was changed. Put the run's own one back.")
    return content


def _of_another_run(content: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    for key in SAME_RUN:
        try:
            then, wanted = get(content["config"], key), get(now, key)
        except (KeyError, TypeError):  # a setting that this agent, or a version of then, does not have
            continue
        if then != wanted:
            return f"it has {key}={then!s:.80}, the run has {key}={wanted}"
    return None


def _of_another_agent(content: Mapping[str, Any], settings: OffPolicyKeys, phase: Phase) -> str | None:
    if content["phase"] != phase:
        return f"it has phase={content['phase']}, the run has phase={phase}"
    if has_foreign_agent(settings.plain()):
        return None
    sizes = env_sizes(settings)
    shape, _ = env_observation(settings)
    agent = outline_agent(settings, shape, sizes.actions, phase)
    return misfit(content["agent"], agent.training_state()) or misfit(
        content["collector"], acting_state(agent, settings.num_envs)
    )


def acting_state(agent: Agent, count: int) -> dict[str, Any]:
    """What a checkpoint holds of ``count`` environments' :class:`agents.agent.Acting`, by the names it has there."""
    with torch.device("meta"):
        acting = agent.start(count)
    return {"latent": list(acting.memory), **{key: getattr(acting, key) for key in ("action", "skill", "age", "plan")}}


def _out_of_step(content: Mapping[str, Any], settings: OffPolicyKeys) -> str | None:
    """Whether the counts in different places of a checkpoint agree."""
    counters, replay, collector = content["counters"], content["replay"], content["collector"]
    step, count = counters["step"], settings.num_envs
    for name in ("envs", "is_first", "done", "returns", "lengths"):
        if len(collector[name]) != count:
            return f"collector.{name} has {len(collector[name])} entries, for num_envs={count}"
    if replay["steps"] != step:
        return f"replay.steps={replay['steps']} and counters.step={step}"
    if content["frame"] != step * settings.action_repeat:
        return f"frame={content['frame']} and counters.step={step}"
    if content["agent"]["updates"] != counters["updates"]:
        return f"agent.updates={content['agent']['updates']} and counters.updates={counters['updates']}"
    for env, stream in enumerate(replay["streams"]):
        running = collector["lengths"][env] // settings.action_repeat
        if stream["open"] is not None and stream["open"] + running + 1 != stream["cursor"]:
            return f"cursor={stream['cursor']} of stream {env}, {running} steps after open={stream['open']}"
    return None


def _at_odds_with_logs(content: Mapping[str, Any], run_dir: Path) -> str | None:
    """Rows from before the checkpoint that it does not know: to go on would delete them.

    An evaluation at the checkpoint's own step may come after it, a training episode that ends there does not.
    """
    frame, rows = content["frame"], content["logger"]["rows"]
    logs = {
        "train.csv": ("frame", frame + 1, rows["train"]),
        "eval.csv": ("frame", frame, rows["eval"]),
        EPISODES: ("step", content["counters"]["step"], content.get("own", {}).get("episodes", 0)),
    }
    for name, (column, now, known) in logs.items():
        if (before := rows_below(run_dir / name, column, now, text=("type",))) > known:
            return f"{name} has {before} rows from before it, and it knows of {known}"
    return None
