"""Memory that a training keeps between its batches."""

import ctypes

__all__ = ["keep_freed"]

#: Of glibc's <malloc.h>: what is freed at the end of the heap goes back to the system from so many
#: bytes on (-1: never); how many blocks may come from the system one by one.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed() -> None:
    """Keep for the next tensors what others have left, where the C library is glibc.

    It hands large blocks back to the system at once, which then clears every page of the next one
    anew: that takes as long as computing what is written there.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, -1)
        mallopt(_MMAP_MAX, 0)
