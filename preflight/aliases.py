"""Names that a script has for settings which are called otherwise inside: translated here, both ways."""

from collections.abc import Mapping, Sequence
from typing import Any

from utils.settings import UnknownKey


class Aliases:
    """``names``: published name, which lies at the root -> internal key. ``hidden``: keys that only exist inside."""

    def __init__(self, names: Mapping[str, str] | None = None, hidden: Sequence[str] = ()) -> None:
        self.names = dict(names or {})
        self.hidden = (*self.names.values(), *hidden)
        self._published = {key: name for name, key in self.names.items()}

    def published(self, key: str) -> str:
        """What a user calls the internal ``key``."""
        return self._published.get(key, key)

    def internal(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A plain configuration by internal keys. Raises :class:`UnknownKey` for one that has internal keys already."""
        for key in self.hidden:
            if (found := _get(config, key)) is not _ABSENT:
                raise UnknownKey(key, found, [name for name in config if name != key])
        translated = {name: value for name, value in config.items() if name not in self.names}
        for name, key in self.names.items():
            if name not in config:
                continue
            section, _, last = key.rpartition(".")
            if not section:
                translated[key] = config[name]
            elif isinstance(inner := translated.get(section, {}), Mapping):
                translated[section] = {**inner, last: config[name]}
        return translated


_ABSENT = object()


def _get(config: Mapping[str, Any], key: str) -> Any:
    section, _, last = key.rpartition(".")
    node = config.get(section) if section else config
    return node.get(last, _ABSENT) if isinstance(node, Mapping) else _ABSENT
