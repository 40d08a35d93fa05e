"""Memory that a step frees is kept for the next one.

A training step allocates and frees the same activations again and again. glibc gives blocks of some
megabytes back to the system at once and the system hands them out again page by page, each zeroed:
about three percent of the CPU time of a step of the starter model.
"""

from __future__ import annotations

import ctypes
import sys

# <malloc.h>. Blocks of more than 32 MiB are the system's in any case.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
SETTINGS = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**28}


def keep_freed_memory() -> bool:
    """Whether the allocator took it; where it is not glibc's, nothing is done."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) for setting in SETTINGS.items())
