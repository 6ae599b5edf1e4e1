"""A training in a process of its own: the same command as the command line, read line by line.

CUDA memory comes back only when a process ends, and a crash in a training must not take the window
down; so whoever has a window trains through here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from napari_graydet.project.models import STOP_FILE
from napari_graydet.workflows.events import ShouldCancel
from napari_graydet.workflows.training_events import ENDS, Event, event_of

PATIENCE_SECONDS = 20.0
"""How long a training that was asked to stop may take to write its last checkpoint."""

_QT_PATHS = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR", "QT_PLUGIN_PATH")
"""A window's own; a child process with other libraries must not find them."""


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


class TrainProcess:
    """A running training.

    Parameters
    ----------
    arguments
        What follows ``napari-graydet train``: part, project, options; ``--json`` is added.

    Attributes
    ----------
    run_id, folder
        Of the run, None until its start event was read.
    """

    def __init__(self, arguments: Sequence[str | Path]) -> None:
        self.run_id: str | None = None
        self.folder: Path | None = None
        self._errors: list[str] = []
        self._cancelled = False
        environment = {k: v for k, v in os.environ.items() if k not in _QT_PATHS}
        environment["PYTHONUNBUFFERED"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_graydet", "train", *map(str, arguments), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
        # Somebody has to empty the pipe of errors, or a talkative library would block the child.
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def events(self) -> Iterator[Event]:
        """Yield the events as they come, to the end of the process; call it once, in any thread.

        The last event is always one of `training_events.ENDS`: where the process ended without
        one (bad input, a kill, a crash), it is made here.
        """
        ended = False
        assert self._process.stdout is not None  # a pipe
        for line in self._process.stdout:
            event = event_of(line)
            if event is None:
                continue
            if event["event"] == "start":
                self.run_id, self.folder = event["run"], Path(event["folder"])
                if self._cancelled:  # asked to before there was a folder to put the wish in
                    self._put_stop_file()
            ended = ended or event["event"] in ENDS
            yield event
        code = self._process.wait()
        self._reader.join(timeout=5)
        if not ended:
            yield self._end_of(code)

    def cancel(self) -> None:
        """Ask the training to stop within a batch; it writes a checkpoint and can be resumed."""
        self._cancelled = True
        if self.folder is not None:
            self._put_stop_file()
        elif os.name == "posix":
            self._process.terminate()  # a wish, too: see `stop_signals`

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """Stop the training and wait for its end; kill it if that takes too long."""
        if self._process.poll() is None:
            self.cancel()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def _put_stop_file(self) -> None:
        assert self.folder is not None
        with suppress(OSError):
            (self.folder / STOP_FILE).touch()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None  # a pipe
        for line in self._process.stderr:
            if line.strip():
                self._errors = [*self._errors[-20:], line.strip()]

    def _end_of(self, code: int) -> Event:
        """Return the end event of a process that told none."""
        if self._cancelled:
            return {"event": "cancelled", "run": self.run_id, "message": "Stopped."}
        said = self._errors[-1].removeprefix("napari-graydet: ") if self._errors else ""
        if code < 0:
            said = f"The training was killed (signal {-code}); it can be resumed. {said}".strip()
        message = said or f"The training ended with status {code} and no message."
        return {"event": "failed", "run": self.run_id, "message": message}
