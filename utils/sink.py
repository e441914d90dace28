"""Places that show a run: one that fails takes neither the run nor the others along."""

from collections.abc import Callable
from types import TracebackType


class Sink:
    """Context manager around whatever is written to one place. What is raised inside is told once, and swallowed.

    Args:
        name: of the place, as ``TensorBoard``.
        switch: the setting that switches it off, as ``use_tb=false``.
        say: tells the user.
    """

    def __init__(self, name: str, switch: str, say: Callable[[str], None]) -> None:
        self._name, self._switch, self._say = name, switch, say
        self._told = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if not self._told:
            self._told = True
            self._say(
                f"note: {self._name} cannot be written ({reason(error)}); the run goes on without. "
                f"{self._switch} switches it off."
            )
        return True


def reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    words = " ".join(str(error).split())
    return (words if len(words) <= LONGEST else f"{words[:LONGEST]} ...") or type(error).__name__


LONGEST = 300
"""Characters of what a library has to say."""
