"""A lock that one process holds at a time, and that ends with its process however that ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_graydet.errors import GraydetError
from napari_graydet.io.files import reason_of

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _take(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a share without locks: work goes on there as if nobody else was at it
            return True
        return True


GLANCE = 0.5
"""Seconds that outlast a look at whether a lock is held, which holds it for a moment itself."""


@contextmanager
def exclusive(
    path: Path, *, error: type[GraydetError], taken: str, patience: float = 0.0
) -> Iterator[None]:
    """Hold a lock for the time of a block.

    The system drops it with the process, a kill included; the file itself says nothing and stays,
    since removing it could give two processes a lock each.

    Parameters
    ----------
    path
        The file to lock; made if it is missing, empty.
    error
        Error to raise if the lock cannot be had.
    taken
        What it says if another process holds it.
    patience
        Seconds in which the other one may let go: `GLANCE` outlasts whoever only looks whether the
        lock is held.

    Raises
    ------
    GraydetError
        `error`, if another process holds the lock, or the file cannot be made.
    """
    try:
        stream = path.open("ab")
    except OSError as cause:
        raise error(
            f"Could not write {path}: {reason_of(cause)}; choose a folder that can be written."
        ) from cause
    with stream:
        until = time.monotonic() + patience
        while not _take(stream.fileno()):
            if time.monotonic() >= until:
                raise error(taken)
            time.sleep(0.02)
        yield
