"""Background work as the controller sees it; `gui/jobs.py` brings the threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from napari_graydet.workflows.events import ShouldCancel

P = TypeVar("P")
T = TypeVar("T")
Work = Callable[[Callable[[P], None], ShouldCancel], T]
"""Runs in a worker, tells of its progress as `P`, returns a `T`; must touch neither the session
nor a widget."""


class Job(Protocol):
    """Something that runs."""

    def cancel(self) -> None:
        """Ask it to stop at the next chance."""


class Jobs(Protocol):
    """Runs work off the main thread and brings its results back to it."""

    def run(
        self,
        work: Work[P, T],
        *,
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
        progress: Callable[[P], None] | None = None,
        finished: Callable[[], None] | None = None,
        waits: bool = False,
    ) -> Job:
        """Start work; `done` or `failed`, then `finished`, are called on the main thread.

        Work that `waits` for another process for long leaves its place to other work meanwhile.
        """

    def soon(self, call: Callable[[], None]) -> None:
        """Call something on the main thread in a turn of the event loop of its own."""

    def close(self) -> None:
        """Cancel everything; nothing is called back any more."""
