"""What a training tells: one JSON document a line, on standard output and in the run's log.

====================  ==========================================================================
event                 fields
====================  ==========================================================================
``start``             run, folder, parts, preset, seed, classes, images {train, validation},
                      parents {kind: id}, data, resumed
``part``              part, number, of
``progress``          part, step, share (of the part), overall (of the run), loss, seconds
``validation``        part, step, share, scores {name: figure}, best
``notice``            message; part, where it is about one
``done``              run, folder, seconds, weights {kind: file}, scores, parent_scores, active
``failed``            run, message
``cancelled``         run, message
====================  ==========================================================================

The first is ``start``, the last one of ``done``, ``failed`` and ``cancelled``; a process that
ends without one of them was killed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

Event = dict[str, Any]
OnEvent = Callable[[Event], None]

ENDS = ("done", "failed", "cancelled")

LEAST_SECONDS = 0.25
"""Progress is told no more often than this; nothing else is held back."""


def ignore_event(event: Event) -> None:
    """Take an event and do nothing."""


def line_of(event: Event) -> str:
    """Return an event as one line of JSON."""
    return json.dumps(event, ensure_ascii=False, allow_nan=False)


def event_of(line: str) -> Event | None:
    """Return the event that a line holds; None if it is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


class Reporter:
    """Hands events on, progress thinned out, and keeps them in the run's log but for its folder.

    Parameters
    ----------
    on_event
        Gets every event.
    """

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._log: TextIO | None = None
        self._last = 0.0

    def open_log(self, path: Path) -> None:
        """Keep everything from now on in a file, too; a log that cannot be written is done without.

        The log is for looking at a run again, nothing depends on it.
        """
        try:
            self._log = path.open("a", encoding="utf-8")
        except OSError:
            self._log = None

    def __call__(self, event: str, **fields: Any) -> None:
        """Tell an event."""
        now = time.monotonic()
        if event == "progress":
            if now - self._last < LEAST_SECONDS and fields["share"] < 1:
                return
            self._last = now
        told = {"event": event, **fields}
        if self._log is not None:
            try:
                kept = {name: value for name, value in told.items() if name != "folder"}
                self._log.write(line_of(kept) + "\n")  # it lies there; a project has no such path
                self._log.flush()
            except OSError:
                self._log = None
        self._on_event(told)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None
