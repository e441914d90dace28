"""The words of a command line that a message prints, and whether the scripts take them."""

import contextlib
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from entry.cli import check_overrides
from entry.composing import read_words
from entry.resumed import resumed_settings
from entry.settings import settings_of, settled
from entry.stored import CHOICES
from training.settings import OffPolicyKeys

_OVERRIDE = re.compile(r"[+~]*[a-z_][\w./@]*=\S", re.DOTALL)


def advised(text: str, key: str) -> list[str]:
    """The overrides of ``key`` that ``text`` gives, as a shell has them."""
    found = []
    for match in re.finditer(rf"""["']?{re.escape(key)}=""", text):
        with contextlib.suppress(ValueError):
            word = next(_lexer(text[match.start() :]))
            found.append(word if text[match.start()] in "\"'" else word.rstrip(".,)?"))
    return found


def pasted(text: str, key: str) -> list[str]:
    """The overrides that follow each other in ``text`` from the first one of ``key`` on, as a shell has them."""
    start = re.search(rf"""["']?[+~]*{re.escape(key)}=""", text)
    assert start is not None, text
    words = []
    lexer = _lexer(text[start.start() :])
    with contextlib.suppress(ValueError, StopIteration):  # what comes after them is no language of a shell
        while _OVERRIDE.match(word := next(lexer)):
            words.append(word.rstrip(".,)?"))
            if words[-1] != word:
                break
    return words


def _lexer(text: str) -> shlex.shlex:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    return lexer


def stored_after(script: str, words: Sequence[str]) -> dict[str, Any]:
    """The settings that a run goes on with after ``python <script> <words>``. Raises as the script does."""
    found = check_overrides(script, words)
    asked = settled(found) | {CHOICES: found.choices}
    return resumed_settings(Path(asked["resume"]).absolute(), asked, read_words(words).overrides, script)


def settings_after(script: str, words: Sequence[str]) -> OffPolicyKeys:
    """The checked settings of the run that ``python <script> <words>`` begins, or goes on with."""
    if any(word.startswith("resume=") and word != "resume=auto" for word in words):
        return settings_of(script, stored_after(script, words))
    return settings_of(script, settled(check_overrides(script, words)))
