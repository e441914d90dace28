"""Files as runs write them, as small as they may be, with whatever a test wants to be otherwise."""

from pathlib import Path
from typing import Any

import torch

from training import checkpoint

CONFIG = {
    "agent": {"name": "dreamer", "_target_": "agents.dreamer.agent.DreamerAgent"},
    "task": "walker_stand",
    "domain": "walker",
    "action_repeat": 2,
}
SPEC = {"observation": [[3, 64, 64], "|u1"], "action": [[6], "<f4"]}

ORIGIN = {"run": "exp_local/x", "frame": 0, "phase": "pretrain", "config": CONFIG, "lineage": []}
COUNTERS = {"step": 0, "episode": 0, "updates": 0}
METERS = {"groups": [], "host": {}}


def snapshot(**changes: Any) -> dict[str, Any]:
    """The content of a snapshot, without its header."""
    modules = {"encoder": {"w": torch.ones(3)}}
    return {**ORIGIN, **COUNTERS, "agent": "dreamer", "spec": SPEC, "modules": modules, **changes}


def resumable(**changes: Any) -> dict[str, Any]:
    """The content of a checkpoint, without its header: of one environment, before the first step."""
    none = torch.zeros(1, 0)
    return {
        **ORIGIN,
        "agent": {"modules": {"encoder.w": torch.ones(3)}, "optimizers": {}, "updates": 0},
        "replay": {
            "streams": [{"cursor": 0, "first_live": 0, "open": None}],
            "steps": 0,
            "episodes": torch.zeros(0, 3, dtype=torch.int64),
            "sampler": {"bit_generator": "PCG64", "state": "1", "inc": "3", "has_uint32": 0, "uinteger": 0},
        },
        "collector": {
            "envs": [{}],
            "latent": [none],
            **dict.fromkeys(("action", "skill", "age", "plan"), none),
            "is_first": [False],
            "done": [True],
            "returns": [0.0],
            "lengths": [0],
        },
        "eval_env": {},
        "own": {},
        "logger": {
            "elapsed": 0.0,
            "last_row": [0, 0.0, 0.0],
            "meters": {"train": METERS, "eval": METERS},
            "streamed": {"train": [], "eval": []},
            "rows": {"train": 0, "eval": 0},
        },
        "random": {
            "python": [3, [0] * 625, None],
            "numpy": ["MT19937", torch.zeros(624), 0, 0, 0.0],
            "torch": torch.get_rng_state(),
            "cuda": None,
        },
        "counters": COUNTERS,
        "device": "cpu",
        **changes,
    }


def write_snapshot(path: Path, **changes: Any) -> Path:
    """A snapshot at ``path``."""
    checkpoint.save(path, "snapshot", snapshot(**changes))
    return path
