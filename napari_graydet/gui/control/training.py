"""Training as the window sees it: start, progress, comparison, decision.

    idle -> running -> comparing -> deciding -> idle
               |  \\-> stopping ------------------^
               \\-> (failed) ---------------------^

    idle or deciding -> choosing -> idle

The run is the command-line run in a process of its own, so it can be stopped, killed or crash
without touching the window; what it leaves is an entry of the project's model registry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from psygnal import Signal

from napari_graydet.errors import CancelledError, GraydetError
from napari_graydet.gui.control.comparison import Comparison, compare_models
from napari_graydet.gui.control.models import Models, name_of
from napari_graydet.gui.control.session import Level, Message
from napari_graydet.gui.control.training_run import Run
from napari_graydet.gui.control.work import Job
from napari_graydet.project.model_registry import ModelRegistry
from napari_graydet.workflows.events import Progress, ShouldCancel, one_line
from napari_graydet.workflows.training.events import Event, OnEvent
from napari_graydet.workflows.training.process import TrainProcess

if TYPE_CHECKING:
    from napari_graydet.gui.control.controller import Controller

Phase = Literal["idle", "running", "stopping", "comparing", "deciding", "choosing"]

T = TypeVar("T")

CLOSE_SECONDS = 3.0
"""How long a closing window waits for a training to write its last checkpoint."""


class Training:
    """The trainings of the open project.

    Parameters
    ----------
    controller
        Its project is trained on; speaks to the user.
    device
        Returns the device chosen in Preferences.
    command
        Program instead of our own (for tests).

    Attributes
    ----------
    phase
        What goes on.
    models
        The registry of the project, as it was read last.
    run
        What the running, or the last, training has told; None before the first.
    comparison, comparing
        New and old model, once both were evaluated; how far that is until then.
    note
        How the last thing ended.
    """

    changed = Signal()
    models_changed = Signal()
    """Other models are in use, or there are more of them."""

    def __init__(
        self,
        controller: Controller,
        device: Callable[[], str],
        command: Sequence[str] | None = None,
    ) -> None:
        self._controller, self._device = controller, device
        self.command = command
        self.phase: Phase = "idle"
        self.models = Models()
        self.run: Run | None = None
        self.comparison: Comparison | None = None
        self.comparing: Progress | None = None
        self.note: Message | None = None
        self._process: TrainProcess | None = None
        self._stop = False
        self._opened = 0  # projects so far
        self._reads = 0  # looks at the registry so far
        self._job: Job | None = None
        self._place: tempfile.TemporaryDirectory[str] | None = None
        controller.session.project_changed.connect(self._project_changed)

    # A run --------------------------------------------------------------------------------------

    def start(self, parts: Sequence[str], preset: str, minutes: float | None = None) -> None:
        """Train on the accepted images, as a new run; `minutes` instead of the preset's budget."""
        budget = [] if minutes is None else ["--minutes", str(minutes)]
        self._launch(",".join(parts), "--preset", preset, "--device", self._device(), *budget)

    def resume(self, run_id: str) -> None:
        """Go on with a run that was stopped or killed."""
        self._launch("all", "--resume", run_id)

    def _launch(self, parts: str, *options: str) -> None:
        recorder, folder = self._controller.recorder, self._controller.session.folder
        if self.phase != "idle" or recorder is None or folder is None or not recorder.flush():
            return
        said, old = self._controller.session.message, self.note
        if said is not None and old is not None and said.text == old.text:
            self._controller.say(None)  # how the last one ended is over
        self.run, self.note, self._stop = Run(), None, False
        self._go("running")
        arguments: list[str | Path] = [parts, folder, *options]
        opened = self._opened
        self._controller.jobs.run(
            lambda tell, cancel: self._follow(arguments, opened, tell, cancel),
            done=self._here(self._ended),
            failed=self._here(lambda error: self._back(one_line(error), "error")),
            progress=self._here(self._told),
            waits=True,
        )

    def _follow(
        self,
        arguments: Sequence[str | Path],
        opened: int,
        tell: OnEvent,
        cancelled: ShouldCancel,
    ) -> Event:
        """Run the process to its end and return its last event (in a worker)."""
        process = TrainProcess(arguments, command=self.command)
        if opened == self._opened:
            self._process = process
        last: Event = {}
        try:
            # Before there was a process to tell, or a project was left.
            if self._stop or cancelled() or opened != self._opened:
                process.cancel()
            for last in process.events():
                tell(last)
        finally:
            process.close(patience=0.0)
            if self._process is process:  # not that of a project opened meanwhile
                self._process = None
        return last

    def cancel(self) -> None:
        """Stop: a training within a batch, at the second call at once; or the comparison."""
        if self.phase == "running":
            self._stop = True  # first: the worker may be starting the process just now
            if (process := self._process) is not None:
                process.cancel()
            self._go("stopping")
        elif self.phase == "stopping" and self._process is not None:
            self._process.close(patience=0.0)
        elif self.phase == "comparing" and self._job is not None:
            self._job.cancel()

    def stop(self, run_id: str) -> None:
        """Ask a training to stop within a batch: this window's, or that of another process."""
        folder, run = self._controller.session.folder, self.run
        if self.phase == "running" and run is not None and run.id == run_id:
            self.cancel()
        elif folder is not None:
            self._controller.jobs.run(
                lambda _progress, _cancel: ModelRegistry(folder).request_stop(run_id),
                done=lambda _none: self.refresh(),
                failed=self._controller.fail,
            )

    def close(self) -> None:
        """Stop the training with its window; it can be resumed."""
        self._stop = True  # first: the worker may be starting the process just now
        if (process := self._process) is not None:
            process.close(CLOSE_SECONDS)
        self._drop_comparison()

    def _told(self, event: Event) -> None:
        if self.run is not None:
            self.run.take(event)
            self.changed.emit()
            if event.get("event") == "start":
                self.refresh()  # the list shows it from now on

    def _ended(self, event: Event) -> None:
        kind = event.get("event")
        if kind == "done":
            self.compare(event["run"])
        elif kind == "cancelled":
            self._back(f"The training was stopped; {self.models.name} stays in use.", "info")
        else:
            self._back(f"The training failed: {event.get('message', 'no reason given')}", "error")

    # The decision -------------------------------------------------------------------------------

    def compare(self, run_id: str) -> None:
        """Evaluate a trained model and what is in use on the held-out images."""
        folder = self._controller.session.folder
        if folder is None or self.phase not in ("idle", "running", "stopping"):
            return
        self._drop_comparison()
        self._place = tempfile.TemporaryDirectory(
            prefix="graydet-comparison-", ignore_cleanup_errors=True
        )
        place, in_use, device = Path(self._place.name), self.models.name, self._device()
        self.comparing = Progress(0, 0, "")
        self._go("comparing")
        self._job = self._controller.jobs.run(
            lambda progress, cancel: compare_models(
                folder, run_id, in_use, place, progress, cancel,
                device=device, command=self.command,
            ),
            done=self._here(self._compared),
            failed=self._here(lambda error: self._not_compared(run_id, error)),
            progress=self._here(self._compares),
            waits=True,
        )  # fmt: skip

    def _compares(self, progress: Progress) -> None:
        self.comparing = progress
        self.changed.emit()

    def _compared(self, comparison: Comparison) -> None:
        self.comparison, self.comparing, self._job = comparison, None, None
        self._controller.say(
            f"Model {comparison.run_id} is trained: compare it in the tab Train and choose."
        )
        self.refresh()
        self._go("deciding")

    def _not_compared(self, run_id: str, error: Exception) -> None:
        self._drop_comparison()
        if isinstance(error, CancelledError):
            self._back(f"Model {run_id} was not compared; {self.models.name} stays in use.", "info")
        else:
            self._back(f"Model {run_id} could not be compared: {one_line(error)}", "error")

    def keep(self) -> None:
        """Keep what is in use; the new model stays in the list."""
        if self.phase == "deciding":
            self._drop_comparison()
            self._back(f"{_upper(self.models.name)} stays in use.", "info")

    def use(self, run_id: str) -> None:
        """Put a trained model in use."""
        self._choose(lambda registry: registry.activate(run_id))

    def roll_back(self) -> None:
        """Put in use again what was before."""
        self._choose(lambda registry: registry.roll_back())

    def _choose(self, choice: Callable[[ModelRegistry], Mapping[str, str]]) -> None:
        folder = self._controller.session.folder
        if folder is None or self.phase not in ("idle", "deciding"):
            return
        self._go("choosing")
        self._controller.jobs.run(
            lambda _progress, _cancel: choice(ModelRegistry(folder)),
            done=self._here(self._chosen),
            failed=self._here(self._not_chosen),
        )

    def _chosen(self, choices: Mapping[str, str]) -> None:
        self._drop_comparison()
        self.refresh()
        self._back(f"{_upper(name_of(choices))} is in use from the next detection on.", "info")

    def _not_chosen(self, error: Exception) -> None:
        self._back(one_line(error), "error")
        if self.comparison is not None:
            self._go("deciding")  # the question is still open

    def delete(self, run_id: str) -> None:
        """Delete a model that is not needed any more."""
        folder = self._controller.session.folder
        if folder is None or self.phase != "idle":
            return
        self._go("choosing")  # nothing else may begin meanwhile
        self._controller.jobs.run(
            lambda _progress, _cancel: ModelRegistry(folder).delete(run_id),
            done=self._here(lambda _none: self._back(f"Model {run_id} was deleted.", "info")),
            failed=self._here(lambda error: self._back(one_line(error), "error")),
        )

    def refresh(self) -> None:
        """Read the registry again: other processes train, too."""
        folder = self._controller.session.folder
        if folder is None:
            return
        self._reads += 1
        self._controller.jobs.run(
            lambda _progress, _cancel: Models.read(folder),
            done=partial(self._read, self._reads),
            failed=self._unreadable,
        )

    # Inside -------------------------------------------------------------------------------------

    def _here(self, then: Callable[[T], None]) -> Callable[[T], None]:
        """Return a callback of work on this project; with another one open it does nothing."""
        opened = self._opened

        def told(value: T) -> None:
            if opened == self._opened:
                then(value)

        return told

    def _back(self, text: str, level: Level) -> None:
        """Return to the beginning and say how it ended, in the panel and above all tabs."""
        self.note = Message(text, level)
        self._controller.say(text, level)
        self.refresh()
        self._go("idle")

    def _go(self, phase: Phase) -> None:
        self.phase = phase
        self.changed.emit()

    def _drop_comparison(self) -> None:
        """Stop a comparison, and throw away what it found."""
        if self._job is not None:
            self._job.cancel()
        self.comparison = self.comparing = self._job = None
        if self._place is not None:
            self._place.cleanup()
            self._place = None

    def _project_changed(self) -> None:
        folder = self._controller.session.folder
        if folder == self.models.folder:
            return
        self._drop_comparison()
        self._opened += 1
        left, self.note = self.models.folder, None
        if left is not None and self.phase in ("running", "stopping"):
            self._leave(left)
        self.models, self.run = Models(folder), None
        self._go("idle")
        self.models_changed.emit()
        self.refresh()

    def _leave(self, folder: Path) -> None:
        """Stop the training of a project that was left, and say so; a worker waits for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.cancel()
        text = f"The training in {folder.name} was stopped; open it again to go on."
        self.note = Message(text)
        self._controller.jobs.run(
            lambda _progress, _cancel: None if process is None else process.close(CLOSE_SECONDS),
            done=lambda _none: self._controller.say(text),
            failed=self._controller.fail,
            waits=True,
        )

    def _read(self, number: int, models: Models) -> None:
        if number < self._reads:
            return  # a look that began later sees more, and may have come first
        if models.folder == self._controller.session.folder and models != self.models:
            self.models = models
            self.models_changed.emit()
            self.changed.emit()

    def _unreadable(self, error: Exception) -> None:
        if isinstance(error, GraydetError):
            self.note = Message(one_line(error), "error")
        self._controller.fail(error)
        self.changed.emit()


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
