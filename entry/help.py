"""What ``--help`` of a script prints: its command lines, its groups, and its keys with their comments."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

from omegaconf import OmegaConf

from entry.unknown_key import bases, scripts
from utils.config import CONFIGS, configs_of

HYDRA = """\
hydra.run.dir=<folder>   the run folder
--multirun, -m           every combination of key=a,b values, one after the other; hydra.sweep.dir=<folder> holds them
--cfg job                print all settings of this command line, with its groups and presets, and end
--config-dir <folder>    a folder of your own with more options for the groups: <folder>/agent/mine.yaml is agent=mine
--hydra-help             what Hydra itself takes"""


def help_text(config_name: str, chosen: Mapping[str, Any]) -> str:
    """The help of the script whose configuration is ``config_name``.

    ``chosen``: the option that the command line has of each group; the keys of an agent are those of the chosen one.
    """
    script = scripts()[config_name]
    folder = configs_of(config_name)
    options = _defaults(folder / f"{config_name}.yaml")
    options |= {group: option for group, option in chosen.items() if group in options}
    parts = [f"python {script} [key=value ...] [--multirun] [--cfg job]", _docstring(CONFIGS.parent / script)]
    parts.append("== groups: group=option, here with what is taken where the command line says nothing else")
    parts += [_group(folder / group, option) for group, option in options.items()]
    parts.append("== keys: key=value, of a section section.key=value; what a preset changes wins over these values")
    parts += [_keys(folder / f"{name}.yaml") for name in bases(config_name)]
    # a file of the user's own is not shown
    if "agent" in options and (agent := folder / "agent" / f"{options['agent']}.yaml").is_file():
        parts.append(f"agent:   # of agent={options['agent']}\n{indent(_keys(agent), '  ')}")
    parts.append(_keys(folder / f"{config_name}.yaml"))
    return "\n\n".join([*parts, f"== of Hydra\n\n{HYDRA}"])


def _docstring(script: Path) -> str:
    """What the script says of itself, and its usual command lines."""
    return ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""


def _defaults(path: Path) -> dict[str, str]:
    """The groups in the defaults list of a file, with the option that each has there."""
    config: Any = OmegaConf.to_container(OmegaConf.load(path))
    entries = [entry for entry in config["defaults"] if isinstance(entry, dict)]
    pairs = {group: option for entry in entries for group, option in entry.items()}
    return {group: option for group, option in pairs.items() if " " not in group}  # not "override ..."


def _group(folder: Path, taken: str) -> str:
    """The options of a group, each with the first comment of its file."""
    lines = [f"{folder.name}={taken}"]
    for path in sorted(folder.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("# ") and "@package" not in line]
        lines.append(f"  {path.stem:18} {comments[0] if comments else ''}".rstrip())
    return "\n".join(lines)


def _keys(path: Path) -> str:
    """The text of a file but for its defaults list and what it sets of Hydra."""
    text = path.read_text(encoding="utf-8")
    for section in ("defaults", "hydra"):
        text = re.sub(rf"^{section}:\n(?:[ ]+.*\n|\n(?=[ ]))*", "", text, flags=re.MULTILINE)
    return re.sub(r"^# @package .*\n", "", text, flags=re.MULTILINE).strip()
