"""The snapshot that fine-tuning starts from: found, checked against the run, and loaded into its agent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from agents.agent import Agent
from training import checkpoint
from training.settings import DrQKeys, FinetuneKeys, OffPolicyKeys, SourceKeys
from utils.advice import in_hydra, override
from utils.config import get
from utils.errors import UserError
from utils.regular import kind_of
from utils.rules import is_int
from utils.settings import Section, SettingError, keys_of

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


MOST_NAMED = 6
"""Sizes that a message names besides the preset; where more differ, it is the preset."""


class Pretrained(NamedTuple):
    """A snapshot and where it came from."""

    path: Path
    content: dict[str, Any]

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """Where a fine-tuned agent comes from, in plain values: this snapshot, then what it was itself made from."""
        origin = {key: self.content.get(key) for key in ("agent", "frame", "commit", "run")}
        return [{"path": str(self.path), **origin}, *self.content.get("lineage", ())]


def read_numbered(settings: FinetuneKeys) -> Pretrained | None:
    """The snapshot of ``snapshot_ts`` frames in the published folder, or in ``custom_snap_dir``; None for 0.

    Raises :class:`UserError` when it is missing (naming those that exist), damaged, or of another agent.
    """
    if settings.snapshot_ts == 0:
        return None
    name = settings.agent.name
    base = Path(settings.snapshot_base_dir).absolute()
    if settings.custom_snap_dir is not None:
        folder = Path(settings.custom_snap_dir).absolute()
    else:
        folder = base / settings.obs_type / settings.domain / name / str(settings.seed)
    path = find_snapshot(folder, settings.snapshot_ts, base)
    content = checkpoint.load(path, "snapshot")
    if content["agent"] != name:
        option = content["config"].get("choices", {}).get("agent", content["agent"])
        raise UserError(f"{path} is of agent={content['agent']}, not agent={name}. Set {override('agent', option)}.")
    return Pretrained(path, content)


def read_file(settings: DrQKeys) -> Pretrained | None:
    """The file ``snapshot``; None where none is named.

    Raises :class:`UserError` when it is missing, damaged, or of an agent of another class.
    """
    name = settings.snapshot
    if name is None:
        return None
    path = Path(name).absolute()
    if kind_of(path) is None:
        raise UserError(f"snapshot={name}: there is no such file. Name a snapshot that drq_train.py has written.")
    content = checkpoint.load(path, "snapshot")
    if content["config"]["agent"]["_target_"] != settings.agent.target:
        raise UserError(
            f"snapshot={name} is of agent={content['agent']}, not of DrQ. Name one that drq_train.py wrote."
        )
    return Pretrained(path, content)


def load_pretrained(agent: Agent, source: Pretrained, settings: OffPolicyKeys, spec: Mapping[str, Any]) -> list[str]:
    """Check ``source`` against the environment's ``spec`` and the settings, then load it into ``agent``.

    Returns notes for the user on settings that differ. Raises :class:`UserError` where they must not.
    """
    assert isinstance(settings, SourceKeys)
    for key, value in spec.items():
        if source.content["spec"].get(key) != value:
            raise UserError(
                f"{source.path} was made with {key}={source.content['spec'].get(key)}, this run has {key}={value}. "
                "Fine-tune on a task of the domain and observation it was pre-trained on."
            )
    before, now = source.content["config"], settings.plain()
    if before["action_repeat"] != settings.action_repeat:
        raise SettingError(
            f"`action_repeat`={settings.action_repeat}: {source.path} was made with "
            f"`action_repeat`={before['action_repeat']}."
        )
    init_critic = settings.init_critic
    try:
        agent.load_snapshot(source.content["modules"], init_actor=settings.init_actor, init_critic=init_critic)
    except UserError as error:
        words = _made_with(before, now, type(agent).schema(before["agent"]))
        raise SettingError(f"{error} {words}") from error
    keys = (*SAME_MEANING, *(SAME_VALUES if init_critic else ()))
    return [
        f"the snapshot was made with {key}={get(before, key)}, this run has {key}={get(now, key)}"
        for key in keys
        if _has(before, key) and _has(now, key) and get(before, key) != get(now, key)
    ]


def sizes_apart(before: Mapping[str, Any], now: Mapping[str, Any], schema: type[Section]) -> dict[str, Any]:
    """What the keys of ``schema`` that are whole numbers, or lists of them, are ``before``, where they are others
    ``now``: sizes, mostly.
    """
    both = [key for key in keys_of(schema) if _has(before, key) and _has(now, key)]
    return {key: get(before, key) for key in both if _is_size(get(before, key)) and get(before, key) != get(now, key)}


def _made_with(before: Mapping[str, Any], now: Mapping[str, Any], schema: type[Section]) -> str:
    """A sentence on the preset that a snapshot stores, and on the sizes that were chosen besides."""
    choices = before.get("choices", {})
    preset = choices.get("preset", choices.get("drq_preset"))
    words = [] if preset is None else [override("preset", preset)]
    sizes = [_named(key, then) for key, then in sizes_apart(before, now, schema).items()]
    if preset is None or len(sizes) <= MOST_NAMED:
        words += sizes[:MOST_NAMED]
    return f"The snapshot was made with {' '.join(words)}." if words else ""


def _named(key: str, value: int | list[int]) -> str:
    text = f"`{key}`={in_hydra(value)}"
    return f'"{text}"' if isinstance(value, list) else text


def _is_size(value: Any) -> bool:
    return is_int(value) or (isinstance(value, list) and all(map(is_int, value)))


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
    if kind_of(path) is not None:
        return path
    here = sorted(folder.glob("snapshot_*.pt"), key=_frames)
    if here:
        there = " or ".join(f"snapshot_ts={_frames(p)}" for p in here)
        raise UserError(f"snapshot_ts={frames}: {path} does not exist. In that folder there are: {there}.")
    others = sorted(base.glob("*/*/*/*/snapshot_*.pt"))
    listing = (
        "".join(f"\n  {p}" for p in others[:20]) or " none; pre-train first, or use snapshot_ts=0 for no snapshot."
    )
    raise UserError(f"snapshot_ts={frames}: {path} does not exist. Snapshots under {base}:{listing}")


def _frames(path: Path) -> int:
    digits = path.stem.removeprefix("snapshot_")
    return int(digits) if digits.isdigit() else -1
