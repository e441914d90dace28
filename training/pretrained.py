"""The snapshot that fine-tuning starts from: found, checked against the run, and loaded into its agent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agents.agent import Agent
from training import checkpoint
from training.named_snapshot import KEY, absolute, read_named
from training.settings import DrQKeys, FinetuneKeys, OffPolicyKeys, SourceKeys
from utils.advice import override
from utils.config import get, has
from utils.errors import UserError
from utils.regular import kind_of

SAME_MEANING = (
    "render.quality",
    "floor",
    "actor.dist",
    "actor.min_std",
    "agent.decoder_elu_output",
    "agent.reference",
    "method",
    "discrete",
    # of DrQ; its framestack and skill_critic change shapes, so load_snapshot refuses other ones
    "actor_log_std_min",
    "actor_log_std_max",
)
"""Keys that change what a snapshot's weights mean without changing their shapes."""

DEPTH = 4
"""Folders between that of all snapshots and one: observations, domain, agent, seed."""

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


def read_source(settings: FinetuneKeys) -> Pretrained | None:
    """The file ``snapshot``; without one, the snapshot of ``snapshot_ts`` frames, or updates with ``from_offline``, in
    the published folder, or in ``custom_snap_dir``, and there in that of ``snapshot_variant``; None for 0.

    Raises :class:`UserError` when it is missing (naming those that exist), damaged, or of another agent.
    """
    source, name = read_file(settings), settings.agent.name
    if source is None:
        if not settings.snapshot_ts:
            return None
        base = Path(settings.snapshot_base_dir).absolute()
        if settings.custom_snap_dir is not None:
            folder = Path(settings.custom_snap_dir).absolute()
        else:
            folder = base.joinpath(*settings.made_in, settings.domain, name, str(settings.seed))
        if settings.snapshot_variant is not None:
            folder /= settings.snapshot_variant
        path = find_snapshot(folder, settings.snapshot_ts, base)
        source = Pretrained(path, checkpoint.load(path, "snapshot"))
    if (made := source.content["agent"]) != name:
        option = source.content["config"].get("choices", {}).get("agent", made)
        raise UserError(f"{source.path} is of agent={made}, not agent={name}. Set {override('agent', option)}.")
    return source


def read_file(settings: FinetuneKeys | DrQKeys) -> Pretrained | None:
    """The file ``snapshot``; None where none is named.

    Raises :class:`UserError` when it is missing (naming those near it), damaged, or of an agent of another class.
    """
    if settings.snapshot is None:
        return None
    path = absolute(settings.snapshot)
    content = read_named(path, KEY)
    if (made := content["config"]["agent"]["_target_"]) != settings.agent.target:
        raise UserError(
            f"{override(KEY, path)} is of agent={content['agent']}, {made}, and this run has "
            f"agent={settings.agent.name}, {settings.agent.target}. Name a snapshot of the same."
        )
    return Pretrained(path, content)


def load_pretrained(agent: Agent, source: Pretrained, settings: OffPolicyKeys, spec: Mapping[str, Any]) -> list[str]:
    """Check ``source`` against the environment's ``spec``, then load it into ``agent``.

    Returns notes for the user on settings that differ. Raises :class:`UserError` where it does not fit;
    :mod:`training.fitting` has said before which settings are to blame, where they are.
    """
    assert isinstance(settings, SourceKeys)
    for key, value in spec.items():
        if source.content["spec"].get(key) != value:
            raise UserError(
                f"{source.path} was made with {key}={source.content['spec'].get(key)}, this run has {key}={value}. "
                "Fine-tune on a task of the domain and observation it was pre-trained on."
            )
    before, now = source.content["config"], settings.plain()
    init_critic = settings.init_critic
    agent.load_snapshot(source.content["modules"], init_actor=settings.init_actor, init_critic=init_critic)
    keys = (*SAME_MEANING, *(SAME_VALUES if init_critic else ()))
    return [
        f"the snapshot was made with {key}={get(before, key)}, this run has {key}={get(now, key)}"
        for key in keys
        if has(before, key) and has(now, key) and get(before, key) != get(now, key)
    ]


def find_snapshot(folder: Path, frames: int, base: Path) -> Path:
    """The snapshot file for ``snapshot_ts=frames``.

    Raises :class:`UserError` that lists the snapshots which do exist in ``folder``, else those under ``base``.
    """
    path = checkpoint.snapshot_path(folder, frames)
    if kind_of(path) is not None:
        return path
    here = sorted(folder.glob("snapshot_*.pt"), key=_frames)
    if here:
        there = " or ".join(f"snapshot_ts={_frames(p)}" for p in here)
        raise UserError(f"snapshot_ts={frames}: {path} does not exist. In that folder there are: {there}.")
    below = len(folder.relative_to(base).parts) if folder.is_relative_to(base) else DEPTH
    depths = {below, DEPTH, DEPTH + 1}  # those of variants lie deeper
    others = sorted(path for depth in depths for path in base.glob("*/" * depth + "snapshot_*.pt"))
    listing = (
        "".join(f"\n  {p}" for p in others[:20]) or " none; pre-train first, or use snapshot_ts=0 for no snapshot."
    )
    raise UserError(f"snapshot_ts={frames}: {path} does not exist. Snapshots under {base}:{listing}")


def _frames(path: Path) -> int:
    digits = path.stem.removeprefix("snapshot_")
    return int(digits) if digits.isdigit() else -1
