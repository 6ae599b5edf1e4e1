"""A training in a process of its own: the same command as the command line, read line by line.

Whoever has a window trains through here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from napari_graydet.project.model_registry import STOP_FILE
from napari_graydet.workflows.command_process import PATIENCE_SECONDS, CommandProcess
from napari_graydet.workflows.events import ShouldCancel
from napari_graydet.workflows.training.events import ENDS, Event, event_of


@contextmanager
def stop_signals() -> Iterator[ShouldCancel]:
    """Turn SIGTERM and Ctrl-C into a wish to stop, which the training asks for at every batch.

    A second Ctrl-C interrupts at once. Outside of the main thread signals are left alone.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop.is_set
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    for number in numbers:
        before[number] = signal.signal(number, ask)
    try:
        yield stop.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TrainProcess(CommandProcess):
    """A running training.

    Parameters
    ----------
    arguments
        What follows ``napari-graydet train``: part, project, options; ``--json`` is added.
    command
        Program and first arguments instead of our own (for tests).

    Attributes
    ----------
    run_id, folder
        Of the run, None until its start event was read.
    """

    def __init__(
        self, arguments: Sequence[str | Path], *, command: Sequence[str] | None = None
    ) -> None:
        self.run_id: str | None = None
        self.folder: Path | None = None
        self._cancelled = False
        super().__init__(["train", *arguments, "--json"], command=command)

    def events(self) -> Iterator[Event]:
        """Yield the events as they come, to the end of the process; call it once, in any thread.

        The last event is always one of `events.ENDS`: where the process ended without
        one (bad input, a kill, a crash), it is made here.
        """
        ended = False
        for line in self.lines():
            event = event_of(line)
            if event is None:
                continue
            if event["event"] == "start":
                self.run_id, self.folder = event["run"], Path(event["folder"])
                if self._cancelled:  # asked to before there was a folder to put the wish in
                    self._put_stop_file()
            ended = ended or event["event"] in ENDS
            yield event
        code = self.wait()
        if not ended:
            yield self._end_of(code)

    def cancel(self) -> None:
        """Ask the training to stop within a batch; it writes a checkpoint and can be resumed."""
        self._cancelled = True
        if self.folder is not None:
            self._put_stop_file()
        elif os.name == "posix":
            self.terminate()  # a wish, too: see `stop_signals`

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """Stop the training and wait for its end; kill it if that takes too long."""
        if self.is_running:
            self.cancel()
        self._reap(patience)

    def _put_stop_file(self) -> None:
        assert self.folder is not None
        with suppress(OSError):
            (self.folder / STOP_FILE).touch()

    def _end_of(self, code: int) -> Event:
        """Return the end event of a process that told none."""
        if self._cancelled:
            return {"event": "cancelled", "run": self.run_id, "message": "Stopped."}
        said = self.complaint
        if code < 0:
            said = f"The training was killed (signal {-code}); it can be resumed. {said}".strip()
        message = said or f"The training ended with status {code} and no message."
        return {"event": "failed", "run": self.run_id, "message": message}
