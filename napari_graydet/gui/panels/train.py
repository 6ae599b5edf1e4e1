"""Training: what is new, what to train, how it goes, and the choice at its end."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_graydet.gui.control.models import about, invitation
from napari_graydet.gui.control.patients import owners, set_rule
from napari_graydet.gui.control.training_run import Run, part_title
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import GAP, ErrorsPanel, button, dim, on_click
from napari_graydet.gui.panels.compare import ComparePanel
from napari_graydet.gui.panels.curve import CurveView
from napari_graydet.gui.panels.message import COLOURS
from napari_graydet.gui.panels.models import ModelsPanel
from napari_graydet.gui.panels.patients import PatientsDialog
from napari_graydet.project.kept_patients import KeptPatients
from napari_graydet.workflows.training.parts import PARTS

PRESETS = (
    ("fast", "Fast: minutes on a CPU", "Trained to its best in little time"),
    ("paper", "Paper: as Ge et al. 2022, hours", "The settings of the paper, for comparison"),
)


class TrainPanel(ErrorsPanel):
    """One column: invitation, settings, progress with curves, comparison, models."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.training = desk.training
        self.news = QLabel()
        self.news.setWordWrap(True)
        self.news.setStyleSheet("font-weight: 600;")
        self.hint = dim()
        self.hint.setWordWrap(True)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.owners = self._owners()
        self.settings = self._settings()
        self.progress = self._progress()
        self.compare = ComparePanel(desk)
        self.models = ModelsPanel(desk)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, GAP, 0)
        column.setSpacing(2 * GAP)
        for widget in (self.note, self.news, self.owners, self.settings, self.hint, self.progress):
            column.addWidget(widget)
        column.addWidget(self.compare)
        column.addWidget(self.models)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(page)
        layout = QVBoxLayout(self)
        layout.addWidget(area)
        session = self.session
        for signal in (session.entries_changed, session.entry_changed):
            self.links.add(signal, self._show)
        self.links.add(session.message_changed, self._show_note)
        self.links.add(self.training.changed, self._show)
        self._show()

    def _owners(self) -> QWidget:
        self.patients = dim()
        self.patients.setWordWrap(True)
        self.ask = button("Patients …", "Say which images are of one patient")
        on_click(self.ask, self._ask)
        made = QWidget()
        row = QHBoxLayout(made)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.patients, 1)
        row.addWidget(self.ask)
        return made

    def _ask(self) -> None:
        """Ask for the project's rule of patients."""
        recorder = self.controller.recorder
        if recorder is None:
            return
        store = recorder.store
        asked = PatientsDialog(self.session.entries, store.patients.text or "", store.folder, self)
        if asked.exec():
            set_rule(self.controller, asked.rule)
        asked.deleteLater()

    def _kept_patients(self) -> KeptPatients | None:
        recorder = self.controller.recorder
        return None if recorder is None else recorder.store.patients

    def _settings(self) -> QWidget:
        self.parts: dict[str, QCheckBox] = {}
        self.preset = QComboBox()
        for name, text, tip in PRESETS:
            self.preset.addItem(text, name)
            self.preset.setItemData(self.preset.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.preset.currentIndexChanged.connect(lambda _index: self._show())
        self.start = button("Train", "Train on the accepted images", primary=True)
        on_click(self.start, self._start)
        made = QWidget()
        column = QVBoxLayout(made)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        for part in PARTS.values():
            if part.in_all:
                box = QCheckBox(part_title(part.name))
                box.setChecked(True)
                box.toggled.connect(lambda _on: self._show())
                self.parts[part.name] = box
                column.addWidget(box)
        row = QHBoxLayout()
        row.addWidget(self.preset, 1)
        row.addWidget(self.start)
        column.addLayout(row)
        return made

    def _progress(self) -> QWidget:
        self.stage = QLabel()
        self.stage.setWordWrap(True)
        self.bar = QProgressBar()
        self.stop = button("Stop", "Stop the training; it can go on later")
        on_click(self.stop, self.training.cancel)
        self._curves = QVBoxLayout()
        self.curves: dict[str, CurveView] = {}
        self.told = dim()
        self.told.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        made = QWidget()
        column = QVBoxLayout(made)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP)
        column.addWidget(self.stage)
        column.addLayout(row)
        column.addLayout(self._curves)
        column.addWidget(self.told)
        return made

    def chosen(self) -> list[str]:
        """Return the parts that are ticked, of those that the preset has."""
        preset = self.preset.currentData()
        ticked = (name for name, box in self.parts.items() if box.isChecked())
        return [name for name in ticked if preset in PARTS[name].presets]

    def _start(self) -> None:
        self.training.start(self.chosen(), self.preset.currentData())

    def _show(self) -> None:
        training, session = self.training, self.session
        idle = training.phase == "idle"
        said = invitation(
            session.entries, training.models, self.chosen(), self.preset.currentData()
        )
        for widget, text in ((self.news, said.text), (self.hint, said.hint)):
            widget.setText(text)
            widget.setVisible(idle and session.folder is not None)
        whose = owners(session.entries, self._kept_patients())
        self.patients.setText(whose.text)
        self.owners.setVisible(idle and session.folder is not None)
        self.settings.setVisible(idle)
        preset = self.preset.currentData()
        for name, box in self.parts.items():
            box.setEnabled(preset in PARTS[name].presets)
            box.setToolTip("" if box.isEnabled() else f"Preset {preset} has none")
        self.start.setEnabled(said.ready and whose.known)
        self._show_note()
        self.progress.setVisible(training.phase in ("running", "stopping", "comparing"))
        self._show_progress()

    def _show_note(self) -> None:
        note, message = self.training.note, self.session.message
        told = note is None or (message is not None and message.text == note.text)
        self.note.setVisible(not told)  # the line above all tabs goes with the next image
        if note is not None:
            ground, text = COLOURS[note.level]
            self.note.setStyleSheet(
                f"background: {ground}; color: {text}; border-radius: 4px; padding: 5px;"
            )
            self.note.setText(note.text)

    def _show_progress(self) -> None:
        training, run = self.training, self.training.run
        self.stage.setText(self._stage())
        comparing = training.comparing
        self.stop.setText(
            {"stopping": "Stop at once", "comparing": "Skip"}.get(training.phase, "Stop")
        )
        if comparing is not None:
            self.bar.setRange(0, comparing.total)
            self.bar.setValue(comparing.done)
        elif run is None or run.overall is None:
            self.bar.setRange(0, 0)  # busy: nothing can be told yet
        else:
            self.bar.setRange(0, 1000)
            self.bar.setValue(round(1000 * run.overall))
        self._show_curves(run)
        self.told.setText(" ".join(run.notices) if run else "")
        self.told.setVisible(bool(self.told.text()))

    def _show_curves(self, run: Run | None) -> None:
        curves = run.curves if run is not None else {}
        for part in [part for part in self.curves if part not in curves]:
            view = self.curves.pop(part)
            self._curves.removeWidget(view)
            view.deleteLater()
        for part, curve in curves.items():
            if part not in self.curves:
                self.curves[part] = CurveView()
                self._curves.addWidget(self.curves[part])
            self.curves[part].show_curve(curve)

    def _stage(self) -> str:
        """Say what is being done, and how long it still takes."""
        training, run = self.training, self.training.run
        if training.phase == "stopping":
            return "Stopping after this step …"
        if training.comparing is not None:
            name = training.comparing.name
            return f"Comparing the models on the held-out images {f'({name})' if name else ''}…"
        if run is None or not run.part:
            return "Reading the images …"
        held = f"{run.validation} {'is' if run.validation == 1 else 'are'} held out"
        text = f"Part {run.number} of {run.of}: learning from {run.train} images, {held}."
        left = run.seconds_left
        return text if left is None else f"{text} {about(left).capitalize()} left."
