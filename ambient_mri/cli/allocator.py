"""Memory that was used once is kept for the next step, instead of given back and faulted in again page by page.

Large tensors come and go with every layer. glibc maps blocks above a threshold afresh each time and unmaps them when
freed; the kernel then clears every page again at its first touch, which can cost more than the arithmetic. The program
raises the two thresholds when it starts; the library, which lives in somebody else's process, does not.
"""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # <malloc.h>
LARGE = 2**26
"""Bytes from which a block is still mapped by itself; what is below comes from the heap. Feature maps are below."""
KEPT = 2**28
"""Bytes at the top of the heap that stay with the process."""
STATED = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Raise the thresholds where the C library is glibc; whoever states one of `STATED` keeps what was stated.

    Returns
    -------
    Whether the thresholds were raised.
    """
    if any(os.environ.get(name) for name in STATED):
        return False
    try:
        libc = ctypes.CDLL(None)
        if not hasattr(libc, "gnu_get_libc_version"):
            return False
        mallopt = libc.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGE) and mallopt(TRIM_THRESHOLD, KEPT))
