"""Run as a program with failing_disk.c preloaded: fail every k-th disk call of a save.

Prints one JSON line of what happened; any broken promise is a traceback.
"""

from __future__ import annotations

import ctypes
import errno
import json
import sqlite3
import sys
from pathlib import Path

from napari_graydet.errors import ProjectError
from napari_graydet.project.history import History
from napari_graydet.project.schema import Annotation
from napari_graydet.project.store import ProjectStore
from tests.project.projects import SHAPE, edited, make_project

DISK = ctypes.CDLL(None)
ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES)


def main(folder: Path, wal: bool, thorough: bool) -> None:
    """Sweep k, once failing a single call, once all that follow.

    Thorough tries every error at every call, otherwise they take turns.
    """
    store = make_project(folder, 1)
    if not wal:
        store._database._wal = False
        store.close()
        with sqlite3.connect(folder / "annotations.db") as plain:
            plain.execute("PRAGMA journal_mode=DELETE")
    history = History(store)
    history.do(1, edited(0), "begin")
    counts = {"calls": 0, "failed": 0, "refused": 0, "in_doubt": 0}
    low = 0
    for turn in range(len(ERRORS) if thorough else 1):
        for keep in (0, 1):
            k = 1
            while True:
                low += 2
                record = edited(low)
                DISK.disk_arm(k, ERRORS[(k + turn) % len(ERRORS)], keep)
                refused = _do(history, record)
                hits = DISK.disk_failed()
                DISK.disk_arm(0, 0, 0)
                counts["calls"] += 1
                counts["failed"] += bool(hits)
                counts["refused"] += refused
                assert refused or _on_disk(folder) == record
                if refused:
                    counts["in_doubt"] += _on_disk(folder) == record
                    _works_again(history, store, folder, record, low)
                if not hits:
                    break
                k += 1
    revisions = [entry.revision for entry in store.revisions(1)]
    assert revisions == list(range(1, len(revisions) + 1))
    store.close()
    print(json.dumps(counts))


def _do(history: History, record: Annotation) -> bool:
    """Edit; return whether it was refused, in one line."""
    try:
        history.do(1, record, "edit")
    except ProjectError as error:
        assert "\n" not in str(error)
        return True
    return False


def _works_again(
    history: History, store: ProjectStore, folder: Path, record: Annotation, low: int
) -> None:
    """After a refusal: old or new on disk, the same store saves, and undo gives the edit before."""
    assert _on_disk(folder) in (record, edited(low - 2)), _on_disk(folder)
    history.do(1, edited(low + 1), "again")
    assert _on_disk(folder) == edited(low + 1)
    history.do(1, edited(low), "once more")
    history.undo()
    assert _on_disk(folder) == edited(low + 1) == store.annotation(1)[0]
    history.do(1, record, "settle")


def _on_disk(folder: Path) -> Annotation | None:
    """Read with a connection of its own, as after a restart."""
    with ProjectStore.open(folder) as fresh:
        return fresh.annotation(1, SHAPE)[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "wal", sys.argv[3] == "thorough")
