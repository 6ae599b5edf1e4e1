"""A table of figures that can be sorted, and picked from with mouse and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
)

from napari_graydet.gui.panels.base import DIM
from napari_graydet.gui.panels.names import ShortNames

Cell = str | float | None
"""A figure, a text, or nothing."""

HEADER = f"QHeaderView::section {{ background: transparent; border: none; padding: 3px; {DIM} }}"
MOVES = (
    Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown, Qt.Key.Key_Home,
    Qt.Key.Key_End, Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Return,
)  # fmt: skip

ROWS = "QTableView { alternate-background-color: rgba(128, 128, 128, 28); }"
"""Said outright: the palette's own is white in a dark window, and the text is white as well."""

NAME_MARGIN = 8
"""Pixels that a cell needs beside its text."""

_DESCENDING = 1
"""`Qt.SortOrder.DescendingOrder` as a number, which not every PyQt's own is."""

RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


class Column:
    """A column: its heading, what it means, and how its figures are written.

    Rows for which a column that `leads` says something come first, whatever they are sorted by.
    The first click on a heading puts the smallest first, the largest if it is `largest_first`.
    """

    def __init__(
        self,
        heading: str,
        tip: str = "",
        form: str = "{:.3f}",
        *,
        leads: bool = False,
        largest_first: bool = False,
    ) -> None:
        self.heading, self.tip, self.form = heading, tip, form
        self.leads, self.largest_first = leads, largest_first


class TableModel(QAbstractTableModel):
    """Rows of cells; a row without a figure is the last, unless there is a reason to look at it."""

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self._rows: list[tuple[Any, Sequence[Cell]]] = []
        self._sorted = (0, Qt.SortOrder.AscendingOrder)

    def fill(self, rows: Sequence[tuple[Any, Sequence[Cell]]]) -> None:
        """Show other rows: each a key and its cells."""
        self.beginResetModel()
        self._rows = list(rows)
        self._sort()
        self.endResetModel()

    def key(self, row: int) -> Any:
        """Return the key of a row."""
        return self._rows[row][0]

    def row_of(self, key: Any) -> int:
        """Return the row of a key, -1 if there is none."""
        return next((i for i, (other, _) in enumerate(self._rows) if other == key), -1)

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return how many rows there are."""
        return len(self._rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Return how many columns there are."""
        return len(self.columns)

    def headerData(  # noqa: N802
        self, section: int, orientation: Qt.Orientation, role: int = 0
    ) -> Any:
        """Return heading or tool tip of a column, or in which order a first click sorts it."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = self.columns[section]
        if role == int(Qt.ItemDataRole.DisplayRole):
            return column.heading
        if role == int(Qt.ItemDataRole.ToolTipRole):
            return column.tip
        if role == int(Qt.ItemDataRole.InitialSortOrderRole) and column.largest_first:
            return _DESCENDING
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return a cell as text."""
        if not index.isValid():
            return None
        cell = self._rows[index.row()][1][index.column()]
        if role == int(Qt.ItemDataRole.DisplayRole):
            return self._text(cell, index.column())
        if role == int(Qt.ItemDataRole.ToolTipRole) and isinstance(cell, str):
            return cell
        if role == int(Qt.ItemDataRole.TextAlignmentRole) and not isinstance(cell, str):
            return RIGHT
        return None

    def _text(self, cell: Cell, column: int) -> str:
        if cell is None:
            return "–"
        return cell if isinstance(cell, str) else self.columns[column].form.format(cell)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self.beginResetModel()
        self._sorted = (column, order)
        self._sort()
        self.endResetModel()

    def _sort(self) -> None:
        column, order = self._sorted
        known = [row for row in self._rows if row[1][column] is not None]
        rest = [row for row in self._rows if row[1][column] is None]
        known.sort(
            key=lambda row: _order(row[1][column]), reverse=order == Qt.SortOrder.DescendingOrder
        )
        leading = [i for i, made in enumerate(self.columns) if made.leads]
        self._rows = sorted(known + rest, key=lambda row: not any(row[1][i] for i in leading))


class NameDelegate(QStyledItemDelegate):
    """Writes the names of the first column; what they share goes where there is no room."""

    def __init__(self, parent: QTableView) -> None:
        super().__init__(parent)
        self.shared = ShortNames()

    def initStyleOption(  # noqa: N802
        self, option: QStyleOptionViewItem | None, index: QModelIndex
    ) -> None:
        """Put the name in, as much as fits."""
        super().initStyleOption(option, index)
        if option is not None:
            room = option.rect.width() - NAME_MARGIN
            width = option.fontMetrics.horizontalAdvance
            option.text = self.shared.fitted(option.text or "", width, room)


def _order(cell: Cell) -> tuple[float, str]:
    return (0.0, cell.lower()) if isinstance(cell, str) else (cell or 0.0, "")


class Table(QTableView):
    """Shows a `TableModel`; leaves letter keys to the window.

    Parameters
    ----------
    columns
        What it shows.
    picked
        Called with the key of a row that was clicked, or reached with the arrow keys.
    """

    def __init__(self, columns: Sequence[Column], picked: Callable[[Any], None]) -> None:
        super().__init__()
        self._picked = picked
        self._key: Any = None
        self.rows = TableModel(columns)
        self.setModel(self.rows)
        self.names = NameDelegate(self)
        self.setItemDelegateForColumn(0, self.names)
        self.setSortingEnabled(True)
        self.setShowGrid(False)
        self.setAlternatingRowColors(True)
        self.setStyleSheet(ROWS)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        heads, numbers = self.horizontalHeader(), self.verticalHeader()
        assert heads is not None and numbers is not None
        heads.setStyleSheet(HEADER)
        heads.setHighlightSections(False)
        heads.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft)
        heads.setMinimumSectionSize(40)
        numbers.hide()
        numbers.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        numbers.setDefaultSectionSize(self.fontMetrics().height() + 8)
        self.clicked.connect(self._clicked)
        self.rows.modelReset.connect(self._select)

    def show_rows(
        self, rows: Sequence[tuple[Any, Sequence[Cell]]], widths: Sequence[int], by: int,
        order: Qt.SortOrder = Qt.SortOrder.AscendingOrder, among: Iterable[str] = (),
    ) -> None:  # fmt: skip
        """Show other rows, sorted by a column.

        `widths` are in pixels; `among` are all names that those of the first column may be of, so
        that even a single one is cut where it says least.
        """
        self.names.shared = ShortNames.of([*(str(cells[0]) for _, cells in rows), *among])
        self.rows.fill(rows)
        self.sortByColumn(by, order)
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)

    def pick(self, key: Any) -> None:
        """Select a row without telling."""
        self._key = key
        self._select()

    def _select(self) -> None:
        """Select what was selected before the rows were put in another order."""
        row = self.rows.row_of(self._key)
        if row >= 0:
            self.selectRow(row)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Take the keys that move in the table, pass the others on."""
        if event is None or event.key() not in MOVES:
            if event is not None:
                event.ignore()
            return
        super().keyPressEvent(event)
        index = self.currentIndex()
        if index.isValid():
            self._clicked(index)

    def _clicked(self, index: QModelIndex) -> None:
        self._key = self.rows.key(index.row())
        self._picked(self._key)
