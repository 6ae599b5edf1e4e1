"""Background work: where it runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QThreadPool, QTimer
from qtpy.QtWidgets import QApplication

from napari_graydet.gui import defer
from napari_graydet.gui.jobs import QtJobs

pytestmark = pytest.mark.gui

WORKS = 100

OUTLIVES = f"""
import time
from qtpy.QtCore import QCoreApplication
from napari_graydet.gui import jobs

def work(progress, cancelled):
    begun.append(True)
    time.sleep(1.5)
    print("cancelled:", cancelled(), flush=True)

application, begun = QCoreApplication([]), []
jobs.CLOSE_SECONDS = 0.1
made = jobs.QtJobs()
for _ in range({WORKS}):
    made.run(work, done=print, failed=print)
while not begun:
    time.sleep(0.01)
made.close()
print("closed", flush=True)
"""
"""A program whose work is not done when it ends, and hears of its end too late."""


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


def test_a_program_ends_after_its_work() -> None:
    """A thread that comes back to an interpreter which is no more ends the process with a crash."""
    ended = subprocess.run(
        [sys.executable, "-c", OUTLIVES], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    first, *rest = ended.stdout.splitlines()
    assert first == "closed" and set(rest) == {"cancelled: True"}
    assert len(rest) < WORKS, "what had not begun did not begin any more"


def test_each_call_has_a_turn_of_its_own(qtbot: QtBot) -> None:
    """What a call makes Qt paint is painted before the next call, and never in the caller."""
    jobs, seen = QtJobs(), list[str]()
    application = QApplication.instance()
    assert application is not None

    def call(name: str) -> None:
        seen.append(name)
        QTimer.singleShot(0, lambda: seen.append(f"after {name}"))

    for name in ("one", "two"):
        jobs.soon(partial(call, name))
    assert seen == []
    qtbot.waitUntil(lambda: len(seen) == 4)
    assert seen.index("one") < seen.index("after one") and seen.index("one") < seen.index("two")
    jobs.soon(partial(call, "three"))
    jobs.close()
    jobs.soon(partial(call, "four"))
    qtbot.wait(50)
    assert len(seen) == 4, "nothing is called once it is closed"


def test_what_workers_found_waits_for_the_end_of_a_gesture(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stroke or a drag must not find itself in another image."""
    jobs, seen, held = QtJobs(), list[str](), [True]
    monkeypatch.setattr(defer, "mouse_is_held", lambda: held[0])
    jobs.soon(lambda: seen.append("found"))
    jobs.soon(lambda: seen.append("then"))
    qtbot.wait(80)
    assert seen == []
    held[0] = False
    qtbot.waitUntil(lambda: seen == ["found", "then"])
    held[0] = True
    monkeypatch.setattr(defer, "PATIENCE", 0.05)
    jobs.soon(lambda: seen.append("late"))
    qtbot.waitUntil(lambda: seen[-1] == "late")
    jobs.close()


def test_a_result_comes_before_the_end(qtbot: QtBot) -> None:
    jobs, seen = QtJobs(), list[str]()
    jobs.run(
        lambda _progress, _cancel: "result",
        done=seen.append,
        failed=lambda error: seen.append(str(error)),
        finished=lambda: seen.append("finished"),
    )
    qtbot.waitUntil(lambda: len(seen) == 2)
    assert seen == ["result", "finished"]
    jobs.close()
