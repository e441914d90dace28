"""Snapshots and checkpoints of older formats, brought to the present one where they are loaded."""

from typing import Any


def current(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` as it would be written today.

    Up to snapshots of format 2 and checkpoints of format 3 what the agent does was not said beside the settings, and
    all environments were of the suite.
    """
    config = {"env_factory": None, **content.get("config", {})}
    script = config.get("phase") or ("finetune" if "snapshot_ts" in config else "pretrain")
    return {**content, "phase": "finetune" if script == "finetune" else "pretrain", "config": config}
