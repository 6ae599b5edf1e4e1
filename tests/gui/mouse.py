"""A mouse for tests: real Qt events, delivered at once and in order.

`QTest.mouseMove` sets the pointer of the machine and lets the window system tell the widget, which
PyQt5 may do late, twice or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QWidget

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.MouseButton.NoButton
PLAIN = Qt.KeyboardModifier.NoModifier


class Mouse:
    """One mouse over one widget; positions are (x, y) in the widget's pixels."""

    def __init__(self, widget: QWidget, button: Qt.MouseButton = LEFT) -> None:
        self.widget = widget
        self.button = button
        self.modifiers = PLAIN
        self.held = False

    def press(self, x: float, y: float) -> None:
        self.held = True
        self._send(QEvent.Type.MouseButtonPress, x, y, self.button)

    def move(self, x: float, y: float) -> None:
        self._send(QEvent.Type.MouseMove, x, y, NONE)

    def release(self, x: float, y: float) -> None:
        self.held = False
        self._send(QEvent.Type.MouseButtonRelease, x, y, self.button)

    def double_click(self, x: float, y: float) -> None:
        self.press(x, y)
        self.release(x, y)
        self.held = True
        self._send(QEvent.Type.MouseButtonDblClick, x, y, self.button)
        self.release(x, y)

    def drag(self, path: Iterable[tuple[float, float]]) -> None:
        """Press at the first position, move over all, release at the last."""
        points = list(path)
        self.press(*points[0])
        for point in points[1:]:
            self.move(*point)
        self.release(*points[-1])

    def _send(self, kind: QEvent.Type, x: float, y: float, button: Qt.MouseButton) -> None:
        at = QPointF(x, y)
        held = self.button if self.held else NONE
        everywhere = QPointF(self.widget.mapToGlobal(at.toPoint()))
        event = QMouseEvent(kind, at, everywhere, button, held, self.modifiers)
        QApplication.sendEvent(self.widget, event)


def straight(
    start: tuple[float, float], end: tuple[float, float], steps: int = 6
) -> list[tuple[float, float]]:
    """Return positions on a straight way, both ends included."""
    return [
        (start[0] + (end[0] - start[0]) * i / steps, start[1] + (end[1] - start[1]) * i / steps)
        for i in range(steps + 1)
    ]
