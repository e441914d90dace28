"""A checkpoint that is gone: its run does not start over what it has made since it began."""

import os
from pathlib import Path

from training.episode_log import EPISODES
from utils.atomic import atomic_path
from utils.errors import UserError
from utils.latest import CONFIG_FILE
from utils.plain_yaml import dump, read

CHECKPOINTED = "checkpointed"
"""Key of the stored configuration: whether the run has had a checkpoint. Those of earlier versions do not say."""


def note_checkpoint(run_dir: Path) -> bool:
    """The run in ``run_dir`` has its first checkpoint: from now on its settings say so. Whether they do."""
    path = run_dir / CONFIG_FILE
    try:
        stored = read(path, "")
        if stored.get(CHECKPOINTED) is False:
            times = path.stat()
            with atomic_path(path) as new:
                new.write_text(dump(stored | {CHECKPOINTED: True}))
                os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))  # by which ``latest`` goes
    except (UserError, OSError):  # no run ends because of this
        return False
    return True


def refuse_lost(run_dir: Path, checkpoint: Path) -> None:
    """Raise :class:`UserError` where the run in ``run_dir``, which has no checkpoint, has had one, or may have, and
    starting over would clear what it has made.
    """
    if read(run_dir / CONFIG_FILE, "").get(CHECKPOINTED) is False:
        return
    if made := _made(run_dir):
        raise UserError(
            f"{checkpoint} is gone, and the run has made more than its beginning: to start over would clear "
            f"{', '.join(made)}. Nothing was changed. Put the checkpoint back and resume; or, to begin anew, take "
            f"another hydra.run.dir, or move {', '.join(made)} out of {run_dir} and resume."
        )


def _made(run_dir: Path) -> list[str]:
    found = []
    for name, pattern in (("replay", "stream_*/segment_*.bin"), ("models", "*.pt")):
        found += [name] if any((run_dir / name).glob(pattern)) else []
    logs = [run_dir / name for name in ("train.csv", "eval.csv", EPISODES)]
    files = [*(path for path in logs if path.is_file() and path.stat().st_size), *run_dir.glob("*.pt")]
    return found + sorted(path.name for path in files)
