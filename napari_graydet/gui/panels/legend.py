"""What the colours of errors mean, and whether they are shown."""

from __future__ import annotations

from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QWidget

from napari_graydet.gui.control.errors_shown import ErrorsShown
from napari_graydet.gui.control.scored import EXTRA, HIT, MISSED
from napari_graydet.gui.image.errors import COLORS
from napari_graydet.gui.panels.base import GAP

NAMES = {HIT: "right", MISSED: "missed (FN)", EXTRA: "extra (FP)"}
NO_BREAK = "\u00a0"


class Legend(QWidget):
    """Colours of an error map; with a check box that hides them in the image."""

    def __init__(self, errors: ErrorsShown | None = None) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(GAP)
        kept = {value: name.replace(" ", NO_BREAK) for value, name in NAMES.items()}
        self.colors = QLabel(
            f"{NO_BREAK} ".join(
                f'<span style="color:{COLORS[value]}">■</span>{NO_BREAK}{name}'
                for value, name in kept.items()
            )
        )
        self.colors.setWordWrap(True)  # in a narrow column nothing is cut off
        row.addWidget(self.colors, 1)
        if errors is not None:
            self.visible = QCheckBox("show")
            self.visible.setToolTip("Show these colours over the image")
            self.visible.setChecked(True)
            self.visible.toggled.connect(errors.set_visible)
            row.addWidget(self.visible)
