"""Memory that a process keeps from one pass of a network to the next, instead of having it anew from the kernel each time."""

from __future__ import annotations

import ctypes

#: bytes that lie idle between two passes, at most: a film needs about 200 MiB, and a large pass does not hold its memory for ever
_KEPT = 512 * 1024**2
# mallopt(3), <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_memory() -> None:
    """Of this process, for as long as it lives. glibc maps each large block for itself and gives it back when it is freed: 22,000
    new pages for one film of 448 x 448, a quarter of the time of its pass. Another C library goes on as it does."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
