"""Background work: where it runs."""

from __future__ import annotations

import threading

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QThreadPool

from napari_graydet.gui.jobs import QtJobs

pytestmark = pytest.mark.gui


def test_qt_keeps_its_own_threads(qtbot: QtBot) -> None:
    """Qt 5 converts pictures in its global pool, while the main thread holds Python's lock."""
    pool = QThreadPool.globalInstance()
    assert pool is not None
    jobs, go = QtJobs(), threading.Event()
    begun, done = threading.Barrier(3, timeout=30), []
    try:
        for _ in range(2):
            jobs.run(lambda _p, _c: (begun.wait(), go.wait(30)), done=done.append, failed=print)
        begun.wait()
        assert pool.activeThreadCount() == 0
        go.set()
        qtbot.waitUntil(lambda: len(done) == 2, timeout=30_000)
    finally:
        go.set()
        jobs.close()
