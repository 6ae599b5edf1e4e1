"""The one line in which the program speaks, with what can be done about it."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QToolButton

from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import Panel, button, on_click

PAUSE = 60
"""Milliseconds until the bar comes or goes: all that stands below has to be drawn anew, and the
image comes first."""

COLOURS = {
    "info": ("#1d3b53", "#d6ecff"),
    "warning": ("#4d3a10", "#ffe2a8"),
    "error": ("#571f24", "#ffd5d8"),
}


class MessageBar(Panel):
    """Shows the session's message; errors of saving come with a way out."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.setObjectName("graydet-message")
        self._frame = QFrame()
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._again = button("Try again", "Try to save once more")
        self._mine = button("Keep mine", "Save this version; the other stays as a revision")
        self._theirs = button("Take theirs", "Drop this window's edit and show what was saved")
        self._there = button("Show it", "Show the image of which there are two versions")
        close = QToolButton()
        close.setText("✕")
        close.setToolTip("Hide this message")
        close.setAutoRaise(True)
        inner = QHBoxLayout(self._frame)
        inner.setContentsMargins(8, 4, 4, 4)
        inner.addWidget(self._text, 1)
        for widget in (self._again, self._there, self._mine, self._theirs, close):
            inner.addWidget(widget)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._frame)
        controller = self.controller
        on_click(self._again, controller.retry_save)
        on_click(self._there, controller.go_to_conflict)
        on_click(self._mine, controller.keep_mine)
        on_click(self._theirs, controller.take_stored)
        on_click(close, partial(controller.say, None))
        self._come_or_go = Deferred(self._set_visible, PAUSE)
        for signal in (self.session.message_changed, self.session.image_changed):
            self.links.add(signal, self._show)
        self.hide()
        self._show()

    def shutdown(self) -> None:
        """Stop following."""
        super().shutdown()
        self._come_or_go.drop()

    def _set_visible(self) -> None:
        self.setVisible(self.session.message is not None)

    def text(self) -> str:
        """Return the message that is shown."""
        return self._text.text()

    def _show(self) -> None:
        message, session = self.session.message, self.session
        self._come_or_go()
        if message is None:
            return
        ground, text = COLOURS[message.level]
        self._frame.setStyleSheet(
            f"QFrame {{ background: {ground}; border-radius: 4px; }} QLabel {{ color: {text}; }}"
        )
        self._text.setText(message.text)
        unsaved = bool(session.unsaved) and message.level == "error"
        conflict = unsaved and session.conflict is not None
        here = session.conflict == session.image_id
        self._again.setVisible(unsaved and not conflict)
        self._mine.setVisible(conflict and here)
        self._theirs.setVisible(conflict and here)
        self._there.setVisible(conflict and not here)
