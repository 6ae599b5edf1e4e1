"""The gray histogram of an ROI, with the range as a band that can be dragged.

A view: it shows what it is told and says what the person does; it changes no record. What is
dragged is drawn at once, and whoever answers a signal with `set_range` has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import (  # type: ignore[attr-defined, unused-ignore]
    QEvent,
    QPointF,
    QRectF,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QFocusEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_graydet.core.grayscale import GrayScale
from napari_graydet.gui.histogram.bins import GrayBins
from napari_graydet.gui.histogram.paint import Bars, HistogramLayout, HistogramPicture, paint
from napari_graydet.gui.theme import ViewColours

EMPTY_TEXT = "Select an ROI to see its gray values"
GRAB = 8.0
"""Distance in pixels within which a handle is grabbed."""

LOW, HIGH, BAND = "low", "high", "band"
_STEPS = {
    Qt.Key.Key_Left: -1,
    Qt.Key.Key_Down: -1,
    Qt.Key.Key_Right: 1,
    Qt.Key.Key_Up: 1,
    Qt.Key.Key_PageDown: -10,
    Qt.Key.Key_PageUp: 10,
}


@dataclass(frozen=True)
class _Drag:
    """What is being dragged, from where (pixels and gray), and the range at that time."""

    part: str
    grip: float
    start: tuple[int, int]
    pressed: float


class HistogramView(QWidget):
    """Gray histogram of an ROI with a range ``low <= v <= high`` in stored units.

    Drag a handle or the band between them. With the keyboard: arrows move the focused handle by
    one gray value, with Shift by ten; Tab goes to the other handle; Escape takes a drag back.

    Signals
    -------
    drag_started()
        Before the first change of a drag (or of a run of key presses).
    range_dragged(int, int)
        Low and high after every change.
    range_released(int, int)
        Once at the end.
    """

    drag_started = Signal()
    range_dragged = Signal(int, int)
    range_released = Signal(int, int)

    def __init__(self) -> None:
        super().__init__()
        self._bins: GrayBins | None = None
        self._range: tuple[int, int] | None = None
        self._bars = Bars()
        self._accent: QColor | None = None
        self._drag: _Drag | None = None
        self._keys_from: tuple[int, int] | None = None
        self._focused = LOW
        self._hover: float | None = None
        self.setMinimumHeight(100)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setAccessibleName("Gray histogram of the ROI")
        self.setAccessibleDescription("Bottom and top of the box as two gray thresholds")
        self.setToolTip(
            "Gray values of the ROI. Drag a threshold, or the band between them. "
            "Arrow keys move by 1, with Shift by 10; Tab changes the threshold."
        )

    # what is shown

    def set_values(self, values: npt.NDArray[np.integer], scale: GrayScale) -> None:
        """Show the stored values of an ROI (any shape); no values show the empty state."""
        self._bins = GrayBins.of_values(values, scale) if values.size else None
        self.update()

    def clear(self) -> None:
        """Show the empty state."""
        self._bins, self._range = None, None
        self.end_gesture()
        self.update()

    def set_range(self, low: int | None, high: int | None = None) -> None:
        """Show the closed range ``low..high`` in stored units; None shows no range."""
        if low is None or high is None:
            self._range = None
            self.end_gesture()
        else:
            self._range = (int(low), int(high))
        self.update()

    def range(self) -> tuple[int, int] | None:
        """Return the range that is shown."""
        return self._range

    def set_accent(self, colour: QColor | None) -> None:
        """Draw the range in another colour (the label's); None is the theme's accent."""
        self._accent = colour
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for a dock's width and room for axis, bars and bubbles."""
        return QSize(360, 150)

    def handle_position(self, part: str) -> QPointF:
        """Return where the handle "low" or "high" stands, in widget pixels.

        Raises
        ------
        ValueError
            If no range is shown.
        """
        layout = self._layout()
        if layout is None or self._range is None:
            raise ValueError("No range is shown, so it has no handles.")
        return QPointF(layout.x_of_handle(self._range, part), layout.plot.center().y())

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the histogram, or the empty state."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colours = ViewColours.of(self, self._accent)
        layout = self._layout()
        if layout is None or self._bins is None:
            painter.setPen(colours.dim)
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter), EMPTY_TEXT)
            return
        hover = None if self._drag else self._hover
        focus = self._focused if self.hasFocus() else None
        self._bars.draw(self, layout, colours)
        picture = HistogramPicture(self._range, hover, focus)
        paint(painter, layout, picture, colours, self._bars)

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Redraw when the theme changes."""
        super().changeEvent(event)
        self.update()

    def _layout(self) -> HistogramLayout | None:
        if self._bins is None:
            return None
        return HistogramLayout.of(QRectF(self.rect()), self.fontMetrics(), self._bins)

    # the mouse

    def _part_at(self, x: float) -> str | None:
        """Return what a press at `x` would grab."""
        layout = self._layout()
        if layout is None or self._range is None:
            return None
        at = {part: layout.x_of_handle(self._range, part) for part in (LOW, HIGH)}
        near = {part: abs(x - where) for part, where in at.items() if abs(x - where) <= GRAB}
        if len(near) == 2:  # narrow band: the side of the press tells which one is meant
            left, right = sorted(at, key=lambda part: at[part])
            return left if x < (at[LOW] + at[HIGH]) / 2 else right
        if near:
            return next(iter(near))
        return BAND if min(at.values()) < x < max(at.values()) else None

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Grab a handle or the band."""
        if event is None:
            return
        x = _x(event)
        part = self._part_at(x)
        if event.button() != Qt.MouseButton.LeftButton or part is None:
            event.ignore()
            return
        layout = self._layout()
        assert layout is not None and self._range is not None  # _part_at found something
        self._release_keys()
        where = x if part == BAND else layout.x_of_handle(self._range, part)
        self._drag = _Drag(part, x - where, self._range, layout.edge_at(x))
        if part != BAND:
            self._focused = part
        self._show_cursor(x)
        self.drag_started.emit()
        self.update()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """Drag what was grabbed, or show what could be."""
        if event is None:
            return
        x = _x(event)
        self._hover = x
        layout = self._layout()
        if self._drag is not None and layout is not None:
            edge = layout.edge_at(x - self._drag.grip)
            self._move(_dragged(self._drag, edge, layout.bins))
        else:
            self._show_cursor(x)
        self.update()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802
        """End the drag."""
        if event is None:
            return
        if event.button() != Qt.MouseButton.LeftButton or self._drag is None:
            event.ignore()
            return
        self._drag = None
        self._show_cursor(_x(event))
        self._emit_release()

    def leaveEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Stop showing the value under the mouse."""
        super().leaveEvent(event)
        self._hover = None
        self.update()

    def _show_cursor(self, x: float) -> None:
        part = self._drag.part if self._drag else self._part_at(x)
        shapes = {
            None: Qt.CursorShape.ArrowCursor,
            BAND: Qt.CursorShape.ClosedHandCursor if self._drag else Qt.CursorShape.OpenHandCursor,
        }
        self.setCursor(shapes.get(part, Qt.CursorShape.SizeHorCursor))

    # the keyboard

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Move the focused handle, or take a drag back."""
        if event is None:
            return
        if event.key() == Qt.Key.Key_Escape and self._drag is not None:
            start = self._drag.start
            self._drag = None
            self._move(start)
            self._emit_release()
            return
        step = _STEPS.get(Qt.Key(event.key()))
        if step is None or self._range is None or self._bins is None or self._drag:
            super().keyPressEvent(event)
            return
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            step *= 10
        if self._bins.scale.inverted:  # right is brighter, which is a smaller stored value
            step = -step
        if self._keys_from is None:
            self._keys_from = self._range
            self.drag_started.emit()
        self._move(_stepped(self._range, self._focused, step, self._bins.scale))

    def keyReleaseEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """End a run of key presses: one release for a key that was held."""
        if event is None:
            return
        if event.isAutoRepeat() or Qt.Key(event.key()) not in _STEPS:
            super().keyReleaseEvent(event)
            return
        self._release_keys()

    def focusInEvent(self, event: QFocusEvent | None) -> None:  # noqa: N802
        """Coming from the left, Tab starts at the low handle; from the right, at the high one."""
        super().focusInEvent(event)
        if event is not None and event.reason() == Qt.FocusReason.TabFocusReason:
            self._focused = LOW
        elif event is not None and event.reason() == Qt.FocusReason.BacktabFocusReason:
            self._focused = HIGH
        self.update()

    def focusOutEvent(self, event: QFocusEvent | None) -> None:  # noqa: N802
        """Leaving ends a run of key presses."""
        super().focusOutEvent(event)
        self._release_keys()
        self.update()

    def focusNextPrevChild(self, forward: bool) -> bool:  # noqa: N802
        """Let Tab visit both handles before it leaves."""
        target = HIGH if forward else LOW
        if self._range is not None and self._focused != target:
            self._release_keys()
            self._focused = target
            self.update()
            return True
        return bool(super().focusNextPrevChild(forward))

    # the gesture

    def _move(self, new: tuple[int, int]) -> None:
        if new == self._range:
            return
        self._range = new
        self.update()
        self.range_dragged.emit(*new)

    def _emit_release(self) -> None:
        self.update()
        if self._range is not None:
            self.range_released.emit(*self._range)

    def _release_keys(self) -> None:
        if self._keys_from is not None:
            self._keys_from = None
            self._emit_release()

    def end_gesture(self) -> None:
        """Forget a drag whose range, or image, is gone."""
        self._drag, self._keys_from = None, None


def _x(event: QMouseEvent) -> float:
    position = event.position() if hasattr(event, "position") else event.localPos()
    return float(position.x())


def _stepped(gray: tuple[int, int], part: str, step: int, scale: GrayScale) -> tuple[int, int]:
    """Move one end by `step` values, staying inside the type and on its side of the other end."""
    low, high = gray
    if part == LOW:
        return max(scale.lowest, min(low + step, high)), high
    return low, min(scale.highest, max(high + step, low))


def _dragged(drag: _Drag, edge: float, bins: GrayBins) -> tuple[int, int]:
    """Return the range after the grabbed part's edge was dragged to a (fractional) edge value.

    At an end of the axis the range opens to the end of the type: the axis of a deep image leaves
    out a few extreme pixels, and whoever drags to its end means them too.
    """
    low, high = drag.start
    at = round(edge)
    if drag.part == LOW:
        opened = bins.scale.lowest if at <= bins.low else at
        return min(opened, high), high
    if drag.part == HIGH:
        opened = bins.scale.highest if at > bins.high else at - 1
        return low, max(opened, low)
    shift = at - round(drag.pressed)  # an end of the band may lie beyond the axis
    shift = min(max(shift, min(bins.low - low, 0)), max(bins.high - high, 0))
    return low + shift, high + shift
