"""Finds the snapshot fine-tuning starts from, checks that it fits, and loads it into an agent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agents.agent import Finetunes
from training import checkpoint
from utils.config import get
from utils.errors import UserError

SAME_MEANING = (
    "render.quality",
    "actor.dist",
    "actor.min_std",
    "agent.decoder_elu_output",
    "agent.reference",
    # of DrQ; its framestack and skill_critic change shapes, so load_snapshot refuses other ones
    "actor_log_std_min",
    "actor_log_std_max",
)
"""Keys that change what a snapshot's weights mean without changing their shapes."""

SAME_VALUES = ("discount", "reward_state")
"""Likewise, of the critic only."""


class Pretrained(NamedTuple):
    """A snapshot and where it came from."""

    path: Path
    content: dict[str, Any]

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """Where a fine-tuned agent comes from, in plain values: this snapshot, then what it was itself made from."""
        origin = {key: self.content.get(key) for key in ("agent", "frame", "commit", "run")}
        return [{"path": str(self.path), **origin}, *self.content.get("lineage", ())]


def read_pretrained(config: Mapping[str, Any]) -> Pretrained | None:
    """The snapshot of ``snapshot_ts`` (None for 0); of the file ``snapshot`` in a script that has this key instead.

    Raises :class:`UserError` when it is missing (naming those that exist), damaged, or of another agent.
    """
    if "snapshot" in config:
        return _read_file(config["snapshot"])
    if config["snapshot_ts"] == 0:
        return None
    base = Path(config["snapshot_base_dir"]).absolute()
    if config["custom_snap_dir"] is not None:
        folder = Path(config["custom_snap_dir"]).absolute()
    else:
        folder = base / config["obs_type"] / config["domain"] / config["agent"]["name"] / str(config["seed"])
    path = find_snapshot(folder, config["snapshot_ts"], base)
    content = checkpoint.load(path, "snapshot")
    name = config["agent"]["name"]
    if content["agent"] != name:
        raise UserError(f"{path} is of agent={content['agent']}, not agent={name}. Set agent={content['agent']}.")
    return Pretrained(path, content)


def _read_file(name: str | None) -> Pretrained | None:
    if name is None:
        return None
    path = Path(name).absolute()
    if not path.is_file():
        raise UserError(f"snapshot={name}: there is no such file. Name a snapshot that drq_train.py has written.")
    content = checkpoint.load(path, "snapshot")
    if "framestack" not in content["config"]:
        raise UserError(
            f"snapshot={name} is of agent={content['agent']}, not of DrQ. Name one that drq_train.py wrote."
        )
    return Pretrained(path, content)


def load_pretrained(
    agent: Finetunes, source: Pretrained, config: Mapping[str, Any], spec: Mapping[str, Any]
) -> list[str]:
    """Check ``source`` against the environment's ``spec`` and the settings, then load it into ``agent``.

    Returns notes for the user on settings that differ. Raises :class:`UserError` where they must not.
    """
    for key, value in spec.items():
        if source.content["spec"].get(key) != value:
            raise UserError(
                f"{source.path} was made with {key}={source.content['spec'].get(key)}, this run has {key}={value}. "
                "Fine-tune on a task of the domain and observation it was pre-trained on."
            )
    before = source.content.get("config", {})
    repeat = before.get("action_repeat", config["action_repeat"])
    if repeat != config["action_repeat"]:
        raise UserError(f"action_repeat={config['action_repeat']}: {source.path} was made with action_repeat={repeat}.")
    agent.load_snapshot(source.content["modules"], init_actor=config["init_actor"], init_critic=config["init_critic"])
    keys = (*SAME_MEANING, *(SAME_VALUES if config["init_critic"] else ()))
    return [
        f"the snapshot was made with {key}={get(before, key)}, this run has {key}={get(config, key)}"
        for key in keys
        if _has(before, key) and _has(config, key) and get(before, key) != get(config, key)
    ]


def _has(config: Mapping[str, Any], dotted: str) -> bool:
    try:
        get(config, dotted)
    except (KeyError, TypeError):
        return False
    return True


def find_snapshot(folder: Path, frames: int, base: Path) -> Path:
    """The snapshot file for ``snapshot_ts=frames``.

    Raises :class:`UserError` that lists the snapshots which do exist in ``folder``, else those under ``base``.
    """
    path = checkpoint.snapshot_path(folder, frames)
    if path.is_file():
        return path
    here = sorted(folder.glob("snapshot_*.pt"), key=_frames)
    if here:
        there = "snapshot_ts=" + ", ".join(str(_frames(p)) for p in here)
        raise UserError(f"snapshot_ts={frames}: {path} does not exist. In that folder there are: {there}.")
    others = sorted(base.glob("*/*/*/*/snapshot_*.pt"))
    listing = (
        "".join(f"\n  {p}" for p in others[:20]) or " none; pre-train first, or use snapshot_ts=0 for no snapshot."
    )
    raise UserError(f"snapshot_ts={frames}: {path} does not exist. Snapshots under {base}:{listing}")


def _frames(path: Path) -> int:
    digits = path.stem.removeprefix("snapshot_")
    return int(digits) if digits.isdigit() else -1
