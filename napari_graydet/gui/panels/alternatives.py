"""The list of 3D boxes that the detector found in an ROI."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QComboBox, QStyle, QStyleOptionComboBox, QStylePainter

from napari_graydet.project.schema import BoxRecord

RANGE = Qt.ItemDataRole.UserRole


class AlternativesBox(QComboBox):
    """Shows the gray range alone while it is closed, for want of room; open, scores as well."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Boxes that the detector found, with their scores, best first")

    def show_boxes(self, found: Sequence[BoxRecord], current: BoxRecord | None) -> None:
        """List boxes, the current one chosen if it is among them."""
        self.clear()
        for number, other in enumerate(found, start=1):
            score = "" if other.score is None else f"  ({other.score:.2f})"
            gray = other.gray_box().gray
            self.addItem(f"{number}: {gray.low} – {gray.high}{score}")
            self.setItemData(number - 1, f"{gray.low} – {gray.high}", RANGE)
        ends = None if current is None else (current.low, current.high)
        same = [i for i, other in enumerate(found) if (other.low, other.high) == ends]
        self.setCurrentIndex(same[0] if same else -1)
        self.setPlaceholderText("by hand" if found else "Alternatives")
        self.setEnabled(bool(found))

    def closed_text(self) -> str:
        """Return what is told while the list is closed."""
        chosen = self.currentData(RANGE)
        return self.placeholderText() if chosen is None else str(chosen)

    def paintEvent(self, _event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw the closed list with its short text."""
        option, painter = QStyleOptionComboBox(), QStylePainter(self)
        self.initStyleOption(option)
        style = self.style()
        assert style is not None
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        field = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox, option, QStyle.SubControl.SC_ComboBoxEditField, self
        )
        option.currentText = option.fontMetrics.elidedText(
            self.closed_text(), Qt.TextElideMode.ElideRight, field.width()
        )
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
