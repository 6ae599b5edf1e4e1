"""What the colours of errors mean, and whether they are shown."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QWidget

from napari_graydet.gui.errors_shown import ErrorsShown
from napari_graydet.gui.overlay import COLORS
from napari_graydet.gui.panels.base import GAP
from napari_graydet.gui.scored import EXTRA, HIT, MISSED

NAMES = {HIT: "right", MISSED: "missed (FN)", EXTRA: "too much (FP)"}


class Legend(QWidget):
    """Colours of an error map; with a check box that hides them in the image."""

    def __init__(self, errors: ErrorsShown | None = None) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP + 2)
        for value, name in NAMES.items():
            row.addWidget(QLabel(f'<span style="color:{COLORS[value]}">■</span> {name}'))
        row.addStretch(1)
        if errors is not None:
            self.visible = QCheckBox("show")
            self.visible.setToolTip("Show these colours over the image")
            self.visible.setChecked(True)
            self.visible.toggled.connect(errors.set_visible)
            row.addWidget(self.visible)
