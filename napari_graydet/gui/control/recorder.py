"""Edits -> history -> store -> session: one transaction per edit, nothing lost when a save fails.

An edit is shown at once and stored in the same call. If the disk refuses, the record stays in
`session.unsaved`, a banner says so, and the next edit (of any image) tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from napari_graydet.errors import ConflictError, ProjectError
from napari_graydet.gui.control.session import Message, Session
from napari_graydet.project.history import History
from napari_graydet.project.schema import Annotation, Source, State
from napari_graydet.project.store import ProjectStore

IDLE_SECONDS = 60.0
"""A longer pause between two edits counts as absence."""


class Recorder:
    """The one way from an edit to the disk.

    Parameters
    ----------
    session
        The window's state; the recorder keeps its record, entries and saved state true.
    store
        The open project.
    """

    def __init__(self, session: Session, store: ProjectStore) -> None:
        self.store = store
        self.history = History(store)
        self._session = session
        self._pending: dict[int, tuple[str, Source, float]] = {}
        self._clock = _Clock()
        self._failed = False

    def commit(self, annotation: Annotation, action: str, source: Source = "human") -> bool:
        """Make an edit of the current image true; return whether it is on the disk."""
        image_id = self._session.image_id
        assert image_id is not None
        self._session.unsaved[image_id] = annotation
        self._pending[image_id] = (action, source, self._clock.lap())
        self.show(annotation)
        return self._store(image_id)

    def reject_unseen(self, image_id: int) -> bool:
        """Reject an image that cannot be shown, with the record that is stored; as `commit`."""
        unsaved = self._session.unsaved.get(image_id)
        record = self.history.load(image_id) if unsaved is None else unsaved
        rejected = record.model_copy(update={"state": State.REJECTED})
        self._session.unsaved[image_id] = rejected
        self._pending[image_id] = (str(State.REJECTED), "human", self._clock.lap())
        return self._store(image_id)

    def _store(self, image_id: int) -> bool:
        """Store what can be; return whether an image is on the disk."""
        self.flush()
        return image_id not in self._session.unsaved

    def flush(self) -> bool:
        """Store every record that is not stored yet; return whether all are.

        A conflict of one image keeps no other one from being stored.
        """
        session = self._session
        session.conflict = None
        complaint = ""
        for image_id in sorted(session.unsaved, key=lambda one: one != session.image_id):
            try:
                action, source, seconds = self._pending[image_id]
                self.history.do(
                    image_id, session.unsaved[image_id], action,
                    source=source, active_seconds=seconds,
                )  # fmt: skip
            except ConflictError as error:
                if session.conflict is None:
                    session.conflict = image_id
                    complaint = f"{error} Your edit is kept in this window."
                continue
            except (ProjectError, OSError) as error:
                complaint = f"Not saved: {error} It is kept here and saved with the next edit."
                break  # the disk will not take the others either
            del session.unsaved[image_id]
            session.saved_at = time.time()
            self.refresh_entry(image_id)
        self._tell_saved()
        if complaint:
            self._complain(complaint)
            return False
        if self._failed:
            self._failed = False
            session.message = Message("Saved again; nothing was lost.")
            session.message_changed.emit()
        return True

    def record_of(self, image_id: int, shape: tuple[int, int]) -> Annotation:
        """Return the newest record of an (H, W) image: the unsaved one, or the stored one."""
        unsaved = self._session.unsaved.get(image_id)
        return unsaved if unsaved is not None else self.history.load(image_id, shape)

    def undo(self) -> int | None:
        """Undo the last edit, of whichever image; return its id, None if there is none."""
        return self._step(self.history.undo, "undo")

    def redo(self) -> int | None:
        """Do the last undone edit again; return the image's id, None if there is none."""
        return self._step(self.history.redo, "redo")

    def take_stored(self) -> None:
        """After a conflict: give up the unsaved edit and show what somebody else stored."""
        session = self._session
        if session.image_id is None or session.image_id != session.conflict:
            return
        del session.unsaved[session.image_id]
        session.conflict, self._failed = None, False
        session.message = None
        session.message_changed.emit()
        self.refresh_entry(session.image_id)
        if session.image is not None:
            self.show(self.record_of(session.image_id, session.image.shape))
        self.flush()

    def keep_mine(self) -> None:
        """After a conflict: store this record; the other one stays as a revision."""
        session = self._session
        if session.image_id is not None and session.image_id == session.conflict:
            shape = None if session.image is None else session.image.shape
            self.history.load(session.image_id, shape)
            self.flush()

    def show(self, annotation: Annotation) -> None:
        """Let the session show a record of the current image."""
        session = self._session
        if not {*annotation.labels} <= {*session.classes}:
            self.learn_classes()  # somebody else has added one
        session.annotation = annotation
        session.preview = None
        if session.masks is not None:
            session.masks.classes = session.classes
            session.mask_changed.emit(session.masks.show(annotation))
        _keep_selection(session)
        session.record_changed.emit()

    def learn_classes(self) -> None:
        """Read the project's classes again; ids never change, so masks stay as they are."""
        session = self._session
        with suppress(ProjectError):  # a disk that fails is told of where something is stored
            self.store.reload_classes()
        session.classes = tuple(self.store.classes)
        if session.masks is not None:
            session.masks.classes = session.classes
        session.project_changed.emit()

    def refresh_entries(self) -> None:
        """Read the list of images again, and put it in order."""
        self._session.entries = self._session.arranged(self.store.entries())
        self._session.entries_changed.emit()

    def _step(self, step: Callable[[], int | None], name: str) -> int | None:
        session = self._session
        if session.unsaved and not self.flush() and [*session.unsaved] != [session.conflict]:
            return None
        try:
            image_id = step()
        except (ProjectError, OSError) as error:
            self._complain(f"Could not {name}: {error}")
            return None
        if image_id is None:
            return None
        self._session.saved_at = time.time()
        self.refresh_entry(image_id)
        self._tell_saved()
        return image_id

    def refresh_entry(self, image_id: int) -> None:
        """Read the state of one image again."""
        session = self._session
        entry = self.store.entry(image_id)
        session.entries = [entry if e.id == image_id else e for e in session.entries]
        session.entry_changed.emit(image_id)

    def _tell_saved(self) -> None:
        self._session.can_undo = self.history.can_undo
        self._session.can_redo = self.history.can_redo
        self._session.saved_changed.emit()

    def _complain(self, text: str) -> None:
        self._failed = True
        self._session.message = Message(" ".join(text.split()), "error")
        self._session.message_changed.emit()
        self._session.saved_changed.emit()


class _Clock:
    """Counts the time a person is active: pauses of more than a minute are not work."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        """Return the seconds of work since the last call."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return passed if passed <= IDLE_SECONDS else 0.0


def _keep_selection(session: Session) -> None:
    """Select something that exists: the same as before, or the first there is."""
    annotation = session.annotation
    assert annotation is not None
    before = (session.roi_id, session.box_id)
    if session.roi is None:
        session.roi_id = annotation.rois[0].id if annotation.rois else None
    box = session.box
    if box is None or (session.roi_id is not None and box.roi_id not in (session.roi_id, None)):
        boxes = [b for b in annotation.boxes if b.roi_id == session.roi_id]
        session.box_id = boxes[0].id if boxes else None
    if session.roi is not None and session.roi.label in session.classes:
        session.label = session.roi.label
    if (session.roi_id, session.box_id) != before:
        session.selection_changed.emit()
