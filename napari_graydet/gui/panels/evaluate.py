"""Evaluation of the models in use: a table, worst first, and the errors in the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QProgressBar, QVBoxLayout

from napari_graydet.gui.control.evaluation import ALL, VALIDATION
from napari_graydet.gui.control.scored import Row, Scored, as_dice
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import GAP, ErrorsPanel, button, dim, on_click
from napari_graydet.gui.panels.legend import Legend
from napari_graydet.gui.panels.table import Cell, Column, Table

COLUMNS = (
    Column("Image"),
    Column("Class"),
    Column("DSC", "Overlap with the accepted mask: 2 |M ∩ T| / (|M| + |T|); 1 is perfect"),
    Column("ceiling", "DSC of the best gray range of each part, in its true ROI"),
    Column("FN", "Share of the accepted mask that is missed", largest_first=True),
    Column("FP", "Share of the found mask that is too much", largest_first=True),
    Column("Lost by", "Where most is lost: the ROI, the gray range, what no gray range can reach "
           "(beyond gray), or clean-up and refiner"),
    Column("IoU", "|M ∩ T| / |M ∪ T|"),
    Column("ceiling", "IoU of the best gray range of each part, in its true ROI"),
    Column("HD95 px", "95 % of the outline lie within this distance, pixels", "{:.1f}",
           largest_first=True),
    Column("explained", "Overlap (IoU) of the found mask with what its gray ranges give alone"),
    Column("ROI IoU", "Overlap of the found regions with the accepted ones"),
    Column("interval IoU", "Overlap of the found gray ranges with the best ones of each part"),
    Column("Problem", "Why there are no figures", leads=True),
)  # fmt: skip
WIDTHS = (96, 62, 52, 54, 46, 46, 88, 50, 54, 64, 74, 66, 84, 160)
CLASS, DSC, FP, PROBLEM = 1, 2, 5, 13

LOSSES = {
    "loss_roi": "ROI",
    "loss_range": "gray range",
    "loss_representation": "beyond gray",
    "loss_refinement": "clean-up",
}
WHERE = {
    "loss_roi": "by the ROIs",
    "loss_range": "by the gray ranges",
    "loss_representation": "to what no gray range can reach",
    "loss_refinement": "by clean-up and refiner",
}
SIDES = (
    (VALIDATION, "Held-out images",
     "Not learned from, but they chose when to stop, thresholds and refiner: a little too kind"),
    (ALL, "All accepted images", "Also those that were trained on: these score too well"),
)  # fmt: skip


class EvaluatePanel(ErrorsPanel):
    """Scores, worst first; a click opens the image with its errors in colour."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.evaluation = desk.evaluation
        self._shown: Scored | None = None
        self._offered: tuple[Path | None, bool] | None = None
        self.side = QComboBox()
        for side, text, tip in SIDES:
            self.side.addItem(text, side)
            self.side.setItemData(self.side.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.side.currentIndexChanged.connect(self._side_chosen)
        self.start = button("Evaluate", "Score the models in use on these images", primary=True)
        on_click(self.start, self._start)
        self.stop = button("Stop", "Stop; the last table stays")
        on_click(self.stop, self.evaluation.cancel)
        self.bar = QProgressBar()
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.hint = dim()
        self.hint.setWordWrap(True)
        self.table = Table(COLUMNS, self._picked)
        self.table.setAccessibleName("Scores of each image")
        self.legend = Legend(desk.errors)
        row = QHBoxLayout()
        row.addWidget(self.side, 1)
        row.addWidget(self.start)
        row.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setSpacing(GAP)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.summary)
        layout.addWidget(self.hint)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.legend)
        layout.addStretch(0)  # without a table, what is said stays at the top
        session = self.session
        for signal in (session.entries_changed, session.entry_changed, session.project_changed):
            self.links.add(signal, self._show)
        self.links.add(session.image_changed, self._follow)
        self.links.add(self.evaluation.changed, self._show)
        self.links.add(desk.training.models_changed, self._show)
        self._show()

    def _side_chosen(self, _index: int) -> None:
        self.summary.setText(self._summary())

    def _start(self) -> None:
        self.desk.errors.hide()
        self.evaluation.start(self.side.currentData())

    def _show(self) -> None:
        evaluation, session = self.evaluation, self.session
        trained = any(entry.split is not None for entry in self.desk.training.models.entries)
        self._offer_side(trained)
        self.side.setEnabled(trained and not evaluation.running)
        self.start.setEnabled(session.accepted > 0 and not evaluation.running)
        self.stop.setVisible(evaluation.running)
        self.bar.setVisible(evaluation.running)
        progress = evaluation.progress
        if progress is not None:
            self.bar.setRange(0, progress.total)
            self.bar.setValue(progress.done)
        self.summary.setText(self._summary())
        self.hint.setText(self._hint())
        self.hint.setVisible(bool(self.hint.text()))
        if evaluation.scored is not self._shown:
            self.desk.errors.forget(self._shown)
            self._shown = evaluation.scored
            self._fill()
        self.table.setVisible(self._shown is not None)
        self.legend.setVisible(self._shown is not None)

    def _offer_side(self, trained: bool) -> None:
        """Choose the images that say most; what a person chooses afterwards stays."""
        offered = self.session.folder, trained
        if offered != self._offered:
            self._offered = offered  # held out is what a training has left
            self.side.setCurrentIndex(self.side.findData(VALIDATION if trained else ALL))

    def _summary(self) -> str:
        evaluation, scored = self.evaluation, self.evaluation.scored
        if evaluation.progress is not None:
            return "Loading the models …" if not evaluation.progress.total else (
                f"{evaluation.progress.done} of {evaluation.progress.total}: "
                f"{evaluation.progress.name}"
            )  # fmt: skip
        if evaluation.note is not None:
            return evaluation.note.text
        if scored is not None:
            return _verdict(scored, evaluation.side)
        if not self.session.accepted:
            return "Nothing to compare with yet: accept images in the tab Annotate."
        models, count = self.desk.training.models, self.session.accepted
        held_out = self.side.currentData() == VALIDATION
        which = "held-out images that are accepted" if held_out else f"{count} accepted images"
        return f"How well does {models.name} do? Its proposals are compared with the {which}."

    def _hint(self) -> str:
        evaluation, scored = self.evaluation, self.evaluation.scored
        if evaluation.running or scored is None:
            return ""
        known = evaluation.side == ALL and self.desk.training.models.choices
        warning = "Some of these images were trained on and score too well. " if known else ""
        if drawn := scored.as_drawn:
            them = "it" if drawn == 1 else "them"
            warning += (
                f"{_were(drawn)} accepted just as this model draws {them}, which favours it. "
            )
        if edited := evaluation.edited:
            warning += f"{_were(edited)} changed since: evaluate again for new figures. "
        return f"{warning}Click an image to see its errors; correct it in the tab Annotate."

    def _fill(self) -> None:
        scored = self._shown
        rows = [] if scored is None else [(_key(row), _cells(row)) for row in scored.rows]
        names = (entry.path for entry in self.session.entries)
        self.table.show_rows(rows, WIDTHS, DSC, among=names)
        several = scored is not None and len(scored.labels) > 1
        self.table.setColumnHidden(CLASS, not several)
        problems = scored is not None and any(row["error"] for row in scored.rows)
        self.table.setColumnHidden(PROBLEM, not problems)

    def _picked(self, key: tuple[str, str]) -> None:
        if self._shown is not None:
            self.desk.errors.show(self._shown, key[0])

    def _follow(self) -> None:
        """Select the row of the image that is shown."""
        entry = self.session.entry
        if entry is not None and self._shown is not None:
            rows = self._shown.rows
            label = next((row["label"] for row in rows if row["image"] == entry.path), None)
            current = self.table.currentIndex()
            here = self.table.rows.key(current.row()) if current.isValid() else None
            if here is None or here[0] != entry.path:
                self.table.pick((entry.path, label or ""))
            if label is not None and self.isVisible() and self.desk.errors.active:
                self.desk.errors.show(self._shown, entry.path)


def _were(count: int) -> str:
    return "1 image was" if count == 1 else f"{count} images were"


def _key(row: Row) -> tuple[str, str]:
    return row["image"], row["label"]


def _cells(row: Row) -> list[Cell]:
    """Return the cells of a row; the ceiling's DSC follows from its IoU, they are of one mask."""
    return [
        row["image"], row["label"], row["dice"], as_dice(row["ceiling"]), row["fn"], row["fp"],
        _lost_by(row), row["iou"], row["ceiling"], row["hd95"], row["explained"], row["roi_iou"],
        row["interval_iou"], row["error"] or "",
    ]  # fmt: skip


def _lost_by(row: Row) -> str:
    losses = {name: row.get(name) or 0.0 for name in LOSSES}
    worst = max(losses, key=lambda name: losses[name])
    return LOSSES[worst] if losses[worst] > 0 else ""


def _verdict(scored: Scored, side: str) -> str:
    """Say in a line or two how good the model is."""
    count = len(scored.images)
    kind = "held-out" if side == VALIDATION else "accepted"
    dice, ceiling = scored.mean("dice"), scored.mean("ceiling")
    failed = len(scored.document["failed"])
    text = f"{scored.model[:1].upper()}{scored.model[1:]} on {count} {kind} "
    text += f"image{'' if count == 1 else 's'}: "
    if dice is None or ceiling is None:
        return f"{text}no figures."
    iou = scored.mean("iou") or 0.0
    text += f"mean DSC {dice:.3f}, IoU {iou:.3f}; the best gray ranges have IoU {ceiling:.3f}"
    text += f"; {failed} could not be scored." if failed else "."
    worst = _mean_loss(scored)
    return f"{text} Most is lost {worst}." if worst else text


def _mean_loss(scored: Scored) -> str:
    means: dict[str, Any] = {name: scored.mean(name) or 0.0 for name in LOSSES}
    worst = max(means, key=lambda name: means[name])
    return WHERE[worst] if means[worst] > 0 else ""
