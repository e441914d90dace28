"""Hydra reads each file of a configuration once: its parser takes most of the time that composing takes."""

import copy
import os
from pathlib import Path

from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource

Plugins.instance()  # registers the sources
Files = SourcesRegistry.instance().resolve("file")
_read = Files.load_config
_known: dict[tuple[object, ...], ConfigResult] = {}


def _load_config(source: ConfigSource, config_path: str) -> ConfigResult:
    path = Path(source.path, source._normalize_file_name(config_path))
    try:
        state = path.stat()
    except OSError:
        return _read(source, config_path)
    key = (source.provider, source.path, os.path.realpath(path), state.st_ino, state.st_mtime_ns, state.st_size)
    if key not in _known:
        _known[key] = _read(source, config_path)
    return copy.deepcopy(_known[key])


def read_files_once() -> None:
    """From here on, in this process; a file that has changed is read again."""
    Files.load_config = _load_config  # type: ignore[method-assign]
