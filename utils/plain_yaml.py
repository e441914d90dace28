"""Plain values as YAML: read back as they were written, whatever they look like, and nothing in them is resolved.

``${name}`` is a text like any other here: what a command line meant by it was resolved before.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from utils.errors import UserError
from utils.plain import check_plain, leaves
from utils.regular import check_file

MOST_BYTES = 1_000_000
"""Of a file: ours have a few thousand."""

TIME = "tag:yaml.org,2002:timestamp"
FLOAT = "tag:yaml.org,2002:float"
_FLOAT = re.compile(r"[-+]?[0-9]+(_[0-9]+)*[eE][-+]?[0-9]+$")
"""``1e-5``, which YAML 1.1 takes for a text; Hydra and people do not."""


class _Loader(yaml.SafeLoader):
    """Dates are texts, and no key comes twice."""

    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in resolvers if tag != TIME]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise ValueError(f"the key {key.value:.80} comes once more in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Every value is written out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _reader in (_Loader, _Dumper):  # what the one takes for a number, the other puts into quotes if it is a text
    _reader.add_implicit_resolver(FLOAT, _FLOAT, list("-+0123456789"))  # type: ignore[attr-defined]


def dump(values: Mapping[str, Any]) -> str:
    """Nested dicts, lists and plain values as YAML, in their order."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, default_flow_style=False)


def read(path: Path, advice: str) -> dict[str, Any]:
    """The sections and values in a YAML file.

    Raises :class:`UserError`, with ``advice``, when there is no file, or it holds anything else.
    """
    check_file(path, advice)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is larger than {MOST_BYTES} bytes")
        found = yaml.load(path.read_bytes(), _Loader)
        for name, value in leaves(found):
            check_plain(name, value)
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise ValueError("it has no keys")
    except Exception as error:  # a broken text makes the parser raise almost anything
        raise UserError(f"{path} cannot be read: {_reason(error)}. {advice}") from error
    return found


def _reason(error: Exception) -> str:
    """One short line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    if isinstance(error, RecursionError):
        return "values are too deep in each other"
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
