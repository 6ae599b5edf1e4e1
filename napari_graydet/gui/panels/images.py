"""The images of the project: list with states, progress, verdict."""

from __future__ import annotations

import time
from pathlib import Path

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, QTimer
from qtpy.QtGui import QKeyEvent, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QListView,
    QProgressBar,
    QVBoxLayout,
)

from napari_graydet.gui import keys
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.keys import shown
from napari_graydet.gui.leaving import would_end, would_lose
from napari_graydet.gui.panels.base import DIM, GAP, Panel, button, on_click, set_value
from napari_graydet.gui.panels.entries import ID_ROLE, STATES, TILE, EntriesModel, EntryDelegate
from napari_graydet.gui.panels.names import ShortNames
from napari_graydet.gui.question import agreed
from napari_graydet.project.schema import State

UNSAVED = "color: #ff6b6b; font-weight: 600;"
ROOMY = 1100
"""Width in pixels from which the buttons say in words where they go; below, the image's name needs
the room more."""

FILTER = 146
"""Width in pixels in which the filter can say every state."""

NARROWEST = 830
"""Width in pixels in which all buttons have room when they say less."""

MOVES = (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End)


class FilmStrip(QListView):
    """One row of tiles; leaves letter keys to the window."""

    def __init__(self) -> None:
        super().__init__()
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(False)
        self.setUniformItemSizes(True)
        self.setItemDelegate(EntryDelegate(self))
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFixedHeight(TILE.height() + 20)
        self.setAccessibleName("Images of the project")

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Take the keys that move along the strip, pass the others on."""
        if event is not None and event.key() not in MOVES:
            event.ignore()
        else:
            super().keyPressEvent(event)


class ImageName(QLabel):
    """Name and place of the image on the screen; in little room what is the name's own."""

    def __init__(self) -> None:
        super().__init__()
        self._name, self._place, self._names = "", "", ShortNames()
        font = self.font()
        font.setBold(True)
        self.setFont(font)
        self.setMinimumWidth(1)

    def show_name(self, name: str, place: str, names: ShortNames) -> None:
        """Show a name out of `names`, and behind it the place."""
        self._name, self._place, self._names = name, f"   {place}" if place else "", names
        self.setText(f"{name}{self._place}")  # for its size, and for those who don't see it

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw as much as there is room for."""
        metrics = self.fontMetrics()
        room = self.width() - metrics.horizontalAdvance(self._place)
        own = self._names.fitted(self._name, metrics.horizontalAdvance, room)
        short = metrics.elidedText(own, Qt.TextElideMode.ElideMiddle, room)
        side = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        with QPainter(self) as painter:
            painter.drawText(self.rect(), int(side), f"{short}{self._place}")


class ImagesPanel(Panel):
    """Where the researcher goes from image to image."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._filling = False
        self._roomy = True
        self.model = EntriesModel(self.controller)
        self.strip = FilmStrip()
        self.strip.setModel(self.model)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GAP, GAP, GAP, 0)
        layout.setSpacing(GAP)
        layout.addLayout(self._top_row())
        layout.addWidget(self.strip)
        selection = self.strip.selectionModel()
        assert selection is not None
        selection.currentChanged.connect(self._chosen)
        session = self.session
        for signal in (session.image_changed, session.entries_changed, session.entry_changed):
            self.links.add(signal, self._show)
        self.links.add(session.saved_changed, self._show_saved)
        self._clock = QTimer(self)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self._show_saved)
        self._clock.start()
        self._show()

    def shutdown(self) -> None:
        """Stop following."""
        super().shutdown()
        self._clock.stop()
        self.model.close()

    def _top_row(self) -> QHBoxLayout:
        self.open = button("Open folder …", "Open a folder of radiographs, or a project")
        self.open.clicked.connect(self._open)
        self.filter = QComboBox()
        self.filter.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.filter.setMinimumContentsLength(5)
        self.filter.setMinimumWidth(FILTER)
        self.filter.setToolTip("Show only images of one state")
        self.filter.addItem("All images", None)
        for state, (_, sign, name) in STATES.items():
            self.filter.addItem(f"{sign}  {name}", state)
        self.filter.currentIndexChanged.connect(self._filter_chosen)
        self.order = QComboBox()
        self.order.setToolTip(
            "In which order the images come. Doubtful first: proposals that are likely to be wrong,"
            " as the method itself tells; the bar under a picture shows how doubtful one is"
        )
        self.order.addItem("As listed", "project")
        self.order.addItem("Doubtful first", "doubt")
        self.order.activated.connect(self._order_chosen)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedSize(40, 8)
        self.progress, self.saved, self.name = QLabel(), QLabel(), ImageName()
        self.saved.setStyleSheet(DIM)
        self.previous = button("◀  Previous", "Previous image", shown(keys.PREVIOUS))
        self.next = button("Next  ▶", "Next image", shown(keys.NEXT))
        self.reject = button("Reject", "Not to be used; go on", shown(keys.REJECT))
        self.accept = button(
            "Accept, next", "Correct as it is, also with nothing in it; go on",
            shown(keys.ACCEPT), primary=True,
        )  # fmt: skip
        self.previous.setAccessibleName("Previous image")
        self.next.setAccessibleName("Next image")
        for made, action in (
            (self.previous, self.controller.previous), (self.next, self.controller.next),
            (self.reject, self.controller.reject), (self.accept, self.controller.accept),
        ):  # fmt: skip
            on_click(made, action)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        for widget in (self.open, self.filter, self.order, self._bar, self.progress, self.saved):
            row.addWidget(widget)
        row.addWidget(self.name, 1)
        for widget in (self.previous, self.next, self.reject, self.accept):
            row.addWidget(widget)
        return row

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Ask for what is needed where less is said; more would keep the window from narrowing."""
        return QSize(NARROWEST, super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Say less where there is less room."""
        super().resizeEvent(event)
        roomy = self.width() >= ROOMY
        if roomy != self._roomy:
            self._roomy = roomy
            self.previous.setText("◀  Previous" if roomy else "◀")
            self.next.setText("Next  ▶" if roomy else "▶")
            self.filter.setMinimumWidth(FILTER if roomy else 0)
            self._show_bar()
            self._show_progress()

    def _show_bar(self) -> None:
        self._bar.setVisible(self._roomy and bool(self.session.entries))

    def _open(self) -> None:
        start = str(self.session.folder or Path.home())
        folder = QFileDialog.getExistingDirectory(self, "Folder of radiographs, or project", start)
        if folder and self._may_leave(Path(folder)):
            self.controller.open_folder(Path(folder))

    def _may_leave(self, folder: Path) -> bool:
        """Ask before another folder ends what runs for this one."""
        ends = "" if folder == self.session.folder else would_end(self.desk)
        text = f"{would_lose(self.desk)} {ends}".strip()
        return not text or agreed(self, "Open folder", text, "Open anyway")

    def _filter_chosen(self, index: int) -> None:
        self.controller.filter(self.filter.itemData(index))

    def _order_chosen(self, index: int) -> None:
        self.controller.detection.order_by(self.order.itemData(index))

    def _chosen(self, index: QModelIndex) -> None:
        if index.isValid() and not self._filling:
            self.controller.go_to(index.data(ID_ROLE))

    def _show(self) -> None:
        session = self.session
        self.order.setCurrentIndex(self.order.findData(session.order))
        self.filter.setCurrentIndex([None, *STATES].index(session.filter))
        count = len(session.entries)
        entry = session.entry
        set_value(self._bar, session.accepted, max(count, 1))
        self._show_bar()
        self._show_progress()
        position = session.position
        if entry is not None and position is not None:
            place = f"{position + 1} / {count}"
            self.name.show_name(Path(entry.path).stem, place, self.model.names)
        else:
            self.name.show_name("", "", self.model.names)
        self.previous.setEnabled(self.controller.neighbour(-1) is not None)
        self.next.setEnabled(self.controller.neighbour(1) is not None)
        self.accept.setEnabled(session.annotation is not None)
        self.reject.setEnabled(session.can_reject)
        self._show_current()
        self._show_saved()

    def _show_progress(self) -> None:
        accepted, count = self.session.accepted, len(self.session.entries)
        _, sign, name = STATES[State.ACCEPTED]
        text = f"{accepted}/{count} {name if self._roomy else sign}"
        self.progress.setText(text if count else "")
        self.progress.setToolTip(f"{accepted} of {count} images are accepted")

    def _show_current(self) -> None:
        row = self.model.row_of(self.session.image_id)
        selection = self.strip.selectionModel()
        assert selection is not None
        self._filling = True
        if row < 0:
            selection.clear()
        elif self.strip.currentIndex().row() != row:
            index = self.model.index(row)
            selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            self.strip.scrollTo(index, QAbstractItemView.ScrollHint.PositionAtCenter)
        self._filling = False

    def _show_saved(self) -> None:
        session = self.session
        tip = "Each edit is saved at once"
        if session.saved_at is not None:
            tip += f"; the last one {_ago(time.time() - session.saved_at)}"
        self.saved.setToolTip(f"{tip}.")
        text = "not saved" if session.unsaved else "saved" if session.entries else ""
        if text != self.saved.text():  # setting it again would lay out and paint the window
            self.saved.setStyleSheet(UNSAVED if session.unsaved else DIM)
            self.saved.setText(text)


def _ago(seconds: float) -> str:
    if seconds < 10:
        return "just now"
    if seconds < 60:
        return f"{seconds // 10 * 10:.0f} s ago"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago"
