"""Opening a project and going from image to image: the controller's half that edits nothing."""

from __future__ import annotations

from pathlib import Path

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import GraydetError
from napari_graydet.gui.control.images import ImageCache
from napari_graydet.gui.control.mask_model import MaskModel
from napari_graydet.gui.control.recorder import Recorder
from napari_graydet.gui.control.session import FINISHED, JobState, Level, Message, Session
from napari_graydet.gui.control.work import Jobs
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.events import one_line
from napari_graydet.workflows.predict import UNLABELLED

ALL_DONE = "Every image is accepted or rejected: train in the tab Train, or export them."


class Navigation:
    """Shows the images of a project one after the other.

    Parameters
    ----------
    session
        The state that is changed.
    jobs
        Where slow work runs.
    """

    def __init__(self, session: Session, jobs: Jobs) -> None:
        self.session = session
        self.jobs = jobs
        self.recorder: Recorder | None = None
        self.images: ImageCache | None = None
        self._target: int | None = None

    # Project ------------------------------------------------------------------------------------

    def open_folder(self, folder: Path) -> None:
        """Open a project, or make a folder of images one; hashing runs in the background."""
        self.say(None)
        self._busy(JobState(f"Opening {folder.name}"))
        self.jobs.run(
            lambda _progress, _cancel: ProjectStore.open_or_create(folder),
            done=lambda store: self._opened(folder, store),
            failed=self.fail,
            finished=lambda: self._busy(None),
        )

    def close(self) -> None:
        """Store what is left, stop the work, close the project."""
        self.jobs.close()
        self._close_store()

    def _close_store(self) -> None:
        if self.recorder is not None:
            self.recorder.flush()
            self.recorder.store.close()
            self.recorder = self.images = None

    def _opened(self, folder: Path, store: ProjectStore) -> None:
        session = self.session
        try:
            recorder = Recorder(session, store)
            entries = store.entries()
        except GraydetError as error:  # what is open stays open
            store.close()
            self.fail(error)
            return
        self._close_store()
        self.recorder = recorder
        history = recorder.history
        self.images = ImageCache(store, self.jobs)
        session.folder = folder
        session.classes = tuple(store.classes)
        session.label = session.classes[0] if session.classes else UNLABELLED
        session.image_id = session.image = session.annotation = session.masks = None
        session.unsaved.clear()
        session.alternatives.clear()
        session.order, session.filter = "project", None
        session.doubts.clear()
        session.conflict = None
        session.saved_at = None
        session.can_undo, session.can_redo = history.can_undo, history.can_redo
        session.project_changed.emit()
        session.entries = entries
        session.entries_changed.emit()
        session.saved_changed.emit()
        if not session.entries:
            self.say(f"{folder.name} holds no images that can be read.", "warning")
            session.image_changed.emit()
            return
        fresh = next((e for e in session.entries if e.state not in FINISHED), session.entries[0])
        self.go_to(fresh.id)
        if store.notices:
            self.say(" ".join(store.notices), "warning")

    # Navigation ---------------------------------------------------------------------------------

    def go_to(self, image_id: int) -> None:
        """Show an image; the present one stays until the new one has been read."""
        entry = next((e for e in self.session.entries if e.id == image_id), None)
        images = self.images
        if entry is None or images is None:
            return
        self._target = image_id
        if not self.session.unsaved:
            self.say(None)
        images.get(
            entry,
            done=lambda image: self._show(entry, image, images),
            failed=lambda error: self._unreadable(entry, error, images),
        )

    def next(self) -> None:
        """Go to the next image of the list."""
        self._step(1)

    def previous(self) -> None:
        """Go to the previous image of the list."""
        self._step(-1)

    def next_open(self) -> None:
        """Go to the next listed image that is neither accepted nor rejected, round the end."""
        entries = self.session.entries
        here = self._index(self.session.image_id)
        for entry in (*entries[here + 1 :], *entries[:here]):
            if entry.state not in FINISHED and self.session.lists(entry):
                self.go_to(entry.id)
                return
        if all(entry.state in FINISHED for entry in entries):
            self.say(ALL_DONE)
        else:
            self.next()

    def filter(self, state: State | None) -> None:
        """List only images of one state; None lists all."""
        if state is not self.session.filter:
            self.session.filter = state
            self.session.entries_changed.emit()

    def neighbour(self, by: int) -> ImageEntry | None:
        """Return the listed image before (-1) or behind (1) the one that is shown or asked for."""
        entries, here = self.session.entries, self._index(self._target)
        beyond = entries[here + 1 :] if by > 0 else entries[: max(here, 0)][::-1]
        return next((entry for entry in beyond if self.session.lists(entry)), None)

    def _step(self, by: int) -> None:
        entry = self.neighbour(by)
        if entry is not None:
            self.go_to(entry.id)

    def _index(self, image_id: int | None) -> int:
        ids = [entry.id for entry in self.session.entries]
        return ids.index(image_id) if image_id in ids else -1

    def _show(self, entry: ImageEntry, image: GrayImage, images: ImageCache) -> None:
        if self.recorder is None or entry.id != self._target or images is not self.images:
            return
        session = self.session
        try:
            annotation = self.recorder.record_of(entry.id, image.shape)
        except GraydetError as error:
            self._unreadable(entry, error, images)
            return
        session.image_id, session.image = entry.id, image
        session.masks = MaskModel(image.pixels, session.classes)
        session.roi_id = session.box_id = session.preview = None
        session.annotation = annotation
        session.image_changed.emit()
        self.recorder.show(annotation)
        if image.notes and not session.unsaved:  # else the banner stays
            self.say(" ".join(image.notes))
        self._prefetch(entry)

    def _prefetch(self, entry: ImageEntry) -> None:
        index = self._index(entry.id) + 1
        if self.images is not None and index < len(self.session.entries):
            self.images.prefetch(self.session.entries[index])

    def _unreadable(self, entry: ImageEntry, error: Exception, images: ImageCache) -> None:
        if images is not self.images:  # of a project that was left
            return
        session = self.session
        session.image_id = entry.id
        session.image = session.annotation = session.masks = None
        session.roi_id = session.box_id = session.preview = None
        session.image_changed.emit()
        session.record_changed.emit()
        self.fail(error)

    def reload(self) -> None:
        """Show the current image's record as it is stored now."""
        session = self.session
        if self.recorder is not None and session.image_id is not None and session.image:
            self.recorder.show(self.recorder.record_of(session.image_id, session.image.shape))

    # Messages -----------------------------------------------------------------------------------

    def say(self, text: str | None, level: Level = "info") -> None:
        """Show one line, or none."""
        self.session.message = Message(text, level) if text else None
        self.session.message_changed.emit()

    def fail(self, error: Exception) -> None:
        """Show an error as one line."""
        self.say(one_line(error), "error")

    def _busy(self, job: JobState | None) -> None:
        self.session.job = job
        self.session.job_changed.emit()
