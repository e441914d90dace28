"""Which code a file may choose: what lies in this project's own packages, and what the command line names, too.

Snapshots, checkpoints and run folders name classes and functions by their import paths. Whoever writes such a file
would otherwise choose what the process that reads it imports and calls.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from utils.advice import in_shell, override
from utils.errors import UserError
from utils.rules import shown

PACKAGES = {"agent._target_": "agents", "agent.method": "agents", "agent.drives": "agents", "env_factory": "envs"}
"""The settings whose values are import paths, and the package of this project whose content a file may choose."""

ADDED = ("agent.drives",)
"""Those of them that no file of ours has, so that an override has to add them, and one of the user's may have."""

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def code_in(config: Mapping[str, Any]) -> dict[str, str]:
    """The import paths in a configuration by the names of their settings."""
    agent = config.get("agent")
    values = {f"agent.{key}": value for key, value in agent.items()} if isinstance(agent, Mapping) else {}
    values["env_factory"] = config.get("env_factory")
    return {key: values[key] for key in PACKAGES if values.get(key) is not None}


def foreign_in(config: Mapping[str, Any]) -> dict[str, str]:
    """Those of :func:`code_in` that lead out of this project."""
    return {key: path for key, path in code_in(config).items() if not str(path).startswith(f"{PACKAGES[key]}.")}


def overrides(code: Mapping[str, str]) -> list[str]:
    """The overrides of a script that name ``code``, as a shell takes them."""
    return [override(f"{'++' if key in ADDED else ''}{key}", path) for key, path in code.items()]


def options(code: Mapping[str, str]) -> list[str]:
    """The options of a tool that name ``code``, as a shell takes them."""
    return [in_shell(f"{'--env-factory' if key == 'env_factory' else '--import'}={path}") for key, path in code.items()]


def refuse_unnamed(
    config: Mapping[str, Any], named: Collection[str | None], source: object, words: Any = overrides
) -> None:
    """Sees to it that code which only a file names is not imported.

    Args:
        config: what the file holds.
        named: the import paths that the present command line names.
        source: the file, for the message.
        words: how the command line names code: :func:`overrides` or :func:`options`.

    Raises:
        UserError: something in ``config`` is no import path, or leads out of this project and is not ``named``.
    """
    for key, path in code_in(config).items():
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise UserError(f"{source} has {key}={shown(path)}, which is no import path. Name package.module.Name.")
    unnamed = {key: path for key, path in foreign_in(config).items() if path not in named}
    if unnamed:
        raise UserError(
            f"{source} needs code of {', '.join(f'{path} ({key})' for key, path in unnamed.items())}, and code that a "
            f"file names is only imported if the command line names it, too. If you trust it, add "
            f"{' '.join(words(unnamed))}."
        )
