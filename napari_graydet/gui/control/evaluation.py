"""The table of `evaluate` as the window sees it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_graydet.errors import CancelledError
from napari_graydet.gui.control.scored import Scored, evaluate_project
from napari_graydet.gui.control.session import Message
from napari_graydet.gui.control.work import Job
from napari_graydet.workflows.events import Progress, one_line

if TYPE_CHECKING:
    from napari_graydet.gui.control.controller import Controller

VALIDATION, ALL = "validation", "all"


class Evaluation:
    """Scores the models in use on accepted images, in a process of its own.

    Parameters
    ----------
    controller
        Its project is scored.
    model
        Returns what is in use, in words.
    device
        Returns the device chosen in Preferences.
    command
        Program instead of our own (for tests).

    Attributes
    ----------
    progress
        How far it is; None unless it runs.
    scored
        The last evaluation; None before the first one.
    side
        Which images that was: "validation" or "all".
    note
        How the last one ended, unless well.
    """

    changed = Signal()

    def __init__(
        self,
        controller: Controller,
        model: Callable[[], str],
        device: Callable[[], str],
        command: Sequence[str] | None = None,
    ) -> None:
        self._controller, self._model, self._device = controller, model, device
        self.command = command
        self.progress: Progress | None = None
        self.scored: Scored | None = None
        self.side = ALL
        self.note: Message | None = None
        self._revisions: dict[str, int] = {}  # of the images, when `scored` was begun
        self._job: Job | None = None
        self._folder: Path | None = None
        self._kept: tempfile.TemporaryDirectory[str] | None = None
        controller.session.project_changed.connect(self._project_changed)

    @property
    def running(self) -> bool:
        """Whether an evaluation runs."""
        return self.progress is not None

    @property
    def edited(self) -> int:
        """How many images of `scored` have another record by now."""
        if self.scored is None:
            return 0
        now = {entry.path: entry.revision for entry in self._controller.session.entries}
        return sum(now.get(name) != self._revisions.get(name) for name in self.scored.images)

    def start(self, side: str) -> None:
        """Evaluate the accepted images of a side of the split."""
        recorder, folder = self._controller.recorder, self._controller.session.folder
        if self.running or recorder is None or folder is None or not recorder.flush():
            return
        place = tempfile.TemporaryDirectory(
            prefix="graydet-evaluation-", ignore_cleanup_errors=True
        )
        arguments: list[str | Path] = [folder, "--split", side, "--device", self._device()]
        model = self._model()
        revisions = {e.path: e.revision for e in self._controller.session.entries}
        self.note = None
        self.progress = Progress(0, 0, "")
        self.changed.emit()
        job = self._controller.jobs.run(
            lambda progress, cancel: evaluate_project(
                arguments, Path(place.name), model, progress, cancel, command=self.command
            ),
            done=lambda scored: self._done(scored, side, revisions, place, folder),
            failed=lambda error: self._failed(error, place, folder),
            progress=self._told,
            finished=self._finished,
            waits=True,
        )
        self._job = job if self.running else None

    def cancel(self) -> None:
        """Stop; the last table stays."""
        if self._job is not None:
            self._job.cancel()

    def close(self) -> None:
        """Throw the masks away; what runs is stopped with all other work of the window."""
        self.cancel()
        self._drop()

    def _told(self, progress: Progress) -> None:
        self.progress = progress
        self.changed.emit()

    def _done(
        self,
        scored: Scored,
        side: str,
        revisions: dict[str, int],
        place: tempfile.TemporaryDirectory[str],
        folder: Path,
    ) -> None:
        if folder != self._controller.session.folder:
            place.cleanup()
            return
        self._drop()
        self._kept, self.scored, self.side = place, scored, side
        self._revisions = revisions

    def _failed(
        self, error: Exception, place: tempfile.TemporaryDirectory[str], folder: Path
    ) -> None:
        place.cleanup()
        if folder != self._controller.session.folder:
            return
        stopped = isinstance(error, CancelledError)
        self.note = Message(one_line(error), "info" if stopped else "error")

    def _finished(self) -> None:
        self._job = self.progress = None
        self.changed.emit()

    def _project_changed(self) -> None:
        folder = self._controller.session.folder
        if folder != self._folder:
            self._folder = folder
            self.cancel()
            self._drop()
            self.note = None
        self.changed.emit()

    def _drop(self) -> None:
        self.scored = None
        if self._kept is not None:
            self._kept.cleanup()
            self._kept = None
