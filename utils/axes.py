"""How axes look in every figure."""

from typing import Any


def plain(axes: Any) -> None:
    """A light grid behind what is drawn, and no frame at the top and on the right."""
    axes.grid(True, color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
