"""What a job of a sweep differs in from the sweep's other jobs, and the name of a folder made of it."""

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

SWEPT = "hydra.callbacks.folder.swept"
"""The overrides of which a sweep has several values, as its jobs know them: a list of keys."""

LONGEST = 200
"""Of a name, in characters; file systems take 255 bytes."""


def differing() -> list[Override]:
    """The overrides of the present job that other jobs of its sweep have other values of; none in a single run."""
    hydra: Any = HydraConfig.instance().cfg
    keys = None if hydra is None else OmegaConf.select(hydra, SWEPT)
    if hydra is None or not keys:
        return []
    words = OmegaConf.to_container(hydra.hydra.overrides.task, resolve=False)
    assert isinstance(words, list)
    given = OverridesParser.create().parse_overrides([str(word) for word in words])
    return [one for one in given if one.key_or_group in keys]


def variant(*told: str) -> str | None:
    """The name of the present job's variant; None where it has none: nothing but the keys ``told``, which tell it apart
    in another way, differs in its sweep.
    """
    return variant_of([(one.key_or_group, one.value()) for one in differing()], told)


def variant_of(values: Sequence[tuple[str, object]], told: Collection[str]) -> str | None:
    """``key=value`` of all keys that are not ``told``, as the name of a folder.

    Characters other than letters, digits and ``_ . + - =`` become ``_``; a name in which that, or its length, may have
    made two of one ends in a hash of what it was.
    """
    pairs = [f"{key}={_text(value)}" for key, value in values if key not in told]
    if not pairs:
        return None
    clean = [re.sub(r"[^\w.+=-]", "_", pair) for pair in pairs]
    name = ",".join(clean)
    if clean != pairs or len(name.encode()) > LONGEST:
        mark = hashlib.sha256(",".join(pairs).encode()).hexdigest()[:8]
        name = f"{name.encode()[:LONGEST].decode(errors='ignore')}-{mark}"
    return name


def _text(value: object) -> str:
    return (
        {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)
    )
