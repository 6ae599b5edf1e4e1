"""What all panels share."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QAbstractButton, QLabel, QProgressBar, QPushButton, QWidget

from napari_graydet.gui.desk import Desk
from napari_graydet.gui.links import Links

PRIMARY = (
    "QPushButton { background: #0a6fb8; color: white; font-weight: 600; }"
    "QPushButton:hover { background: #1583d1; }"
    "QPushButton:disabled { background: rgba(128, 128, 128, 45); color: rgb(128, 128, 128);"
    " font-weight: 400; }"
)
TOOL = (
    "QToolButton { background: rgba(128, 128, 128, 45); border-radius: 3px; padding: 4px 9px; }"
    "QToolButton:hover { background: rgba(128, 128, 128, 90); }"
    "QToolButton:checked { background: #0a6fb8; color: white; }"
    "QToolButton:disabled { color: rgb(128, 128, 128); }"
)
DIM = "color: #8f98a3;"
"""Translucent and middle grays: they suit dark and light themes alike."""

GAP = 6
"""Pixels between controls."""


class Panel(QWidget):
    """A view of the desk's session that can be docked; it follows until it is closed."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.session = desk.session
        self.controller = desk.controller
        self.links = Links()
        self.links.add(desk.closed, self.shutdown)
        self._docked = False

    def shutdown(self) -> None:
        """Stop following the session; may be called twice."""
        self.links.close()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Let the desk close with the window that the panel stands in."""
        super().showEvent(event)
        window = self.window()
        if window is not None and window is not self:
            self.desk.watch(window)

    def event(self, event: QEvent | None) -> bool:
        """Notice being taken out of a dock that was closed: napari unparents the panel.

        The panels within it stop as well: the cloud's canvas holds memory of the graphics driver.
        """
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._docked = True
            elif self._docked:
                for panel in (self, *self.findChildren(Panel)):
                    panel.shutdown()
        return bool(super().event(event))


class ErrorsPanel(Panel):
    """A panel that shows errors over the image."""

    def hideEvent(self, event: QHideEvent | None) -> None:  # noqa: N802
        """Give the image back: whoever leaves the tab wants to see the mask."""
        super().hideEvent(event)
        self.desk.errors.hide()


def on_click(made: QAbstractButton, action: Callable[[], None]) -> None:
    """Connect a click; the connection must not hold the panel, or closed windows stay around."""
    made.clicked.connect(lambda _checked=False: action())


def button(text: str, tip: str = "", key: str = "", *, primary: bool = False) -> QPushButton:
    """Make a push button; its tool tip names the key."""
    made = QPushButton(text)
    describe(made, tip or text, key)
    if primary:
        made.setStyleSheet(PRIMARY)
    return made


def describe(made: QAbstractButton, tip: str, key: str = "") -> None:
    """Give a button its tool tip, and keep the letter keys for the window."""
    made.setToolTip(f"{tip}  ({key})" if key else tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)


def set_value(bar: QProgressBar, value: int, most: int = 100) -> None:
    """Set a progress bar to a value of 0 to `most`, and let it be drawn with the next frame.

    By itself it would be drawn at once, and the whole window with it.
    """
    bar.setUpdatesEnabled(False)
    bar.setRange(0, most)
    bar.setValue(value)
    bar.setUpdatesEnabled(True)


def dim(text: str = "") -> QLabel:
    """Make a label in the background colour of the text, for what is secondary."""
    made = QLabel(text)
    made.setStyleSheet(DIM)
    return made
