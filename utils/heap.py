"""What the C library does with freed memory while a CPU learns: it keeps it for the next update."""

import ctypes
import os
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""
LARGEST_KEPT = 32 << 20
"""Bytes; blocks above are mapped anew each time, as before."""
STEP = 64 << 20
"""Bytes by which the heap grows."""
FREE_AT_MOST = 1 << 30
"""Bytes; more than these at the end of the heap go back to the system."""

CHOSEN_BY = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Variables by which a user chooses; ``GLIBC_TUNABLES=glibc.malloc...`` is another."""


def keep_freed_memory() -> bool:
    """Reuse what tensors of an update leave, in the whole process; whether that was possible.

    glibc gives blocks of megabytes back to the system when they are freed, and the system clears every page it hands
    out again: thousands of page faults an update. Does nothing with another C library, or where the environment
    already chooses.
    """
    chosen = any(os.environ.get(name) for name in CHOSEN_BY) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    if chosen or not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - musl has a mallopt in name only
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    asked = ((MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, FREE_AT_MOST), (TOP_PAD, STEP))
    return all(mallopt(which, value) for which, value in asked)
