"""The checkpoint of an on-policy run that is to go on, looked at before anything is touched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.agent import Phase
from training.rest_parts import outline_rest_agent
from training.restored import misfit
from training.resumed import checked_checkpoint
from training.settings import RestKeys


def read_rollout_checkpoint(run_dir: Path, settings: RestKeys, layout: None, phase: Phase) -> dict[str, Any] | None:
    """As :func:`training.resumed.read_checkpoint`, which see, of a run without a replay."""
    return checked_checkpoint(run_dir, settings, lambda content: _wrong(content, settings))


def _wrong(content: Mapping[str, Any], settings: RestKeys) -> str | None:
    """Why a checkpoint is of no run with these settings."""
    if content.get("loop") != "on_policy":
        return "it is of another kind of run"
    if content["config"].get("maze") != settings.maze:
        return "it has another maze"
    step, updates = content["counters"]["step"], content["agent"]["updates"]
    if found := misfit(content["agent"], outline_rest_agent(settings).training_state()):
        return found
    if content["frame"] != step * settings.step_frames:
        return f"frame={content['frame']} and counters.step={step}"
    if updates != step:
        return f"agent.updates={updates} and counters.step={step}"
    return None
