"""A verb of the command line in a process of its own, read line by line.

What takes minutes and gigabytes must not take a window down: memory of a GPU comes back only when
a process ends, and importing torch alone holds Python's lock too long (docs/decisions/0010).
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_graydet.errors import CancelledError, ModelError
from napari_graydet.workflows.events import ShouldCancel, never_cancel

NICE = 5
"""The window goes first: it shares the cores with its child processes."""

PATIENCE_SECONDS = 20.0
"""How long a command that was asked to stop may take to leave things in order."""

_POLL_SECONDS = 0.05
_QT_PATHS = ("QT_QPA_PLATFORM_PLUGIN_PATH", "QT_QPA_FONTDIR", "QT_PLUGIN_PATH")
"""A window's own; a child process with other libraries must not find them."""

COMMAND = (sys.executable, "-P", "-m", "napari_graydet")
"""-P: the working folder may hold anything, and none of it is to be imported."""


class CommandProcess:
    """A running command.

    Parameters
    ----------
    arguments
        What follows ``napari-graydet``.
    command
        Program and first arguments instead of our own (for tests).

    Raises
    ------
    ModelError
        If the system refuses to start it.
    """

    def __init__(
        self, arguments: Sequence[str | Path], *, command: Sequence[str] | None = None
    ) -> None:
        environment = child_environment()
        environment["PYTHONUNBUFFERED"] = "1"
        try:
            self._process = subprocess.Popen(
                [*(command or COMMAND), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                encoding="utf-8",
                errors="replace",
                **window_flags(),
            )
        except OSError as error:
            raise ModelError(f"The command could not be started: {error.strerror}.") from error
        lower_priority(self._process.pid)
        self._errors: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Both pipes have to be emptied all the time, or a talkative library would block the child.
        self._readers = [
            threading.Thread(target=read, name="command", daemon=True)
            for read in (self._read_lines, self._read_errors)
        ]
        for reader in self._readers:
            reader.start()

    def lines(self, should_cancel: ShouldCancel = never_cancel) -> Iterator[str]:
        """Yield the lines of standard output as they come, to the end of the process; call once.

        Raises
        ------
        CancelledError
            If it was to be cancelled: then the process is told to end, and not waited for.
        """
        while True:
            if should_cancel():
                self.terminate()
                raise CancelledError("Stopped.")
            try:
                line = self._lines.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                return
            yield line

    def wait(self) -> int:
        """Wait for the end and return the exit status; all that it complained of is then known."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        return code

    @property
    def complaint(self) -> str:
        """The last line of standard error, without the program's name."""
        return self._errors[-1].removeprefix("napari-graydet: ") if self._errors else ""

    def terminate(self) -> None:
        """Ask the process to end; on Windows this ends it at once."""
        with suppress(OSError):
            self._process.terminate()

    def close(self, patience: float = PATIENCE_SECONDS) -> None:
        """End the process and wait for its end; kill it if that takes too long."""
        if self.is_running:
            self.terminate()
        self._reap(patience)

    def _reap(self, patience: float) -> None:
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

    def _read_lines(self) -> None:
        assert self._process.stdout is not None  # a pipe
        with suppress(ValueError, OSError), self._process.stdout:
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None  # a pipe
        with suppress(ValueError, OSError), self._process.stderr:
            for line in self._process.stderr:
                if line.strip():
                    self._errors = [*self._errors[-20:], line.strip()]


def child_environment() -> dict[str, str]:
    """Return this process's environment without what leads a child to the window's libraries."""
    return {k: v for k, v in os.environ.items() if k not in _QT_PATHS}


def lower_priority(pid: int) -> None:
    """Let the window go first, where `window_flags` does not see to it: on POSIX."""
    if os.name == "posix":
        with suppress(OSError):  # it may have ended already
            own = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, pid, min(own + NICE, 19))


def window_flags() -> dict[str, Any]:
    """Keep Windows from opening a console, and let the window go first there, too."""
    names = ("CREATE_NO_WINDOW", "BELOW_NORMAL_PRIORITY_CLASS")  # 0 elsewhere
    return {"creationflags": sum(getattr(subprocess, name, 0) for name in names)}
