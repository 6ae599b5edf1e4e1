"""Old and new model on the held-out images, side by side, and the choice between them."""

from __future__ import annotations

from functools import partial

import numpy as np
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_graydet.gui.control.comparison import Comparison, Gray, pictures
from napari_graydet.gui.control.scored import LabelMap, Scored
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.image.errors import COLORS, OPACITY
from napari_graydet.gui.panels.base import GAP, PRIMARY, Panel, button, dim, on_click
from napari_graydet.gui.panels.legend import Legend
from napari_graydet.gui.panels.table import Cell, Column, Table
from napari_graydet.gui.theme import rgb

COLUMNS = (
    Column("Image"),
    Column("Class"),
    Column("in use", "DSC of the model in use"),
    Column("new", "DSC of the new model"),
    Column("ceiling", "DSC of the best gray range of each part, in its true ROI"),
    Column("gain", "New minus old; below 0 the new model is worse here", "{:+.3f}"),
    Column(
        "changed",
        "How much the mask has changed: 1 - IoU of the two masks",
        "{:.0%}",
        largest_first=True,
    ),
)
WIDTHS = (84, 56, 48, 48, 54, 56, 72)
CLASS, CHANGED = 1, 6
PICTURE_HEIGHT = 190


class Picture(QWidget):
    """An image with the errors of a model; a click shows them in the large one."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.image: QImage | None = None
        self.setFixedHeight(PICTURE_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_errors(self, gray: Gray, errors: LabelMap) -> None:
        """Show an (h, w) gray picture and its error map."""
        picture = np.repeat(gray[..., None], 3, axis=2).astype(np.float32)
        for value, color in COLORS.items():
            tint = np.array(rgb(QColor(color)), dtype=np.float32) * 255
            here = errors == value
            picture[here] = (1 - OPACITY) * picture[here] + OPACITY * tint
        height, width = gray.shape
        data = np.ascontiguousarray(picture.astype(np.uint8)).tobytes()
        self.image = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()
        self.update()

    def clear(self) -> None:
        """Show no picture."""
        self.image = None
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw title and picture."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        line = painter.fontMetrics().height() + 4
        end = Qt.TextElideMode.ElideRight
        title = painter.fontMetrics().elidedText(self.title, end, self.width())
        painter.drawText(QRectF(0, 0, self.width(), line), title)
        room = QRectF(0, line, self.width(), self.height() - line)
        if self.image is not None:
            scale = min(room.width() / self.image.width(), room.height() / self.image.height())
            width, height = self.image.width() * scale, self.image.height() * scale
            place = QRectF(room.left(), room.top(), width, height)
            painter.drawImage(place, self.image)
        painter.end()


class ComparePanel(Panel):
    """What has changed on each held-out image, and two buttons."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.training = desk.training
        self._shown: Comparison | None = None
        self._chosen: str | None = None
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        hint = dim("Masks that changed most first. Click a row to see both, and the image.")
        hint.setWordWrap(True)
        self.table = Table(COLUMNS, self._picked)
        self.table.setAccessibleName("Held-out images")
        self.table.setFixedHeight(172)
        self.old, self.new = Picture("In use"), Picture("New")
        self.keep = button("Keep the old one", "The new model stays in the list below")
        self.use = button("Use the new one", "Detect with the new model from now on")
        on_click(self.keep, self.training.keep)
        on_click(self.use, self._use)
        both = QHBoxLayout()
        both.addWidget(self.old)
        both.addWidget(self.new)
        choice = QHBoxLayout()
        choice.addWidget(self.keep, 1)
        choice.addWidget(self.use, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        for widget in (self.verdict, hint, self.table):
            layout.addWidget(widget)
        layout.addLayout(both)
        layout.addWidget(Legend())
        layout.addLayout(choice)
        self.links.add(self.training.changed, self._show)
        self._show()

    def _use(self) -> None:
        comparison = self.training.comparison
        if comparison is not None:
            self.training.use(comparison.run_id)

    def _show(self) -> None:
        comparison = self.training.comparison
        self.setVisible(comparison is not None)
        if comparison is self._shown:
            return
        self._shown = comparison
        self._chosen = None
        if comparison is None:
            self.desk.errors.hide()
            return
        self.verdict.setText(comparison.verdict)
        self.keep.setStyleSheet(PRIMARY if comparison.better is False else "")
        self.use.setStyleSheet("" if comparison.better is False else PRIMARY)
        self.old.setVisible(comparison.old is not None)
        self.new.title = f"New: model {comparison.run_id}"
        if comparison.old is not None:
            self.old.title = f"In use: {comparison.old.model.removeprefix('the ')}"
            self.old.setToolTip(self.old.title)
        rows: list[tuple[tuple[str, str], list[Cell]]] = [
            ((c.image, c.label), [c.image, c.label, c.old, c.new, c.ceiling, c.gain, c.changed])
            for c in comparison.changes
        ]
        names = (entry.path for entry in self.session.entries)
        self.table.show_rows(rows, WIDTHS, CHANGED, Qt.SortOrder.DescendingOrder, names)
        self.table.setColumnHidden(CLASS, len(comparison.new.labels) < 2)
        if comparison.changes:
            first = comparison.changes[0]
            self.table.pick((first.image, first.label))
            self._show_pictures(first.image)

    def _picked(self, key: tuple[str, str]) -> None:
        if self._shown is not None:
            self._show_pictures(key[0])
            self.desk.errors.show(self._shown.new, key[0])

    def _show_pictures(self, name: str) -> None:
        comparison, recorder = self._shown, self.controller.recorder
        if comparison is None or recorder is None:
            return
        self._chosen = name
        models: list[Scored] = [m for m in (comparison.old, comparison.new) if m is not None]
        store = recorder.store
        self.controller.jobs.run(
            lambda _progress, _cancel: pictures(store, name, models),
            done=partial(self._arrived, name),
            failed=self._no_picture,
        )

    def _arrived(self, name: str, found: list[tuple[Gray, LabelMap]]) -> None:
        if name != self._chosen or self._shown is None:
            return
        views = [self.new] if self._shown.old is None else [self.old, self.new]
        for view, (gray, errors) in zip(views, found, strict=True):
            view.show_errors(gray, errors)

    def _no_picture(self, error: Exception) -> None:
        for view in (self.old, self.new):
            view.clear()
        self.controller.fail(error)
