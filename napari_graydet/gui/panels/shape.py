"""Buttons that show a shape of box instead of naming it: three words have no room there."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QToolButton

from napari_graydet.gui.panels.base import TOOL, describe
from napari_graydet.gui.theme import ViewColours

WIDTH = 29
"""Pixels."""

_THICK, _DEEP, _RISE = 6.0, 14.0, 5.0
"""Pixels: between bottom and top, from side to side, and what a tilt or a bend rises."""

_PIECES = 12


class ShapeButton(QToolButton):
    """Shows bottom and top of a box from the side: flat, tilted or bent.

    Parameters
    ----------
    k
        Control grays along a side: 1, 2 or 3.
    name, tip
        What it is called, and what it does.
    """

    def __init__(self, k: int, name: str, tip: str) -> None:
        super().__init__()
        self._k = k
        self.setCheckable(True)
        self.setStyleSheet(TOOL)
        self.setAccessibleName(name)
        describe(self, f"{name}: {tip}")

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for the height of a button with a text."""
        return QSize(WIDTH, self.fontMetrics().height() + 12)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Keep the size."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw bottom and top over the button's ground."""
        super().paintEvent(event)
        colours = ViewColours.of(self)
        colour = QColor("white") if self.isChecked() else colours.text
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(colour if self.isEnabled() else colours.dim, 1.8)
        pen.setCapStyle(Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        middle = QPointF(self.width() / 2, self.height() / 2)
        for side in (-1, 1):
            painter.drawPolyline(
                QPolygonF([middle + QPointF(x, y + side * _THICK / 2) for x, y in self._line()])
            )

    def _line(self) -> list[tuple[float, float]]:
        """Return the side view of a face, pixels from its middle, y down."""
        at = [i / _PIECES - 0.5 for i in range(_PIECES + 1)]
        return [(_DEEP * t, -_RISE * _rise(self._k, t)) for t in at]


def _rise(k: int, t: float) -> float:
    """Return how high a face stands at `t`, -0.5 to 0.5, as a share of its rise."""
    if k == 1:
        return 0.0
    return t if k == 2 else 0.5 - 4 * t * t
