"""The objects of the image: ROIs with class, gray range, score, and who made them."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from napari_graydet.gui.colors import label_color
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import DIM, GAP, Panel, button, dim, on_click
from napari_graydet.project.schema import BoxRecord, RoiRecord

NEW_CLASS = "New class …"
HEADER = f"QHeaderView::section {{ background: transparent; border: none; padding: 3px; {DIM} }}"
COLUMNS = (
    ("Object", "Its class"),
    ("Gray range", "Bottom and top of its 3D box, in gray values of the file"),
    ("ROI", "How sure the ROI detector is that an object is here, 0 to 1; also in the image"),
    ("Box", "How sure the 3D box detector is of the gray range, 0 to 1"),
    ("By", "Who made it"),
)
OBJECT, GRAY, ROI, BOX, BY = range(len(COLUMNS))


class ObjectList(QTreeWidget):
    """A list that leaves letter keys to the window, and deletes with the keys that do so there."""

    def __init__(self, delete: Callable[[], None]) -> None:
        super().__init__()
        self._delete = delete

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Take the keys that move the selection or delete, pass the others on."""
        if event is not None and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self._delete()
        elif event is not None and event.text().isalnum():
            event.ignore()
        else:
            super().keyPressEvent(event)


class ObjectsPanel(Panel):
    """List of the objects; class of the selected one."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._filling = False
        self.classes = QComboBox()
        self.classes.setToolTip("Class of the selected object, and of ROIs drawn from now on")
        self.classes.activated.connect(self._class_chosen)
        self.delete = button("Delete", "Delete the selected object", "Del")
        on_click(self.delete, self.controller.delete_selected)
        self.list = ObjectList(self.controller.delete_selected)
        self.list.setColumnCount(len(COLUMNS))
        self.list.setHeaderLabels([heading for heading, _ in COLUMNS])
        heads = self.list.headerItem()
        assert heads is not None
        for column, (_, tip) in enumerate(COLUMNS):
            heads.setToolTip(column, tip)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setMinimumHeight(60)
        header = self.list.header()
        assert header is not None
        header.setStyleSheet(HEADER)
        header.setStretchLastSection(True)
        for column in range(BY):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.list.currentItemChanged.connect(self._chosen)
        row = QHBoxLayout()
        row.addWidget(dim("Class"))
        row.addWidget(self.classes, 1)
        row.addWidget(self.delete)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addLayout(row)
        layout.addWidget(self.list, 1)
        session = self.session
        self.links.add(session.project_changed, self._show_classes)
        self.links.add(session.selection_changed, self._show_selection)
        for signal in (session.record_changed, session.image_changed):
            self.links.add(signal, self._show)
        self._show_classes()
        self._show()

    def _show_classes(self) -> None:
        session = self.session
        self._filling = True
        self.classes.clear()
        for name in session.classes:
            self.classes.addItem(_swatch(label_color(name, session.classes)), name)
        self.classes.insertSeparator(len(session.classes))
        self.classes.addItem(NEW_CLASS)
        self._filling = False
        self._show_selection()

    def _class_chosen(self, index: int) -> None:
        name = self.classes.itemText(index)
        if name == NEW_CLASS:
            name, given = QInputDialog.getText(self, "New class", "Name of the class:")
            name = name.strip()
            if not given or not name:
                self._show_selection()
                return
        self.controller.choose_label(name)

    def _show(self) -> None:
        annotation = self.session.annotation
        boxes = {box.roi_id: box for box in annotation.boxes} if annotation else {}
        self._filling = True
        self.list.clear()
        for roi in annotation.rois if annotation else ():
            self.list.addTopLevelItem(self._item(roi, boxes.get(roi.id)))
        self._filling = False
        self._show_selection()

    def _item(self, roi: RoiRecord, box: BoxRecord | None) -> QTreeWidgetItem:
        gray = box.gray_box().gray if box else None
        best = box or roi
        scores = [_score(roi.score), _score(box.score if box else None)]
        by = "model" if best.source == "model" else "you"
        if best.source == "human" and best.model:
            by = "you, from model"
        text = f"{gray.low} – {gray.high}" if gray else "no range yet"
        item = QTreeWidgetItem([roi.label, text, *scores, by])
        item.setIcon(0, _swatch(label_color(roi.label, self.session.classes)))
        item.setData(0, Qt.ItemDataRole.UserRole, roi.id)
        item.setToolTip(BY, best.model or by)
        return item

    def _chosen(self, item: QTreeWidgetItem | None) -> None:
        if item is not None and not self._filling:
            self.controller.select_roi(item.data(0, Qt.ItemDataRole.UserRole))

    def _show_selection(self) -> None:
        self._filling = True
        self.delete.setEnabled(self.session.roi_id is not None)
        index = self.classes.findText(self.session.label)
        self.classes.setCurrentIndex(index)
        for row in range(self.list.topLevelItemCount()):
            item = self.list.topLevelItem(row)
            if item is not None and item.data(0, Qt.ItemDataRole.UserRole) == self.session.roi_id:
                self.list.setCurrentItem(item)
        if self.session.roi_id is None:
            self.list.setCurrentItem(None)
        self._filling = False


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(12, 12)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
