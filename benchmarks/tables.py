"""Tables as README.md has them, to be pasted there."""

from collections.abc import Iterable, Sequence


def markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A row of titles, a line, and the rows."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
