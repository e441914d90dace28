"""``python -m analysis.describe FILE``: what a snapshot or checkpoint holds, and where it comes from."""

if __name__ == "__main__":
    from utils.process import begin

    begin()

import argparse
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from replay.files import readable
from training import checkpoint
from utils.errors import exit_status
from utils.nested import tensors_in
from utils.plain_yaml import dump

_HEADER = ("kind", "format", "agent", "run", "frame", "step", "episode", "updates", "commit", "device")


def describe(content: Mapping[str, Any]) -> str:
    """The lines ``python -m analysis.describe FILE`` prints: origin, versions, contents, configuration."""
    facts = {key: content[key] for key in _HEADER if isinstance(content.get(key), str | int)}
    facts |= content.get("counters", {})
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    lines = [f"{key:<12} {value}" for key, value in facts.items()]
    lines += ["", "made from"]
    lines += [f"  {line}" for line in _lineage(content)]
    lines += ["", "holds"]
    lines += [f"  {name:<24} {count:>14,} numbers  {readable(size):>9}" for name, count, size in _parts(content)]
    if "spec" in content:
        lines += ["", "made for"]
        lines += [f"  {key:<24} {dtype} {tuple(shape)}" for key, (shape, dtype) in content["spec"].items()]
    if "config" in content:
        lines += ["", "configuration", dump(content["config"]).rstrip()]
    return "\n".join(lines)


def _lineage(content: Mapping[str, Any]) -> Iterator[str]:
    """One line per ancestor, the nearest first."""
    for parent in content.get("lineage", ()):
        yield f"{parent['path']}: agent={parent['agent']}, frame {parent['frame']}, commit {parent['commit']}"
    if not content.get("lineage"):
        yield content.get("parent") or "no snapshot: trained from scratch"


def _parts(content: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """(name, numbers, bytes) of everything two levels deep that holds tensors."""
    if content["kind"] == "snapshot":
        parts = content.get("modules", {})
    else:
        parts = {f"agent.{key}": value for key, value in content.get("agent", {}).items()}
    parts = {**parts, **{key: content[key] for key in ("replay", "collector") if key in content}}
    for name, part in parts.items():
        tensors = list(tensors_in(part))
        if tensors:
            yield name, sum(math.prod(x.shape) for x in tensors), sum(x.nbytes for x in tensors)


@exit_status
def main() -> None:
    """Print what a snapshot or checkpoint holds, and where it comes from."""
    parser = argparse.ArgumentParser(prog="python -m analysis.describe", description=main.__doc__)
    parser.add_argument("file", type=Path)
    print(describe(checkpoint.load(parser.parse_args().file)))


if __name__ == "__main__":
    sys.exit(main())
