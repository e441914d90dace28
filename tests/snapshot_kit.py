"""Snapshots as the runs of a command line would write them, without the runs."""

from pathlib import Path

import torch
from contents_kit import write_snapshot

from entry.settings import composed, settings_of
from entry.stored import CHOICES, PHASE
from envs.make import EnvSettings, sizes
from training.parts import build_agent, env_arguments

SD3 = ("agent=deviation_dreamer", "preset=debug", "domain=walker")
DRQ = ("preset=debug", "task=walker_walk")


def made_by(path: Path, script: str, *words: str, phase: str = "pretrain", **changes: object) -> Path:
    """A snapshot at ``path`` of the agent that ``words`` make; ``changes`` are of its stored settings."""
    config = composed(script, words)
    settings = settings_of(script, config)
    known = sizes(EnvSettings(settings.task, seed=1, **env_arguments(settings)))
    shape = (3, settings.image_size, settings.image_size)
    agent = build_agent(settings, shape, known.actions, phase, torch.device("cpu"))
    stored = settings.plain() | {PHASE: script, CHOICES: config[CHOICES]} | changes
    spec = {"observation": [list(shape), "|u1"], "action": [[known.actions], "<f4"]}
    made = {"agent": agent.name, "config": stored, "spec": spec, "modules": agent.snapshot_modules(), "phase": phase}
    return write_snapshot(path, **made)
