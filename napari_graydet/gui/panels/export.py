"""Export of the accepted images."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QVBoxLayout,
)

from napari_graydet.gui.control.work import Job
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import GAP, Panel, button, dim
from napari_graydet.workflows.events import Progress, one_line
from napari_graydet.workflows.export import ExportReport, export_project

FORMATS = (
    ("masks", "Masks", "PNG per image; 0 and 255, or class id + 1 with several classes"),
    ("yolo", "YOLO", "images, labels and a data.yaml that ultralytics trains on"),
    ("json", "JSON records", "ROIs, boxes, thresholds, clean-up and painting: the mask again"),
)


class ExportPanel(Panel):
    """Writes ground truth in the formats that training code reads."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._job: Job | None = None
        self._project: Path | None = None
        layout = QVBoxLayout(self)
        layout.setSpacing(GAP)
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        layout.addWidget(self.summary)
        self.formats: dict[str, QCheckBox] = {}
        for name, text, tip in FORMATS:
            box = QCheckBox(text)
            box.setChecked(True)
            box.toggled.connect(self._show)
            self.formats[name] = box
            layout.addWidget(box)
            note = dim(tip)
            note.setWordWrap(True)
            note.setIndent(24)
            layout.addWidget(note)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("Folder of the export")
        self.folder.textChanged.connect(self._show)
        browse = button("Browse …", "Choose the folder")
        browse.clicked.connect(self._browse)
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(browse)
        layout.addLayout(row)
        self.start = button("Export", "Write the accepted images", primary=True)
        self.start.clicked.connect(self.export)
        self.stop = button("Stop", "Stop; no half export is left")
        self.stop.clicked.connect(self._cancel)
        self._bar = QProgressBar()
        row = QHBoxLayout()
        row.addWidget(self.start)
        row.addWidget(self._bar, 1)
        row.addWidget(self.stop)
        layout.addLayout(row)
        self.result = QLabel()
        self.result.setWordWrap(True)
        layout.addWidget(self.result)
        layout.addStretch(1)
        session = self.session
        for signal in (session.entries_changed, session.entry_changed):
            self.links.add(signal, self._show)
        self.links.add(session.project_changed, self._new_project)
        self._new_project()

    def _new_project(self) -> None:
        """Offer a folder for the export; what a person chose stays when only classes change."""
        folder = self.session.folder
        if folder != self._project:
            self._project = folder
            self.folder.setText(str(folder.parent / f"{folder.name}-export") if folder else "")
            self.result.clear()
        self._show()

    def _chosen(self) -> list[str]:
        return [name for name, box in self.formats.items() if box.isChecked()]

    def _show(self) -> None:
        session, running = self.session, self._job is not None
        done = session.accepted
        what = f"{done} of {len(session.entries)} images are accepted; only these are exported."
        if session.entries and not done:
            what = "Nothing to export yet: accept images first."
        self.summary.setText(f"{what} Classes: {', '.join(session.classes) or 'none'}.")
        ready = session.accepted > 0 and bool(self._chosen()) and bool(self.folder.text().strip())
        self.start.setEnabled(ready and not running)
        self.stop.setVisible(running)
        self._bar.setVisible(running)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of the export", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def export(self) -> None:
        """Start the export in the background."""
        recorder = self.controller.recorder
        if recorder is None or self._job is not None or not recorder.flush():
            return
        store, out, formats = recorder.store, Path(self.folder.text().strip()), self._chosen()
        self.result.setText("")
        self._bar.setValue(0)
        self._job = self.controller.jobs.run(
            lambda progress, cancel: export_project(
                store, out.expanduser(), formats, progress, cancel
            ),
            done=self._done,
            failed=self._failed,
            progress=self._progress,
            finished=self._finished,
        )
        self._show()

    def _cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()

    def _progress(self, progress: Progress) -> None:
        self._bar.setRange(0, max(progress.total, 1))
        self._bar.setValue(progress.done)

    def _failed(self, error: Exception) -> None:
        self.result.setText(one_line(error))

    def _finished(self) -> None:
        self._job = None
        self._show()

    def _done(self, report: ExportReport) -> None:
        empty = f", {report.empty} of them empty" if report.empty else ""
        lines = [f"{report.images} images written to {report.out}{empty}.", *report.notices]
        self.result.setText("\n".join(lines))
