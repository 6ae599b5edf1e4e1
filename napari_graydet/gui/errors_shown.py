"""Where a model errs in the image that is shown: evented, no Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_graydet.gui.scored import LabelMap, Scored

if TYPE_CHECKING:
    from napari_graydet.gui.controller import Controller


class ErrorsShown:
    """The errors of one scored model, over the image that is shown.

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
        controller.session.image_changed.connect(self._follow)

    @property
    def model(self) -> str:
        """What errs, in words."""
        return self._scored.model if self._scored is not None else ""

    def close(self) -> None:
        """Stop following."""
        self._controller.session.image_changed.disconnect(self._follow)

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
        self._scored = self._name = None
        self._put(None)

    def set_visible(self, visible: bool) -> None:
        """Show or hide the errors, of this image and of those to come."""
        self.visible = visible
        self.changed.emit()

    def _follow(self) -> None:
        """Show the errors in the present image, if it is the one that was chosen."""
        session, scored, name = self._controller.session, self._scored, self._name
        entry, image, record = session.entry, session.image, session.annotation
        self._put(None)
        if scored is None or name is None or entry is None or entry.path != name:
            return
        if image is None or record is None:
            return
        self._controller.jobs.run(
            lambda _progress, _cancel: scored.errors(name, record, image.pixels),
            done=lambda found: self._arrived(scored, name, found),
            failed=self._controller.fail,
        )

    def _arrived(self, scored: Scored, name: str, found: LabelMap) -> None:
        entry = self._controller.session.entry
        wanted = self._scored is scored and self._name == name
        if wanted and entry is not None and entry.path == name:
            self._put(found)

    def _put(self, found: LabelMap | None) -> None:
        if found is not None or self.map is not None:
            self.map = found
            self.changed.emit()
