"""The trained models of the project: which is in use, go back, compare, go on."""

from __future__ import annotations

from collections.abc import Collection

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
)

from napari_graydet.gui.control.models import Models, about, name_of
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import GAP, Panel, button, dim, on_click
from napari_graydet.gui.panels.table import HEADER
from napari_graydet.gui.question import agreed
from napari_graydet.io.weights import SHIPPED
from napari_graydet.project.model_entry import ModelEntry

COLUMNS = ("Model", "Trained", "Images", "State")
KINDS = {"roi": "ROI", "boxes": "3D boxes", "refiner": "refiner"}
DETECTORS = ("roi", "boxes")
"""Kinds that something is always in use of."""

FIGURES = {"roi": "ROI IoU", "boxes": "mask IoU", "refiner": "DSC"}
"""Which of a part's held-out figures is told, where it has several."""

AGAIN = 3000
"""Milliseconds between two looks at trainings that may be those of other processes."""

ENDED = {
    "running": "was interrupted",
    "cancelled": "stopped",
    "failed": "failed",
    "done": "not in use",
}


COMES_WITH = "Comes with the program."


class ModelsPanel(Panel):
    """A list of runs, newest first, and what can be done with the selected one."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.training = desk.training
        self._shown: Models | None = None
        self.list = QTreeWidget()
        self.list.setHeaderLabels(COLUMNS)
        self.list.setRootIsDecorated(False)
        self.list.setUniformRowHeights(True)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.setFixedHeight(116)
        self.list.setAccessibleName("Trained models")
        header = self.list.header()
        assert header is not None
        header.setStyleSheet(HEADER)
        for column in range(len(COLUMNS) - 1):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.list.currentItemChanged.connect(lambda *_: self._show_selected())
        self.facts = dim()
        self.facts.setWordWrap(True)
        self.compare = button("Compare …", "Compare with what is in use, on the held-out images")
        self.resume = button("Go on", "Go on with a training that was stopped or interrupted")
        self.stop = button("Stop", "Stop this training; it can go on later")
        self.use = button(
            "Use", "Use it from the next detection on, without a comparison on held-out images"
        )
        self.back = button("Roll back", "Use again what was in use before")
        self.delete = button("Delete …", "Delete this model and its files")
        on_click(self.compare, self._compare)
        on_click(self.use, self._use)
        on_click(self.resume, self._resume)
        on_click(self.stop, self._stop)
        on_click(self.delete, self._delete)
        on_click(self.back, self.training.roll_back)
        row = QHBoxLayout()
        for made in (self.compare, self.use, self.resume, self.stop, self.delete):
            row.addWidget(made)
        row.addStretch(1)
        row.addWidget(self.back)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(dim("Models of this project"))
        layout.addWidget(self.list, 1)
        layout.addWidget(self.facts)
        layout.addLayout(row)
        self._clock = QTimer(self)
        self._clock.setInterval(AGAIN)
        self._clock.timeout.connect(self.training.refresh)
        self.links.add(self.training.changed, self._show)
        self._show()

    def shutdown(self) -> None:
        """Stop following."""
        super().shutdown()
        self._clock.stop()

    def selected_id(self) -> str | None:
        """Return the id of the selected run, `SHIPPED` for the model that is none."""
        item = self.list.currentItem()
        return None if item is None else item.data(0, Qt.ItemDataRole.UserRole)

    def selected(self) -> ModelEntry | None:
        """Return the selected run, if it can be read."""
        return self.training.models.entry(self.selected_id())

    def select(self, run_id: str) -> None:
        """Select a run."""
        item = self._row_of(run_id)
        if item is not None:
            self.list.setCurrentItem(item)

    def _row_of(self, run_id: str) -> QTreeWidgetItem | None:
        for row in range(self.list.topLevelItemCount()):
            item = self.list.topLevelItem(row)
            if item is not None and item.data(0, Qt.ItemDataRole.UserRole) == run_id:
                return item
        return None

    def _compare(self) -> None:
        entry = self.selected()
        if entry is not None:
            self.training.compare(entry.id)

    def _resume(self) -> None:
        entry = self.selected()
        if entry is not None:
            self.training.resume(entry.id)

    def _use(self) -> None:
        run_id = self.selected_id()
        if run_id is not None:
            self.training.use(run_id)

    def _delete(self) -> None:
        run_id = self.selected_id()
        text = f"Delete model {run_id} with its weights and figures? It cannot be brought back."
        if run_id is not None and agreed(self, "Delete model", text, "Delete it"):
            self.training.delete(run_id)

    def _stop(self) -> None:
        entry = self.selected()
        if entry is not None:
            self.training.stop(entry.id)

    def _show(self) -> None:
        models = self.training.models
        self.setVisible(bool(models.entries or models.damaged or models.choices))
        if not models.alive:
            self._clock.stop()
        elif not self._clock.isActive():
            self._clock.start()
        if models is not self._shown:
            self._shown = models
            before, known = self.selected_id(), self.list.topLevelItemCount()
            self._fill(models)
            newest = models.entries[-1].id if models.entries else None
            more = self.list.topLevelItemCount() > known
            here = before is not None and self._row_of(before) is not None
            self.select((before if here and not more else newest) or SHIPPED)
        self._show_selected()

    def _fill(self, models: Models) -> None:
        self.list.clear()
        for entry in reversed(models.entries):
            self.list.addTopLevelItem(self._item(entry, models))
        for run_id in models.damaged:
            self._add_other(run_id, "damaged")
        shipped = [kind for kind in DETECTORS if kind not in models.choices]
        self._add_other(SHIPPED, _in_use(shipped, DETECTORS) or "not in use")

    def _add_other(self, run_id: str, state: str) -> None:
        item = QTreeWidgetItem([run_id, "", "", state])
        item.setData(0, Qt.ItemDataRole.UserRole, run_id)
        item.setToolTip(3, state)
        self.list.addTopLevelItem(item)

    def _item(self, entry: ModelEntry, models: Models) -> QTreeWidgetItem:
        split = entry.split
        images = "" if split is None else str(len(split.train) + len(split.validation))
        when = entry.started.astimezone().strftime("%d %b %H:%M")
        item = QTreeWidgetItem([entry.id, when, images, _state(entry, models)])
        item.setData(0, Qt.ItemDataRole.UserRole, entry.id)
        item.setToolTip(3, entry.message or _state(entry, models))
        if entry.id in models.in_use:
            font = item.font(0)
            font.setBold(True)
            for column in range(len(COLUMNS)):
                item.setFont(column, font)
        return item

    def _show_selected(self) -> None:
        entry, models = self.selected(), self.training.models
        other = models.damaged.get(self.selected_id() or "", COMES_WITH)
        self.facts.setText(other if entry is None else facts_of(entry, models))
        self._show_buttons()

    def _show_buttons(self) -> None:
        models, entry = self.training.models, self.selected()
        idle = self.training.phase == "idle"
        done = entry is not None and entry.status == "done"
        in_use = entry is not None and set(entry.weights) <= {
            kind for kind, run_id in models.choices.items() if run_id == entry.id
        }
        alive = entry is not None and entry.id in models.alive
        shipped = self.selected_id() == SHIPPED
        self.compare.setEnabled(idle and done and not in_use)
        self.use.setEnabled(idle and (bool(models.choices) if shipped else done and not in_use))
        run_id = self.selected_id() or SHIPPED
        needed = alive or run_id == SHIPPED or run_id in models.needed
        self.delete.setEnabled(idle and not needed)
        self.delete.setToolTip(f"Delete this model and its files{_but(models.needed.get(run_id))}")
        self.compare.setVisible(done)
        self.use.setVisible(done or shipped)
        self.resume.setEnabled(idle)
        self.resume.setVisible(entry is not None and not done and not alive)
        self.stop.setEnabled(entry is not None and entry.id not in models.stopping)
        self.stop.setVisible(alive)
        self.back.setEnabled(idle and models.before is not None)
        if models.before is not None:
            self.back.setToolTip(f"Use {name_of(models.before)} again")


def _but(reason: str | None) -> str:
    return "" if reason is None else f": not now, {reason}"


def facts_of(entry: ModelEntry, models: Models) -> str:
    """Say what a run learned from and what it reached, or why it reached nothing."""
    split = entry.split
    if entry.id in models.stopping:
        return "It stops after this step, and can go on later."
    if entry.id in models.alive:
        return "It is being trained; it can be compared and used once it is done."
    if entry.status == "failed":
        return f"Failed: {entry.message or 'no reason given'}"
    if entry.status != "done":
        return "It has no weights yet: Go on continues where it ended."
    figures = []
    for kind, scores in entry.scores.items():
        name = FIGURES.get(kind, "")
        if name not in scores:
            continue
        before = entry.parent_scores.get(kind, {}).get(name)
        was = "" if before is None else f"{before:.3f} → "
        figures.append(f"{name} {was}{scores[name]:.3f}")
    learned = f"Trained in {about(entry.seconds)}"
    if split is not None:
        learned += f" on {len(split.train)} images"
        if figures:
            learned += f"; on the {len(split.validation)} held out: {', '.join(figures)}"
    return " ".join([f"{learned}.", *entry.notes.values()])


def _state(entry: ModelEntry, models: Models) -> str:
    if entry.id in models.alive:
        return "is stopping" if entry.id in models.stopping else "is being trained"
    kinds = [kind for kind, run_id in models.choices.items() if run_id == entry.id]
    return _in_use(kinds, entry.weights) or ENDED[entry.status]


def _in_use(kinds: Collection[str], all_kinds: Collection[str]) -> str:
    """Say which of a model's weights are in use; nothing if none is."""
    if not kinds or set(kinds) == set(all_kinds):
        return "in use" if kinds else ""
    return f"in use: {', '.join(KINDS.get(kind, kind) for kind in kinds)}"


class ModelLine(Panel):
    """One line that says which model detects."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.text = QLabel()
        self.text.setStyleSheet(dim().styleSheet())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        self.links.add(desk.training.models_changed, self._show)
        self._show()

    def _show(self) -> None:
        models = self.desk.training.models
        self.text.setText(f"Detecting with {models.name}")
        self.text.setToolTip("Train a better one, or roll back, in the tab Train")
