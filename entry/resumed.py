"""The settings of a run that goes on: its own, with the changes of the command line that leave it the same run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from entry.places import follow_base
from entry.scripts import SCRIPTS, SOURCES
from entry.stored import CHOICES, PHASE, stored_settings
from entry.words import parsed
from training.run import CHECKPOINT
from utils.advice import command, override
from utils.config import get, has, put, resume_words
from utils.errors import UserError


def resumed_settings(run_dir: Path, asked: Mapping[str, Any], words: Sequence[str], phase: str) -> dict[str, Any]:
    """What the run in ``run_dir`` goes on with.

    Args:
        asked: the configuration of the command line, with the choice of each group.
        words: its overrides.
        phase: the script that is to go on with it.

    Raises:
        UserError: it is a run of another script, or an override would make it another run; named is which.
    """
    stored = stored_settings(run_dir, asked)
    if stored[PHASE] != phase:
        file = SCRIPTS[stored[PHASE]].file
        again = command(file, resume_words(run_dir, stored))
        raise UserError(f"{override('resume', run_dir)} is a run of {file}. Resume it with that script: {again}")
    safe = SCRIPTS[phase].safe_on_resume
    safe = tuple(key for key in safe if has(asked, key))  # what other scripts have is no advice here
    if not (run_dir / CHECKPOINT).exists():  # nothing is loaded yet
        safe = tuple(sorted({*safe, *(key for key in SOURCES if key in stored)}))
    base = str(stored.get("snapshot_base_dir"))
    changed = set()
    for given in parsed(words):
        key, line = given.key_or_group, given.input_line
        name = f"{CHOICES}.{key}" if key in stored[CHOICES] else key
        try:
            then, now = get(stored, name), get(asked, name)
        except (KeyError, TypeError):
            raise UserError(f"{line}: this run was started without the key {key}; leave it out.") from None
        if key == "resume" or now == then:
            continue
        if key not in safe:
            raise UserError(
                f"{line}: this run has {key}={then} and keeps it. On resume you may change "
                f"{', '.join(safe)}; for anything else start a new run."
            )
        put(stored, key, now)
        changed.add(key)
    if "snapshot_base_dir" in changed and "snapshot_dir" not in changed:
        follow_base(stored, base)
    return stored
