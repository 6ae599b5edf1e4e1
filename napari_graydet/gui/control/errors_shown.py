"""Where a model errs in the image that is shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_graydet.gui.control.scored import LabelMap, Scored
from napari_graydet.gui.links import Links
from napari_graydet.project.schema import Annotation

if TYPE_CHECKING:
    from napari_graydet.gui.control.controller import Controller


class ErrorsShown:
    """The errors of one scored model, over the image that is shown, as its record is now.

    Parameters
    ----------
    controller
        Goes to the image.

    Attributes
    ----------
    map
        (H, W) of `scored.HIT`, `MISSED` and `EXTRA` for the image that is shown; None where there
        is nothing to show.
    visible
        Whether the user wants to see it.
    """

    changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._scored: Scored | None = None
        self._name: str | None = None
        self.map: LabelMap | None = None
        self.visible = True
        self._folder: Path | None = None
        self._wanted: tuple[Scored, Annotation] | None = None  # shown, or on its way
        self._links = Links()
        self._links.add(controller.session.project_changed, self._project_changed)
        self._links.add(controller.session.image_changed, self._follow)
        self._links.add(controller.session.record_changed, self._record_changed)

    @property
    def model(self) -> str:
        """What errs, in words."""
        return self._scored.model if self._scored is not None else ""

    @property
    def active(self) -> bool:
        """Whether the errors of a model were asked for and not hidden again."""
        return self._scored is not None

    def close(self) -> None:
        """Stop following."""
        self._links.close()

    def show(self, scored: Scored, name: str) -> None:
        """Go to an image and show the errors in it."""
        session = self._controller.session
        entry = next((e for e in session.entries if e.path == name), None)
        if entry is None:
            self._controller.say(f"{name} is no longer in the project.", "warning")
            return
        self._scored, self._name = scored, name
        if session.image_id == entry.id:
            self._follow()
        else:
            self._controller.go_to(entry.id)

    def hide(self) -> None:
        """Show the image without errors."""
        self._scored = self._name = self._wanted = None
        self._put(None)

    def forget(self, scored: Scored | None) -> None:
        """Hide the errors if they are of this table: its masks are no more."""
        if scored is not None and scored is self._scored:
            self.hide()

    def set_visible(self, visible: bool) -> None:
        """Show or hide the errors, of this image and of those to come."""
        self.visible = visible
        self.changed.emit()

    def _project_changed(self) -> None:
        folder = self._controller.session.folder
        if folder != self._folder:  # names of images may be the same in both
            self._folder = folder
            self.hide()

    def _follow(self) -> None:
        """Show the errors in the present image, if it is the one that was chosen."""
        self._wanted = None
        self._put(None)
        self._look()

    def _record_changed(self) -> None:
        """Look again after an edit; the errors of before stay until then, or they would flicker."""
        if self._wanted is None or self._wanted[1] is not self._controller.session.annotation:
            self._look()

    def _look(self) -> None:
        session, scored, name = self._controller.session, self._scored, self._name
        entry, image, record = session.entry, session.image, session.annotation
        if scored is None or name is None or entry is None or entry.path != name:
            return
        if image is None or record is None:
            return
        wanted = self._wanted = scored, record
        self._controller.jobs.run(
            lambda _progress, _cancel: scored.errors(name, record, image.pixels),
            done=lambda found: self._arrived(wanted, found),
            failed=lambda error: self._failed(wanted, error),
        )

    def _arrived(self, wanted: tuple[Scored, Annotation], found: LabelMap) -> None:
        if wanted is self._wanted:
            self._put(found)

    def _failed(self, wanted: tuple[Scored, Annotation], error: Exception) -> None:
        if wanted is self._wanted:  # else the masks may be gone with their table
            self._put(None)
            self._controller.fail(error)

    def _put(self, found: LabelMap | None) -> None:
        if found is not None or self.map is not None:
            self.map = found
            self.changed.emit()
