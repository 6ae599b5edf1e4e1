"""The 3D box panel: cloud, histogram, numbers. All views of the selected box."""

from __future__ import annotations

from functools import partial

import numpy as np
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAction,
    QButtonGroup,
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
)

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.gui import keys
from napari_graydet.gui.cloud.view import CloudView
from napari_graydet.gui.colors import label_color
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.histogram.view import HistogramView
from napari_graydet.gui.keys import shown
from napari_graydet.gui.panels.alternatives import AlternativesBox
from napari_graydet.gui.panels.base import GAP, TOOL, Panel, button, describe, dim, on_click
from napari_graydet.gui.panels.shape import ShapeButton
from napari_graydet.project.schema import BoxRecord, CleanUpRecord

CLOUD_PAUSE = 60
"""Milliseconds from a change to the cloud: the frame of the image comes first."""

CUBOID_PAUSE = 150
"""Milliseconds: a frame of the cloud costs more than the mask may wait for in a drag."""

NETS = {
    1: ("Flat", "one gray range for the whole ROI"),
    2: ("Tilted", "the range rises across the ROI, for uneven exposure or thickness"),
    3: ("Bent", "3 × 3 grays at bottom and top, which can be dragged one by one"),
}
"""Shapes of boxes by grays along a side."""

FITS = {
    1: "Flat box: one gray range",
    2: "Tilted box: the range rises across the ROI",
    3: "Bent box: 3 × 3 grays at bottom and top",
}
"""Boxes that a mask can be fitted with, by grays along a side. Four draw outlines and read no gray
any more (METHOD.md, section 2); scripts can ask for them (`core.fit`)."""

MOST_GRAYS_TO_STEP = 9999
"""Gray values up to which bottom and top have buttons for steps."""

WITHOUT_ARROW = "QToolButton::menu-indicator { image: none; }"

CLEAN_UP = CleanUpRecord(opening=1, fill_holes=True, min_area=25)
"""What the check box turns on: specks and holes go, parts stay apart."""


class BoxPanel(Panel):
    """Cloud, histogram, bottom and top, flat to bent, clean-up, alternatives."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._filling = False
        self._values_of: tuple[object, ...] | None = None
        self._color = ""
        self.cloud = CloudView()
        self.histogram = HistogramView()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self.cloud, 3)
        layout.addWidget(self.histogram, 1)
        layout.addLayout(self._range_row())
        layout.addLayout(self._options_row())
        layout.addLayout(self._facts_row())
        self._connect_views()
        session = self.session
        for signal in (session.record_changed, session.selection_changed, session.image_changed):
            self.links.add(signal, self._show_later)
        self.links.add(session.job_changed, self._show_ready)
        self.links.add(session.mask_changed, self._follow)
        self.links.add(session.alternatives_changed, self._show_later)
        self.links.add(session.image_changed, self.cloud.warm_up)
        self._show()

    def shutdown(self) -> None:
        """Stop following and close the second canvas."""
        super().shutdown()
        for deferred in (self._show_later, self._show_cloud, self._show_cuboid):
            deferred.drop()
        self.cloud.close()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Keep room for three lines of facts in the font that the window gives them.

        If the cloud changed its size with the text, it would have to be drawn anew.
        """
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._make_room()

    def _make_room(self) -> None:
        lines = 3 * (self._facts.fontMetrics().lineSpacing() + 1)  # Qt may round each line up
        self._facts.setMinimumHeight(lines + 2 * GAP)  # napari's margin and padding

    def _range_row(self) -> QHBoxLayout:
        self.low, self.high = QSpinBox(), QSpinBox()
        for spin, name in ((self.low, "Bottom"), (self.high, "Top")):
            spin.setKeyboardTracking(False)
            spin.setAccelerated(True)
            spin.setAccessibleName(f"{name} of the box, stored gray value")
            most = "least" if name == "Bottom" else "largest"
            spin.setToolTip(
                f"{name} threshold in gray values of the file; of a tilted or bent box the {most} "
                "one, as in the histogram"
            )
        self.low.valueChanged.connect(self._typed_low)
        self.high.valueChanged.connect(self._typed_high)
        self._nets = QButtonGroup(self)
        self.shapes = {k: ShapeButton(k, name, tip) for k, (name, tip) in NETS.items()}
        for k, made in self.shapes.items():
            on_click(made, partial(self.controller.set_net, k))
            self._nets.addButton(made, k)
        row = QHBoxLayout()
        row.setSpacing(GAP // 2)  # or numbers and buttons lie on one another at 1280 pixels
        row.addWidget(QLabel("Bottom"))
        row.addWidget(self.low, 1)
        row.addSpacing(GAP)
        row.addWidget(QLabel("Top"))
        row.addWidget(self.high, 1)
        row.addSpacing(GAP)
        for made in self.shapes.values():
            row.addWidget(made)
        return row

    def _facts_row(self) -> QHBoxLayout:
        self._facts = dim()
        self._facts.setWordWrap(True)
        self._facts.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.fit = self._fit_button()
        row = QHBoxLayout()
        row.addWidget(self._facts, 1)
        row.addWidget(self.fit, 0, Qt.AlignmentFlag.AlignTop)
        return row

    def _fit_button(self) -> QToolButton:
        made = QToolButton()
        made.setText("Fit box …")
        made.setStyleSheet(TOOL + WITHOUT_ARROW)
        describe(
            made,
            "Find the box that gives back the mask of this ROI best; the mask stays as it is",
        )
        made.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(made)
        fit = self.controller.detection.fit  # a connection must not hold the panel
        for k, text in FITS.items():
            action = QAction(text, menu)
            action.triggered.connect(lambda _on=False, k=k: fit(k))
            menu.addAction(action)
        made.setMenu(menu)
        return made

    def _options_row(self) -> QHBoxLayout:
        self.detect = button(
            "Detect box", "Propose the 3D box of the selected ROI", shown(keys.DETECT_BOX)
        )
        on_click(self.detect, self.controller.detection.box)
        self.alternatives = AlternativesBox()
        self.alternatives.activated.connect(self.controller.choose_alternative)
        self.cleanup = QCheckBox("Clean up")
        self.cleanup.setToolTip(
            "Remove specks and fill holes in the mask of this class, in this image. "
            "Stored with the image; painting comes on top of it."
        )
        self.cleanup.clicked.connect(self._clean_up)
        self.refine = button(
            "Refine",
            "Let a network correct the mask of this image, where no gray range can; painting stays",
            shown(keys.REFINE),
        )
        on_click(self.refine, self.controller.detection.refine)
        row = QHBoxLayout()
        row.addWidget(self.detect)
        row.addWidget(self.alternatives, 1)
        row.addWidget(self.refine)
        row.addWidget(self.cleanup)
        return row

    def _clean_up(self, on: bool) -> None:
        self.controller.set_cleanup(CLEAN_UP if on else None)

    def _connect_views(self) -> None:
        controller = self.controller
        self._show_later = Deferred(self._show)
        self._show_cloud = Deferred(self._draw_cloud, CLOUD_PAUSE)
        self._show_cuboid = Deferred(self._follow_cuboid, CUBOID_PAUSE)
        # At once, not deferred: Qt merges mouse moves, and histogram and mask then share one frame.
        self.histogram.range_dragged.connect(controller.preview_range)
        self.histogram.range_released.connect(controller.set_range)
        self.cloud.pressed.connect(self._catch_up)
        self.cloud.box_dragged.connect(controller.preview_box)
        self.cloud.box_released.connect(controller.set_box)

    def _typed_low(self, low: int) -> None:
        if not self._filling:
            self._set_ends(low, self._ends()[1])

    def _typed_high(self, high: int) -> None:
        if not self._filling:
            self._set_ends(self._ends()[0], high)

    def _ends(self) -> tuple[int, int]:
        """Return bottom and top; those of a bent box may leave the scale, where spin boxes end."""
        box = self.session.shown_box
        if box is None:
            return self.low.value(), self.high.value()
        gray = box.gray_box().gray
        return gray.low, gray.high

    def _set_ends(self, one: int, other: int) -> None:
        self.controller.set_range(min(one, other), max(one, other))

    def _follow(self, _window: object) -> None:
        """During a drag show the new numbers; the cuboid waits for a pause, its points longer."""
        box = self.session.preview
        if box is not None:
            self._show_numbers(box)
            self._show_cuboid()

    def _follow_cuboid(self) -> None:
        box = self.session.preview
        if box is not None:
            self.cloud.set_box(box.gray_box(), refresh_colours=False)

    def _show(self) -> None:
        session = self.session
        box, roi, image, extent = session.shown_box, session.roi, session.image, self._extent()
        key = (session.image_id, extent)
        if key != self._values_of:
            if self._values_of is None or self._values_of[0] != session.image_id:
                self.histogram.end_gesture()  # or a drag would go on in another image
            self._values_of = key
            if image is not None and extent is not None:
                self.histogram.set_values(image.pixels[extent.slices(image.shape)], image.scale)
            else:
                self.histogram.clear()
        color = label_color(roi.label, session.classes) if roi is not None else self._color
        if color != self._color:
            self._color = color
            self.histogram.set_accent(QColor(color))
        self._show_numbers(box)
        self._show_options(box)
        self._show_cloud()

    def _catch_up(self) -> None:
        """Show in the cloud what is still to be shown: who drags an old box would bring it back."""
        self._show_later.flush()
        self._show_cloud.flush()

    def _draw_cloud(self) -> None:
        box, image, extent = self.session.shown_box, self.session.image, self._extent()
        if self._color:
            self.cloud.set_accent(QColor(self._color))
        self.cloud.show_roi(image, extent, box.gray_box() if box else None)

    def _extent(self) -> RoiBox | None:
        """Return the selected ROI where it lies in the image."""
        roi, image = self.session.roi, self.session.image
        return _inside(roi.roi_box, image.shape) if roi and image else None

    def _show_numbers(self, box: BoxRecord | None) -> None:
        image = self.session.image
        self._filling = True
        for spin in (self.low, self.high):
            spin.setEnabled(self.session.roi is not None)
            if image is not None:
                _set_range(spin, image.scale.lowest, image.scale.highest)
        if box is None:
            self.histogram.set_range(*self._whole())
        else:
            gray = box.gray_box().gray
            self.low.setValue(gray.low)
            self.high.setValue(gray.high)
            if self.histogram.range() != (gray.low, gray.high):
                self.histogram.set_range(gray.low, gray.high)
        self._filling = False

    def _whole(self) -> tuple[int | None, int | None]:
        """Return all grays of the ROI, to drag from where there is no box yet."""
        image, extent = self.session.image, self._extent()
        if image is None or extent is None:
            return None, None
        values = image.pixels[extent.slices(image.shape)]
        return int(np.min(values)), int(np.max(values))

    def _show_options(self, box: BoxRecord | None) -> None:
        session = self.session
        k = box.gray_box().k if box else 0
        self._nets.setExclusive(False)  # a box of 4 x 4 grays is none of them
        for number, made in self.shapes.items():
            made.setEnabled(box is not None)
            made.setChecked(number == k)
        self._nets.setExclusive(True)
        self._show_ready()
        self.cleanup.setEnabled(session.annotation is not None)
        self.cleanup.setChecked(
            session.annotation is not None and session.label in session.annotation.cleanup
        )
        found = session.alternatives.get(session.roi_id or "", ())
        self.alternatives.show_boxes(found, box)
        self._facts.setText(self._facts_of(box))

    def _show_ready(self) -> None:
        """Offer what can be started now: a job ends in a later turn than its result comes."""
        session = self.session
        boxed = session.annotation is not None and bool(session.annotation.boxes)
        self.detect.setEnabled(session.roi is not None and session.job is None)
        self.fit.setEnabled(session.roi is not None and session.job is None)
        self.refine.setEnabled(boxed and session.job is None)

    def _facts_of(self, box: BoxRecord | None) -> str:
        """Say what made the box and how much of the mask it explains."""
        session = self.session
        if session.annotation is None:
            return ""
        if session.roi is None:
            return "Detect, or draw an ROI around an object."
        if box is None:
            return "Drag a threshold in the histogram, or press Detect box."
        parts = []
        if box.source == "model":
            score = "" if box.score is None else f", score {box.score:.2f}"
            parts.append(f"Proposed by {box.model or 'a model without a name'}{score}.")
        else:
            bent = f", bent by {k} x {k} grays" if (k := box.gray_box().k) > 2 else ""
            origin = f", proposed by {box.model}" if box.model else ""
            parts.append(f"Set by hand{origin}{bent}.")
        if session.masks is not None and box.label in session.annotation.residual:
            share = session.masks.explained(box.label)
            by_hand = session.annotation.residual[box.label].source == "human"
            rest = "painting" if by_hand else "the refiner"
            parts.append(f"Gray explains {share:.1%} of the {box.label} mask, {rest} the rest.")
        return " ".join(parts)


def _set_range(spin: QSpinBox, lowest: int, highest: int) -> None:
    """Set the range if it is another one: else, too, Qt would lay out and paint the whole dock."""
    if (spin.minimum(), spin.maximum()) != (lowest, highest):
        spin.setRange(lowest, highest)
        # Five digits need the room of the buttons, whose steps of one gray are too small there.
        many = highest > MOST_GRAYS_TO_STEP
        symbols = QSpinBox.ButtonSymbols
        spin.setButtonSymbols(symbols.NoButtons if many else symbols.UpDownArrows)


def _inside(roi: RoiBox, shape: tuple[int, int]) -> RoiBox | None:
    try:
        return roi.clip(shape)
    except GeometryError:
        return None
