"""Background work on a thread pool of our own: only data crosses back to the main thread."""

from __future__ import annotations

import atexit
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

from napari.qt.threading import WorkerBase, WorkerBaseSignals
from qtpy.QtCore import QThreadPool, Signal  # type: ignore[attr-defined]

from napari_graydet.errors import CancelledError
from napari_graydet.gui.control.work import Work
from napari_graydet.gui.defer import Turns

P = TypeVar("P")
T = TypeVar("T")

CLOSE_SECONDS = 5.0
"""How long a closing window waits for work that has been asked to stop."""

WAIT = 200
"""Milliseconds between two looks for Ctrl+C while the program waits for its last work."""


@functools.cache
def _pool() -> QThreadPool:
    """Return the pool, one for all windows.

    Never Qt's global one: Qt 5 converts pictures there while the main thread waits with Python's
    lock in its hands. Workers that wait for the lock and hold all places would stop both for ever.
    """
    pool = QThreadPool()
    atexit.register(_end_all, pool)  # after PyQt's own, and therefore called before it
    return pool


def _end_all(pool: QThreadPool) -> None:
    """Let all work end before the interpreter does: whoever came back to it would crash."""
    for worker in tuple(_alive):
        worker.cancel()
    while not pool.waitForDone(WAIT):  # in pieces, so that Ctrl+C is heard
        pass


class _Signals(WorkerBaseSignals):  # type: ignore[misc]
    progressed = Signal(object)


class _Worker(WorkerBase):  # type: ignore[misc]
    """Runs one piece of work; an exception in it becomes `errored`, never a crash."""

    def __init__(self, work: Work[Any, Any], waits: bool) -> None:
        super().__init__(SignalsClass=_Signals)
        self._work = work
        self._waits = waits
        self._cancelled = threading.Event()
        self._ended = threading.Event()

    def start(self) -> None:
        """Let the pool do the work as soon as it has a place."""
        _alive.add(self)
        self.finished.connect(functools.partial(_alive.discard, self))
        _pool().start(self)

    def work(self) -> Any:
        """Do the work (in the worker's thread)."""
        try:
            if self._cancelled.is_set():
                raise CancelledError("Stopped before it began.")
            with _place_left() if self._waits else nullcontext():
                return _Result(self._work(self._report, self._cancelled.is_set))
        finally:
            self._ended.set()

    def wait(self, seconds: float) -> None:
        """Wait for the end of work that has begun; what has not begun never will."""
        if self.is_running:
            self._ended.wait(max(0.0, seconds))

    def cancel(self) -> None:
        """Ask the work to stop; what it returns is still delivered."""
        self._cancelled.set()

    def _report(self, progress: object) -> None:
        self.progressed.emit(progress)


_alive: set[_Worker] = set()
"""Workers whose last signal has not arrived yet: with them it would end in freed memory."""


@contextmanager
def _place_left() -> Iterator[None]:
    """Let the pool run one more worker beside this one: it has as many as there are cores."""
    _pool().releaseThread()
    try:
        yield
    finally:
        _pool().reserveThread()


class _Result:
    """Wraps a result, so that one that is an exception is not taken for a failure."""

    def __init__(self, value: Any) -> None:
        self.value = value


class QtJobs:
    """Runs work in threads; nothing is called back once it is closed."""

    def __init__(self) -> None:
        self._running: set[_Worker] = set()
        self._turns = Turns()
        self._closed = False

    def run(
        self,
        work: Work[P, T],
        *,
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        progress: Callable[[P], None] | None = None,
        finished: Callable[[], None] | None = None,
        waits: bool = False,
    ) -> _Worker:
        """Start work; `done` or `failed`, then `finished`, are called on the main thread.

        Work that `waits` for another process for long leaves its place to other work meanwhile.
        """
        worker = _Worker(work, waits)
        worker.returned.connect(self._unless_closed(lambda result: done(result.value)))
        worker.errored.connect(self._unless_closed(failed))
        if progress is not None:
            worker.progressed.connect(self._unless_closed(progress))
        worker.finished.connect(lambda: self._ended(worker, finished))
        self._running.add(worker)
        worker.start()
        return worker

    def soon(self, call: Callable[[], None]) -> None:
        """Call something in a turn of the event loop of its own."""
        if not self._closed:
            self._turns(call)

    def close(self) -> None:
        """Ask all work to stop and wait a moment, so that no thread outlives its window.

        No events are handled meanwhile: the window is in the middle of closing.
        """
        self._closed = True
        self._turns.drop()
        for worker in self._running:
            worker.cancel()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in tuple(self._running):
            worker.wait(deadline - time.monotonic())
        self._running.clear()

    def _unless_closed(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        return lambda value: self.soon(lambda: callback(value))

    def _ended(self, worker: _Worker, finished: Callable[[], None] | None) -> None:
        self._running.discard(worker)
        if finished is not None:
            self.soon(finished)
