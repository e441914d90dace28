"""What a message tells the user to type: quoted for Hydra and for the shell, so that it can be pasted as it stands."""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""Where the scripts lie."""

_PLAIN = re.compile(r"(?!(?:true|false|null|nan|inf)\Z)[A-Za-z_/][\w./+-]*", re.ASCII | re.IGNORECASE)
"""Texts that Hydra reads as themselves without quotes."""


def override(key: str, value: object) -> str:
    """``key=value`` for a command line: a text or path is quoted where Hydra or the shell would take it apart."""
    return in_shell(f"{key}={in_hydra(value)}")


def in_shell(word: str) -> str:
    """``word`` as a shell takes it for one; in double quotes where that is enough, since Hydra's are single."""
    quoted = shlex.quote(word)
    return f'"{word}"' if quoted != word and not re.search(r'["$`\\!\n]', word) else quoted


def in_hydra(value: object) -> str:
    """``value`` as Hydra's grammar has it: texts in single quotes unless they are plain, ``${`` without its meaning."""
    if not isinstance(value, str | os.PathLike):
        return json.dumps(value, separators=(",", ":")).replace('"', "'")
    text = literal(os.fspath(value))
    if _PLAIN.fullmatch(text):
        return text
    return in_quotes(text)


def literal(text: str) -> str:
    """``text`` with OmegaConf's escape for every ``${`` in it, which is none of a key."""
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)


def in_quotes(text: str) -> str:
    """``text`` in the quotes of Hydra's grammar; a ``${`` in it keeps its meaning."""
    quoted = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{quoted}'"


def command(script: str, *overrides: str) -> str:
    """``python <script> <overrides>`` for this folder and this Python; ``overrides`` are as :func:`override` gives."""
    where = Path(script) if Path.cwd() == ROOT else ROOT / script
    return " ".join([program(), shlex.quote(str(where)), *overrides])


def program() -> str:
    """What starts this Python in a shell: ``python`` where that is it, else its path."""
    if shutil.which("python") == sys.executable:
        return "python"
    path = Path(sys.executable)
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
