"""What snapshots and checkpoints hold: their schemas, and the check that a file which can be read keeps them.

Nothing that others read of a file is of another type or size than it is here. Whether it fits the run or the agent that
is to take it, :mod:`training.restored` says.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field

from replay.state import ReplayState
from training.older import current
from utils.plain import check_plain, leaves
from utils.rules import (
    MOST,
    MOST_UNITS,
    Count,
    Flag,
    FolderName,
    NotNegative,
    OneOf,
    Rule,
    Text,
    Whole,
    is_int,
    is_number,
    is_text,
    shown,
    whole,
)
from utils.settings import MissingKey, Section, SettingError, parse


def _tensors(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(tensor, torch.Tensor) for tensor in value.values())


def _dicts(value: Any, holds: Any = lambda item: True) -> bool:
    return isinstance(value, dict) and all(isinstance(item, dict) and holds(item) for item in value.values())


def _list(value: Any, holds: Any, length: int | None = None) -> bool:
    return isinstance(value, list) and all(map(holds, value)) and length in (None, len(value))


def _array(value: Any) -> bool:
    """``[[3, 64, 64], "|u1"]``."""
    if not (_list(value, lambda item: True, 2) and _list(value[0], lambda n: is_int(n) and 0 < n <= MOST_UNITS)):
        return False
    return 0 < len(value[0]) <= 3 and value[1] in ("|u1", "<f4")


def _mean(value: Any) -> bool:
    """A sum and how many were added up."""
    return _list(value, lambda item: isinstance(item, int | float), 2) and is_int(value[1]) and value[1] > 0


def _meters(value: Any) -> bool:
    def group(item: Any) -> bool:
        if not (_list(item, lambda part: True, 3) and is_int(item[2]) and item[2] > 0):
            return False
        keys, sums, _ = item
        return _list(keys, is_text) and _list(sums, lambda number: isinstance(number, int | float), len(keys))

    wanted = isinstance(value, dict) and _list(value.get("groups"), group)
    return wanted and isinstance(value.get("host"), dict) and all(map(_mean, value["host"].values()))


def _by_prefix(value: Any, holds: Any) -> bool:
    return isinstance(value, dict) and all(prefix in value and holds(value[prefix]) for prefix in ("train", "eval"))


def _whole(value: Any) -> bool:
    return is_int(value) and 0 <= value < 2**53


Words = Annotated[dict, Rule("texts by name", lambda v: isinstance(v, dict) and all(map(is_text, v.values())))]
Tensor = Annotated[torch.Tensor, Rule("a tensor", lambda v: isinstance(v, torch.Tensor))]
Tensors = Annotated[list, Rule("a list of tensors", lambda v: _list(v, lambda x: isinstance(x, torch.Tensor)))]
Mappings = Annotated[dict, Rule("a section", lambda v: isinstance(v, dict))]


ANCESTOR = ("path", "agent", "frame", "commit")
"""What is said of a snapshot that an agent comes from."""


class Stored(Section):
    """What a file holds; it may hold more."""

    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True)


class StoredAgent(Stored):
    name: FolderName
    target: Text = Field(alias="_target_")


class StoredConfig(Stored):
    """Of the settings, what is read without the schema of the agent."""

    agent: StoredAgent
    task: Text
    domain: FolderName
    action_repeat: Count


class Made(Stored):
    """Of both kinds of files: what they come from."""

    commit: Text | None
    versions: Words
    run: Text
    frame: Whole
    phase: OneOf[Literal["pretrain", "offline", "finetune"]]
    config: StoredConfig
    lineage: Annotated[
        list,
        Rule(
            f"a list of snapshots, each with {', '.join(ANCESTOR)}",
            lambda v: _list(v, lambda one: isinstance(one, dict) and one.keys() >= set(ANCESTOR)),
        ),
    ] = []  # noqa: RUF012


class SnapshotContent(Made):
    agent: FolderName
    spec: Annotated[
        dict,
        Rule(
            "shape and type of observation and action, such as [[3, 64, 64], '|u1']",
            lambda v: isinstance(v, dict) and _array(v.get("observation")) and _array(v.get("action"))
            and len(v["action"][0]) == 1,
        ),
    ]  # fmt: skip
    modules: Annotated[dict, Rule("tensors by the names of modules and weights", lambda v: _dicts(v, _tensors))]
    step: Whole
    episode: Whole
    updates: Whole


class StoredCounters(Stored):
    """What older versions did not count is not there."""

    step: Whole
    episode: Whole
    updates: Whole
    updates_owed: Annotated[int, whole(-MOST)] = 0
    """Below 0 where a run was stopped among the updates of a step, which begins again and adds them again."""
    skipped: Whole = 0
    evaluations: Whole = 0
    evaluation_due: Flag = False


class StoredAgentState(Stored):
    """An agent may remember more."""

    modules: Annotated[dict, Rule("tensors by name", _tensors)]
    optimizers: Annotated[dict, Rule("optimisers by name", _dicts)]
    updates: Whole


class StoredCollector(Stored):
    envs: Annotated[list, Rule("a list of states", lambda v: _list(v, lambda one: isinstance(one, dict)))]
    latent: Tensors
    action: Tensor
    skill: Tensor
    age: Tensor
    plan: Tensor
    is_first: Annotated[list, Rule("a list of flags", lambda v: _list(v, lambda one: isinstance(one, bool)))]
    done: Annotated[list, Rule("a list of flags", lambda v: _list(v, lambda one: isinstance(one, bool)))]
    returns: Annotated[list, Rule("a list of numbers", lambda v: _list(v, is_number))]
    lengths: Annotated[list, Rule("a list of whole numbers", lambda v: _list(v, _whole))]


class StoredLog(Stored):
    elapsed: NotNegative
    last_row: Annotated[list, Rule("three numbers", lambda v: _list(v, is_number, 3))]
    meters: Annotated[dict, Rule("sums of metrics", lambda v: _by_prefix(v, _meters))]
    streamed: Annotated[dict, Rule("lists of names", lambda v: _by_prefix(v, lambda one: _list(one, is_text)))]
    rows: Annotated[dict, Rule("counts of rows", lambda v: _by_prefix(v, _whole))]


class StoredEpisodes(Stored):
    """Of a run that logs every episode."""

    episodes: Whole = 0
    episode_seconds: NotNegative = 0.0


class StoredRandom(Stored):
    python: Annotated[
        list, Rule("a state of Python's", lambda v: _list(v, lambda x: True, 3) and _list(v[1], _whole, 625))
    ]
    numpy: Annotated[
        list,
        Rule("a state of NumPy's", lambda v: _list(v, lambda x: True, 5) and isinstance(v[1], torch.Tensor)),
    ]
    torch: Tensor
    cuda: Tensor | None


class StoredRun(Made):
    """Of checkpoints of every kind of run."""

    agent: StoredAgentState
    logger: StoredLog
    random: StoredRandom
    counters: StoredCounters
    device: Text


class CheckpointContent(StoredRun):
    """Of an off-policy run."""

    replay: ReplayState
    collector: StoredCollector
    eval_env: Mappings
    own: StoredEpisodes = StoredEpisodes()


class RolloutCheckpoint(StoredRun):
    """Of an on-policy run."""

    envs: Mappings


class OfflineCheckpoint(StoredRun):
    """Of a run that learns from a data set."""

    replay: ReplayState


WITH_TENSORS = {
    "snapshot": ("modules",),
    "checkpoint": ("agent", "replay", "collector", "eval_env", "envs", "own", "random"),
}
"""The parts that hold tensors besides plain values."""

LOOPS: dict[str, type[StoredRun]] = {
    "off_policy": CheckpointContent,
    "on_policy": RolloutCheckpoint,
    "offline": OfflineCheckpoint,
}
"""Checkpoints by the kind of run that wrote them, which their ``loop`` says; those that do not are off-policy."""


def checked(content: dict[str, Any], kind: str, *, translate: bool) -> dict[str, Any]:
    """``content`` of a file of this ``kind``, brought to the present form where ``translate`` says it is older.

    Raises ``ValueError``, in one short line, for anything that is not as the schema has it, and for weights that are
    NaN or infinite.
    """
    for name, value in leaves(content):
        if isinstance(value, torch.Tensor) and name.partition(".")[0] in WITH_TENSORS[kind]:
            _check_tensor(name, value)
        else:
            check_plain(name, value)
    if not isinstance(content.get("config"), dict):
        raise ValueError("its config is no section")
    content = current(content) if translate else content
    try:
        parse(SnapshotContent if kind == "snapshot" else _checkpoint_schema(content), content)
    except MissingKey as error:
        raise ValueError(f"it lacks {error.key}") from error
    except SettingError as error:
        raise ValueError(f"its {error}".rstrip(".")) from error
    weights = ("modules",) if kind == "snapshot" else ("agent", "collector")
    check_finite({key: content[key] for key in weights if key in content})
    return content


def _checkpoint_schema(content: Mapping[str, Any]) -> type[StoredRun]:
    loop = content.get("loop", "off_policy")
    if loop not in LOOPS:
        raise ValueError(f"its loop is {shown(loop)}, not one of {', '.join(LOOPS)}")
    return LOOPS[loop]


def _check_tensor(name: str, tensor: torch.Tensor) -> None:
    """A tensor whose elements are all in the file: a view may repeat one of them any number of times."""
    dense = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(f"it holds a tensor at {name} that is not stored in full")


def check_finite(values: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` naming the first tensor in ``values`` that holds NaN or an infinite number.

    States of environments are not looked at: they are their author's.
    """
    for name, value in leaves(values):
        own = not name.startswith("collector.envs")
        if own and isinstance(value, torch.Tensor) and not torch.isfinite(value).all():
            raise ValueError(f"its weights {name} are NaN or infinite")
