"""Calls that wait for the event loop."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

TURN = 15
"""Milliseconds between two pieces of work that each cost a frame: mouse, keys and the frame itself
come in between, so that the window never stands still for long."""

PATIENCE = 8.0
"""Seconds for which a held mouse button stops what workers found: Qt may miss a release."""


def mouse_is_held() -> bool:
    """Tell whether a button of the mouse is down: a stroke or a drag may be going on."""
    return bool(QApplication.mouseButtons() != Qt.MouseButton.NoButton)


class Deferred:
    """Calls a function once the event loop is idle, with the arguments of the last call only.

    A drag sends more mouse moves than frames can be drawn: those in between are dropped.

    Parameters
    ----------
    function
        What to call.
    pause
        Milliseconds without a further call to wait for.
    """

    def __init__(self, function: Callable[..., None], pause: int = 0) -> None:
        self._function = function
        self._args: tuple[Any, ...] | None = None
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(pause)
        self._timer.timeout.connect(self.flush)

    def __call__(self, *args: Any) -> None:
        """Ask for a call."""
        self._args = args
        if self._timer.interval() > 0 or not self._timer.isActive():
            self._timer.start()

    def flush(self) -> None:
        """Make the pending call now, if there is one."""
        self._timer.stop()
        args, self._args = self._args, None
        if args is not None:
            self._function(*args)

    def drop(self) -> None:
        """Forget the pending call."""
        self._timer.stop()
        self._args = None


class Turns:
    """Makes calls in order, each in a turn of the event loop of its own.

    What answers a click or a worker's signal is followed by its frame before any further click is
    looked at. What a timer does is not: so the window stands still for half as long.

    While a mouse button is held they wait (`PATIENCE` at most): a brush stroke or a drag that has
    begun must not find itself in another image, or over a mask that was drawn anew.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], None]] = deque()
        self._held_since: float | None = None
        self._timer = QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._next)

    def __call__(self, call: Callable[[], None]) -> None:
        """Ask for a call."""
        if not self._calls:
            self._held_since = None  # of an earlier gesture
        self._calls.append(call)
        self._timer.start()

    def drop(self) -> None:
        """Forget what is still to be called."""
        self._timer.stop()
        self._calls.clear()

    def _waits(self) -> bool:
        if not mouse_is_held():
            self._held_since = None
            return False
        now = time.monotonic()
        self._held_since = self._held_since or now
        return now - self._held_since < PATIENCE

    def _next(self) -> None:
        if self._waits():
            self._timer.setInterval(TURN)
            return
        self._timer.setInterval(0)
        call = self._calls.popleft()
        if not self._calls:
            self._timer.stop()
        call()
