"""The checkpoint of a run on a data set that is to go on, looked at before anything is touched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.agent import Phase
from training.offline import OfflineRun
from training.offline_parts import outline_offline_agent
from training.offline_settings import OfflineKeys
from training.restored import has_foreign_agent, misfit
from training.resumed import checked_checkpoint


def read_offline_checkpoint(run_dir: Path, settings: OfflineKeys, layout: None, phase: Phase) -> dict[str, Any] | None:
    """As :func:`training.resumed.read_checkpoint`, which see. Whether the data are still the same, the run itself says
    when it has them.
    """
    return checked_checkpoint(run_dir, settings, lambda content: _wrong(content, settings, phase))


def _wrong(content: Mapping[str, Any], settings: OfflineKeys, phase: Phase) -> str | None:
    """Why a checkpoint is of no run with these settings."""
    if content.get("loop") != OfflineRun.loop:
        return "it is of another kind of run"
    if not has_foreign_agent(settings.plain()):
        outline = outline_offline_agent(settings, phase)
        if found := misfit(content["agent"], outline.training_state()):
            return found
    counters = content["counters"]
    for name, counted in (("frame", content["frame"]), ("agent.updates", content["agent"]["updates"])):
        if counted != counters["step"]:
            return f"{name}={counted} and counters.step={counters['step']}"
    if counters["updates"] != counters["step"]:
        return f"counters.updates={counters['updates']} and counters.step={counters['step']}"
    return None
