"""Well-formed files with hostile content: values that are none of theirs, gone, endless, or code's names."""

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

CODE = "hostile_code"
"""A module that the tests can import, and no file may have imported."""

Path_ = tuple[Any, ...]


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where something can be exchanged in nested dicts and lists, the root not included."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in below:
        yield (*path, key)
        yield from places(item, (*path, key))


def _cycle(_: Any) -> Any:
    ring: dict[str, Any] = {}
    ring["ring"] = ring
    return ring


def _bomb(_: Any) -> Any:
    layer: list[Any] = ["x"]
    for _level in range(30):
        layer = [layer] * 10
    return layer


def _nested(_: Any) -> Any:
    nest: Any = 0
    for _level in range(200):
        nest = [nest]
    return nest


def _spoilt(value: Any, bad: float) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
        value = value.clone()
        value.view(-1)[-1] = bad
        return value
    return bad


def _other_shape(value: Any) -> Any:
    return torch.zeros([n + 1 for n in value.shape] or [2], dtype=value.dtype) if _is_tensor(value) else [value]


def _other_type(value: Any) -> Any:
    if _is_tensor(value):
        return value.to(torch.complex64 if value.is_floating_point() else torch.float32)
    return value.encode() if isinstance(value, str) else str(value)[:50]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


VALUES: dict[str, Callable[[Any], Any]] = {
    "null": lambda v: None,
    "list": lambda v: [],
    "section": lambda v: {},
    "list of it": lambda v: [v, v],
    "section of it": lambda v: {"x": v},
    "number keys": lambda v: {0: v, 1.5: v},
    "text": lambda v: "x",
    "empty": lambda v: "",
    "zero byte": lambda v: "a\0b",
    "half a letter": lambda v: "\ud800",
    "escape": lambda v: "\x1b[2J\n",
    "interpolation": lambda v: "${x}",
    "half one": lambda v: "${",
    "up": lambda v: "../../x",
    "true": lambda v: True,
    "zero": lambda v: 0,
    "minus one": lambda v: -1,
    "one": lambda v: 1,
    "half": lambda v: 0.5,
    "many": lambda v: 10**9,
    "absurd": lambda v: 2**62,
    "larger": lambda v: v + 1 if isinstance(v, int) else 65536,
    "hundred times": lambda v: v * 100 if isinstance(v, int) else 20_000,
    "nan": lambda v: math.nan,
    "infinite": lambda v: math.inf,
    "tensor": lambda v: torch.ones(3),
    "scalar": lambda v: torch.tensor(5),
    "nan in it": lambda v: _spoilt(v, math.nan),
    "infinity in it": lambda v: _spoilt(v, -math.inf),
    "other shape": _other_shape,
    "other type": _other_type,
    "endless view": lambda v: torch.zeros(1).expand(2**40),
    "sparse": lambda v: torch.ones(3).to_sparse(),
    "cycle": _cycle,
    "bomb": _bomb,
    "nested": _nested,
    "class": lambda v: f"{CODE}.Agent",
    "own function": lambda v: "training.checkpoint.git_commit",
    "own class": lambda v: "agents.dreamer.planner.Planner",
    "protocol": lambda v: "agents.agent.Agent",
    "other agent": lambda v: "agents.drq.agent.DrQAgent",
    "other method": lambda v: "agents.exploration.apt.APT",
}


def gone(content: Any, path: Path_) -> Any:
    """``content`` without what is at ``path``."""
    return _changed(content, path, lambda owner, key: owner.pop(key))


def put(content: Any, path: Path_, change: Callable[[Any], Any]) -> Any:
    """``content`` with something else at ``path``."""
    return _changed(content, path, lambda owner, key: owner.__setitem__(key, change(owner[key])))


def _changed(content: Any, path: Path_, act: Callable[[Any, Any], Any]) -> Any:
    content = copy.copy(content)
    owner = content
    for key in path[:-1]:
        owner[key] = copy.copy(owner[key])
        owner = owner[key]
    act(owner, path[-1])
    return content


def mutants(content: Mapping[str, Any], count: int, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """``count`` hostile contents, each with what is wrong with it: every place near the root is as likely as all below
    it together.
    """
    draw = random.Random(seed)
    by_depth: dict[int, list[Path_]] = {}
    for path in places(content):
        by_depth.setdefault(min(len(path), 4), []).append(path)
    for _ in range(count):
        path = draw.choice(by_depth[draw.choice(sorted(by_depth))])
        name = draw.choice(["gone", *VALUES])
        said = f"{'.'.join(map(str, path))}: {name}"
        yield said, gone(content, path) if name == "gone" else put(content, path, VALUES[name])
