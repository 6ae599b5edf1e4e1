"""The project's images as a Qt model, and how one of them is drawn."""

from __future__ import annotations

from collections import deque
from pathlib import PurePath
from typing import Any

import numpy as np
from qtpy.QtCore import QAbstractListModel, QModelIndex, QRect, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPixmap
from qtpy.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from napari_graydet.errors import GraydetError
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.images import THUMBNAIL, Thumbnail, read_entry_image, thumbnail_of
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.links import Links
from napari_graydet.gui.panels.names import ShortNames
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.events import ShouldCancel

ID_ROLE = int(Qt.ItemDataRole.UserRole)
STATE_ROLE, NAMES_ROLE, DOUBT_ROLE = ID_ROLE + 1, ID_ROLE + 2, ID_ROLE + 3
TILE = QSize(106, 116)
DOUBT_COLOR = "#ffb454"
UNREADABLE = "not\nreadable"
CHUNK = 8
"""Thumbnails read per piece of background work: those scrolled to come first."""

PAUSE = 300
"""Milliseconds until thumbnails are read: the image comes first, and a worker slows its frames."""

STATES: dict[State, tuple[str, str, str]] = {
    State.NEW: ("#8b949e", "○", "new"),
    State.PROPOSED: ("#4cc9f0", "◐", "proposed"),
    State.IN_WORK: ("#ffb454", "●", "in work"),
    State.ACCEPTED: ("#5fd38d", "✓", "accepted"),
    State.REJECTED: ("#ff6b6b", "✕", "rejected"),
}
"""Colour, sign and name of each state; the sign tells them apart without the colour."""


class EntriesModel(QAbstractListModel):
    """The images that pass the filter; thumbnails are read when they are first looked at.

    Attributes
    ----------
    names
        What the names of all images share.
    """

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._session = controller.session
        self._shown: list[ImageEntry] = []
        self.names = ShortNames()
        self._rows: dict[int, int] = {}
        self._thumbnails: dict[int, QPixmap | None] = {}
        self._wanted: deque[int] = deque()
        self._reading = False
        self._read_later = Deferred(self._read_some, PAUSE)
        self._links = Links()
        self._links.add(self._session.project_changed, self._reset_thumbnails)
        self._links.add(self._session.entries_changed, self._fill)
        self._links.add(self._session.entry_changed, self._entry_changed)
        self._fill()

    def close(self) -> None:
        """Stop following the session."""
        self._links.close()
        self._read_later.drop()
        self._wanted.clear()

    def row_of(self, image_id: int | None) -> int:
        """Return the row of an image, -1 if it is filtered out."""
        return self._rows.get(image_id, -1) if image_id is not None else -1

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return how many images pass the filter."""
        return len(self._shown)

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return name, thumbnail, id or state of a row, or what all names share."""
        if not index.isValid() or index.row() >= len(self._shown):
            return None
        entry = self._shown[index.row()]
        if role == int(Qt.ItemDataRole.DisplayRole):
            return PurePath(entry.path).stem
        if role == int(Qt.ItemDataRole.ToolTipRole):
            doubt = self._session.doubt(entry)
            told = "" if doubt is None else f", doubt {doubt:.2f} of 1"
            return f"{entry.path}: {STATES[entry.state][2]}{told}"
        if role == int(Qt.ItemDataRole.DecorationRole):
            return self._thumbnail(entry.id)
        if role == ID_ROLE:
            return entry.id
        if role == STATE_ROLE:
            return entry.state
        if role == NAMES_ROLE:
            return self.names
        if role == DOUBT_ROLE:
            return self._session.doubt(entry)
        return None

    def _fill(self) -> None:
        self.beginResetModel()
        self._shown = self._session.listed
        self._rows = {entry.id: row for row, entry in enumerate(self._shown)}
        self.names = ShortNames.of(PurePath(e.path).stem for e in self._session.entries)
        self.endResetModel()

    def _entry_changed(self, image_id: int) -> None:
        row = self.row_of(image_id)
        entry = next((e for e in self._session.entries if e.id == image_id), None)
        if entry is None:
            return
        if (row >= 0) != self._session.lists(entry):
            self._fill()
        elif row >= 0:
            self._shown[row] = entry
            self.dataChanged.emit(self.index(row), self.index(row))

    # Thumbnails ---------------------------------------------------------------------------------

    def _reset_thumbnails(self) -> None:
        self._thumbnails.clear()
        self._wanted.clear()

    def _thumbnail(self, image_id: int) -> QPixmap | None:
        if image_id not in self._thumbnails:
            self._thumbnails[image_id] = None
            self._wanted.append(image_id)
            self._read_later()
        return self._thumbnails[image_id]

    def _read_some(self) -> None:
        recorder = self._controller.recorder
        if self._reading or not self._wanted or recorder is None:
            return
        store = recorder.store
        ids = [self._wanted.pop() for _ in range(min(CHUNK, len(self._wanted)))]
        self._reading = True

        def work(_progress: object, cancelled: ShouldCancel) -> dict[int, Thumbnail]:
            made: dict[int, Thumbnail] = {}
            for image_id in ids:
                if cancelled():
                    break
                made[image_id] = _read_thumbnail(store, image_id)
            return made

        self._controller.jobs.run(
            work,
            done=lambda made: self._arrived(store, made),
            failed=lambda _error: None,  # the image says what is wrong when it is opened
            finished=self._read_more,
        )

    def _read_more(self) -> None:
        self._reading = False
        self._read_some()

    def _arrived(self, store: object, made: dict[int, Thumbnail]) -> None:
        recorder = self._controller.recorder
        if recorder is None or recorder.store is not store:
            return
        for image_id, picture in made.items():
            self._thumbnails[image_id] = _pixmap(picture)
            row = self.row_of(image_id)
            if row >= 0:
                self.dataChanged.emit(self.index(row), self.index(row))


def _read_thumbnail(store: ProjectStore, image_id: int) -> Thumbnail:
    try:
        return thumbnail_of(read_entry_image(store, image_id))
    except GraydetError:
        return np.zeros((0, 0), dtype=np.uint8)


def _pixmap(picture: Thumbnail) -> QPixmap:
    """Return the picture, a null pixmap for an image that cannot be read."""
    if picture.size == 0:
        return QPixmap()
    height, width = picture.shape
    image = QImage(picture.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image.copy())


class EntryDelegate(QStyledItemDelegate):
    """Draws an image as a tile: thumbnail, sign of its state, name."""

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex) -> QSize:  # noqa: N802
        """Return the size of a tile."""
        return TILE

    def paint(
        self, painter: QPainter | None, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        """Draw one tile."""
        if painter is None:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        tile = option.rect.adjusted(3, 3, -3, -3)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        ground = option.palette.color(QPalette.ColorRole.Base)
        painter.setPen(QPen(QColor("#1583d1"), 2) if selected else Qt.PenStyle.NoPen)
        painter.setBrush(ground)
        painter.drawRoundedRect(tile, 4, 4)
        self._draw_picture(painter, tile, index)
        self._draw_doubt(painter, tile, index)
        self._draw_caption(painter, tile, option, index)
        painter.restore()

    def _draw_picture(self, painter: QPainter, tile: QRect, index: QModelIndex) -> None:
        room = QRect(tile.left() + 6, tile.top() + 4, tile.width() - 12, THUMBNAIL)
        picture = index.data(int(Qt.ItemDataRole.DecorationRole))
        if not isinstance(picture, QPixmap):
            return
        if picture.isNull():
            painter.setPen(QColor(STATES[State.REJECTED][0]))
            painter.drawText(room, int(Qt.AlignmentFlag.AlignCenter), UNREADABLE)
            return
        place = QRect(0, 0, picture.width(), picture.height())
        place.moveCenter(room.center())
        painter.drawPixmap(place, picture)

    def _draw_doubt(self, painter: QPainter, tile: QRect, index: QModelIndex) -> None:
        doubt = index.data(DOUBT_ROLE)
        if doubt is None:
            return
        line = QRect(tile.left() + 6, tile.bottom() - 21, tile.width() - 12, 3)
        painter.fillRect(line, QColor(128, 128, 128, 70))
        line.setWidth(max(1, round(line.width() * doubt)))
        painter.fillRect(line, QColor(DOUBT_COLOR))

    def _draw_caption(
        self, painter: QPainter, tile: QRect, option: QStyleOptionViewItem, index: QModelIndex
    ) -> None:
        colour, sign, _ = STATES[index.data(STATE_ROLE)]
        line = QRect(tile.left() + 5, tile.bottom() - 19, tile.width() - 10, 18)
        painter.setPen(QColor(colour))
        painter.drawText(line, int(Qt.AlignmentFlag.AlignVCenter), sign)
        painter.setPen(option.palette.color(QPalette.ColorRole.Text))
        name = str(index.data(int(Qt.ItemDataRole.DisplayRole)))
        room = line.adjusted(15, 0, 0, 0)
        metrics, width = option.fontMetrics, room.width()
        own = index.data(NAMES_ROLE).fitted(name, metrics.horizontalAdvance, width)
        short = metrics.elidedText(own, Qt.TextElideMode.ElideMiddle, width)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignVCenter), short)
