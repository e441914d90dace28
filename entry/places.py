"""Folders and files among the settings: absolute while a run goes on, but stored such that the run can move."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATHS = ("snapshot_base_dir", "snapshot_dir", "custom_snap_dir", "snapshot", "dataset_dir")

MAZE = ("env", (".yaml", ".yml"))
"""A key that names an environment, or a file where it ends so."""


def absolute(settings: Mapping[str, Any], start: Path) -> dict[str, Any]:
    """Paths as seen from ``start``, where the command was given, with the home directory for ``~``."""
    return _changed(settings, lambda path: os.path.abspath(start / os.path.expanduser(path)))


def portable(settings: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """As they are stored in ``run_dir``: what lies in it, or beside it, relative to it; ``./`` or ``../`` says so."""

    def stored(path: str) -> str:
        if not Path(path).is_absolute() or not Path(path).is_relative_to(run_dir.parent):
            return path
        relative = os.path.relpath(path, run_dir)
        return relative if _is_relative(relative) else f"./{relative}"

    return _changed(settings, stored)


def located(settings: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """What :func:`portable` has stored, for a run that is in ``run_dir`` now."""
    return _changed(settings, lambda path: os.path.abspath(run_dir / path) if _is_relative(path) else path)


def follow_base(settings: dict[str, Any], before: str) -> None:
    """Have ``snapshot_dir`` lie in ``snapshot_base_dir`` as it lay in the one from ``before``, if it did."""
    folder = settings.get("snapshot_dir")
    if folder is not None and Path(folder).is_relative_to(before):
        settings["snapshot_dir"] = str(Path(settings["snapshot_base_dir"], Path(folder).relative_to(before)))


def _is_relative(path: str) -> bool:
    return path == ".." or path.startswith(("./", "../"))


def _changed(settings: Mapping[str, Any], change: Any) -> dict[str, Any]:
    named = {key: settings[key] for key in PATHS if isinstance(settings.get(key), str) and settings[key]}
    key, ends = MAZE
    if str(settings.get(key)).endswith(ends):
        named[key] = str(settings[key])
    return {**settings, **{key: change(path) for key, path in named.items()}}
