"""The checkpoint of an on-policy run that is to go on, looked at before anything is touched."""

from pathlib import Path
from typing import Any

import torch

from agents.agent import Phase
from training import checkpoint
from training.rest_parts import build_rest_agent
from training.restored import misfit
from training.resumed import at_odds_with_logs, of_another_run
from training.run import CHECKPOINT
from training.settings import RestKeys
from utils.errors import UserError
from utils.regular import kind_of


def read_rollout_checkpoint(run_dir: Path, settings: RestKeys, layout: None, phase: Phase) -> dict[str, Any] | None:
    """As :func:`training.resumed.read_checkpoint`, which see, of a run without a replay."""
    path = run_dir / CHECKPOINT
    if kind_of(path) is None:
        return None
    content = checkpoint.load(path, "checkpoint")
    wrong = (
        ("it is of another kind of run" if content.get("loop") != "on_policy" else None)
        or of_another_run(content, settings.plain())
        or ("it has another maze" if content["config"].get("maze") != settings.maze else None)
        or misfit(content["agent"], _outline(settings))
        or _out_of_step(content, settings)
        or at_odds_with_logs(content, run_dir)
    )
    if wrong:
        raise UserError(f"{path} is not of this run: {wrong}. Nothing was changed. Put the run's own one back.")
    return content


def _outline(settings: RestKeys) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build_rest_agent(settings, torch.device("meta")).training_state()


def _out_of_step(content: dict[str, Any], settings: RestKeys) -> str | None:
    step, updates = content["counters"]["step"], content["agent"]["updates"]
    if content["frame"] != step * settings.step_frames:
        return f"frame={content['frame']} and counters.step={step}"
    if updates != step:
        return f"agent.updates={updates} and counters.step={step}"
    return None
