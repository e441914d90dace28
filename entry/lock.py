"""One process per run folder."""

import fcntl
from pathlib import Path
from types import TracebackType

from utils.errors import UserError


class FolderLock:
    """Holds ``<folder>/.lock`` while the block runs. Raises :class:`UserError` when another process holds it.

    The kernel lets go of it when the process ends, however it ends. Temporary files that a killed process left in the
    folder are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "FolderLock":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._path = self.folder / ".lock"
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UserError(
                f"hydra.run.dir={self.folder} is in use by another process. Wait for it, or start a run of its own."
            ) from error
        for leftover in self.folder.glob(".*.tmp*"):
            leftover.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        self._file.close()
