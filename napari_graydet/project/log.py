"""Checking the write-ahead log that a killed program leaves behind.

SQLite reads such a log up to the first frame whose checksum is wrong and drops the rest without a
word: right for a save that was never finished, wrong for saves that a damaged disk took away. The
format is described in SQLite's documentation, "The Write-Ahead Log" of the file format.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path

_HEADER, _FRAME = struct.Struct(">8I"), struct.Struct(">6I")
_MAGIC = 0x377F0682
_PAUSE_SECONDS = 0.05

_Sums = tuple[int, int]


def lost_saves(log: Path) -> bool:
    """Tell whether a log lost saves that had been acknowledged.

    A broken frame in the last transaction counts as a save that was never finished: it cannot be
    told from one. Every transaction before that was on the disk before the next one began.
    """
    first = _damage(log)
    if first is None:
        return False
    time.sleep(_PAUSE_SECONDS)  # another program may have been writing it just now
    return _damage(log) == first


def _damage(log: Path) -> int | None:
    """Return the offset of the broken frame (0: the header) that took finished saves away."""
    try:
        data = log.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _HEADER.size + _FRAME.size:
        return None
    magic, _, page, _, *salt, sum0, sum1 = _HEADER.unpack_from(data)
    order = ">" if magic & 1 else "<"
    sums = _checksum(data[: _HEADER.size - 8], (0, 0), order)
    if magic & ~1 != _MAGIC or sums != (sum0, sum1):
        return 0
    broken = _first_broken(data, page, tuple(salt), sums, order)
    return broken if broken is not None and _was_finished(data, page, tuple(salt), broken) else None


def _first_broken(
    data: bytes, page: int, salt: tuple[int, ...], sums: _Sums, order: str
) -> int | None:
    for at in _frames(data, page):
        head = _FRAME.unpack_from(data, at)
        sums = _checksum(data[at : at + 8], sums, order)
        sums = _checksum(data[at + _FRAME.size : at + _FRAME.size + page], sums, order)
        if head[2:4] != salt or head[4:6] != sums:
            return at
    return None


def _was_finished(data: bytes, page: int, salt: tuple[int, ...], broken: int) -> bool:
    """Tell whether a transaction began after the one with the broken frame."""
    commits = []
    for at in _frames(data, page):
        head = _FRAME.unpack_from(data, at)
        if at >= broken and head[2:4] == salt and head[1] > 0:  # the size in pages marks a commit
            commits.append(at)
    return len(commits) > 1


def _frames(data: bytes, page: int) -> range:
    size = _FRAME.size + page
    return range(_HEADER.size, len(data) - size + 1, size)


def _checksum(data: bytes, sums: _Sums, order: str) -> _Sums:
    """Return SQLite's running checksum over 8-byte steps."""
    s0, s1 = sums
    for x0, x1 in struct.iter_unpack(f"{order}II", data):
        s0 = (s0 + x0 + s1) & 0xFFFFFFFF
        s1 = (s1 + x1 + s0) & 0xFFFFFFFF
    return s0, s1
