"""One process per run folder."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from utils.atomic import remove_leftovers
from utils.errors import UserError
from utils.locks import Busy, lock_file

LOCK = ".lock"
NOTE = b"A run of Somnia uses this folder, or was killed in it.\n"
"""What the lock file of a run folder holds."""


class FolderLock:
    """Holds ``<folder>/.lock`` while the block runs. Raises :class:`UserError` when another process holds it.

    The kernel lets go of it when the process ends, however it ends. Temporary files that killed processes left in the
    folder, at any depth, are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        """What the user should know."""
        self._held = ExitStack()

    def __enter__(self) -> "FolderLock":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = self._held.enter_context(lock_file(self.folder / LOCK, note=NOTE))
        except Busy as error:
            raise UserError(
                f"hydra.run.dir={self.folder} is in use by another process. Wait for it, or start a run of its own."
            ) from error
        except OSError as error:
            raise UserError(
                f"hydra.run.dir={self.folder} cannot be written to ({error.strerror}). Choose another folder, or "
                "change its rights."
            ) from error
        if held is None:
            self.notes = [f"the disk of {self.folder} has no file locks: see that no second process uses this folder"]
        remove_leftovers(self.folder, deep=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.close()
