"""The dialog that asks which images are of one patient, and shows at once what a rule does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_graydet.gui.control.patients import preview, suggestions
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.panels.base import GAP, PRIMARY, button, dim, on_click
from napari_graydet.project.schema import ImageEntry

PAUSE = 150
"""Milliseconds from a key to the preview."""

KEEP, TAKE_AWAY = "Keep this rule", "Take the rule away"

WHY = (
    "All images of a patient are learned from, or all are held out: a model that is judged by the "
    "other knee of a patient looks better than it is."
)
HOW = (
    "A regular expression that finds the patient in the file names, in parentheses, such as "
    "^([^_]+)_ for ann_left.png and ann_right.png; or a CSV file with a line image,patient for "
    "each image, which is copied."
)


class PatientsDialog(QDialog):
    """Asks for a rule of patients; `rule` is what was written.

    Parameters
    ----------
    entries
        Images of the project, which the rule must fit.
    rule
        The rule that the project has now, "" if none.
    folder
        The project folder.
    """

    def __init__(
        self, entries: Sequence[ImageEntry], rule: str, folder: Path, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Patients")
        self.setMinimumWidth(520)
        self._entries, self._folder = entries, folder
        self._has_rule = bool(rule)
        self.usual = QComboBox()
        self.usual.addItem("Rules that fit these names …")
        for meaning, expression in suggestions(entries).items():
            self.usual.addItem(meaning, expression)
        self.usual.activated.connect(self._choose)
        self.text = QLineEdit(rule)
        self.text.setAccessibleName("Rule of patients")
        self.text.setPlaceholderText("^([^_]+)_   or   patients.csv")
        self.text.setClearButtonEnabled(True)
        self._preview_later = Deferred(self._preview, PAUSE)
        self.text.textChanged.connect(lambda _text: self._changed())
        self.file = button("CSV file …", "Choose a table of images and patients")
        on_click(self.file, self._choose_file)
        self.told = QLabel()
        self.told.setWordWrap(True)
        self.told.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.told.setMinimumHeight(6 * self.told.fontMetrics().height())
        self.buttons = QDialogButtonBox()
        keep = self.buttons.addButton(KEEP, QDialogButtonBox.ButtonRole.AcceptRole)
        assert keep is not None
        self.keep = keep
        self.keep.setStyleSheet(PRIMARY)
        self.buttons.addButton("Cancel", QDialogButtonBox.ButtonRole.RejectRole)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self._lay_out()
        self._name_rule()
        self._preview()

    @property
    def rule(self) -> str:
        """What was written."""
        return self.text.text()

    def done(self, result: int) -> None:
        """Close; a preview that is still to come would find no widgets."""
        self._preview_later.drop()
        super().done(result)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setSpacing(2 * GAP)
        title = QLabel("Which images are of one patient?")
        title.setStyleSheet("font-weight: 600;")
        column.addWidget(title)
        for text in (WHY, HOW):
            line = dim(text)
            line.setWordWrap(True)
            column.addWidget(line)
        column.addWidget(self.usual)
        self.usual.setVisible(self.usual.count() > 1)  # not before: it would be a window
        row = QHBoxLayout()
        row.addWidget(self.text, 1)
        row.addWidget(self.file)
        column.addLayout(row)
        column.addWidget(self.told)
        column.addWidget(self.buttons)

    def _changed(self) -> None:
        self.keep.setEnabled(False)  # until it is known to fit
        self._name_rule()
        self._preview_later()

    def _name_rule(self) -> None:
        self.usual.setCurrentIndex(max(0, self.usual.findData(self.rule)))

    def _preview(self) -> None:
        said = preview(self._entries, self.rule, self._folder, kept=self._has_rule)
        self.told.setText(said.text)
        self.keep.setEnabled(said.fits)
        empty = self._has_rule and not self.rule.strip()
        self.keep.setText(TAKE_AWAY if empty else KEEP)

    def _choose(self, place: int) -> None:
        expression = self.usual.itemData(place)
        if expression:
            self.text.setText(expression)

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Images and patients", "", "CSV (*.csv)")
        if path:
            self.text.setText(path)
