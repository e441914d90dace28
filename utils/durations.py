"""Durations as people say them."""

MINUTE, HOUR, DAY = 60, 3600, 86400


def about(seconds: float) -> str:
    """``52 ms``, ``45 s``, ``12 min``, ``14 h``, ``62 days``: two figures and the unit, days from two of them on."""
    if seconds < 1:
        return f"{float(f'{1000 * max(seconds, 0):.2g}'):g} ms"
    for unit, length, following in (("s", 1, 100), ("min", MINUTE, 100 * MINUTE), ("h", HOUR, 2 * DAY)):
        if seconds < following:
            return f"{round(seconds / length, 1 if seconds < 10 * length else None):g} {unit}"
    days = seconds / DAY
    return f"{days:.1f} days" if days < 10 else f"{days:,.0f} days"
