"""Detecting, the mouse's tools, undo and redo."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QProgressBar,
    QSizePolicy,
    QSlider,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_graydet.gui import keys
from napari_graydet.gui.desk import Desk
from napari_graydet.gui.image.layers import Tool
from napari_graydet.gui.keys import shown
from napari_graydet.gui.panels.base import (
    GAP,
    TOOL,
    Panel,
    button,
    describe,
    dim,
    on_click,
    set_value,
)
from napari_graydet.gui.panels.models import ModelLine

TOOLS = (
    (Tool.SELECT, "Select", "Select, move and resize ROIs", keys.SELECT),
    (Tool.DRAW, "Draw", "Draw an ROI around an object", keys.DRAW),
    (Tool.PAINT, "Paint", "Add pixels that no gray range reaches", keys.PAINT),
    (Tool.ERASE, "Erase", "Take pixels out of the mask", keys.ERASE),
)


class ToolsBar(Panel):
    """Detect, Detect all with progress, tools, undo and redo, the model or the brush."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self._job_rows())
        layout.addLayout(self._tool_row())
        layout.addWidget(self._brush_or_model())
        session = self.session
        for signal in (session.job_changed, session.image_changed, session.entries_changed):
            self.links.add(signal, self._show_job)
        for signal in (self.session.saved_changed, self.session.project_changed):
            self.links.add(signal, self._show_history)
        self.links.add(desk.tool_changed, self._show_tool)
        self._show_job()
        self._show_history()
        self._show_tool()

    def _job_rows(self) -> QWidget:
        """Return one row for two: while something runs, there is nothing to start."""
        self._rows = QStackedWidget()
        self._rows.addWidget(self._detect_row())
        self._rows.addWidget(self._progress_row())
        self._rows.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        return self._rows

    def _detect_row(self) -> QWidget:
        detection = self.controller.detection
        self.detect = button(
            "Detect", "Propose ROIs and 3D boxes for this image; work by hand stays",
            shown(keys.DETECT), primary=True,
        )  # fmt: skip
        self.detect_all = button(
            "Detect all images", "Propose for every image that nobody has worked on"
        )
        on_click(self.detect, detection.image)
        on_click(self.detect_all, detection.all)
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.detect, 1)
        row.addWidget(self.detect_all, 1)
        return page

    def _progress_row(self) -> QWidget:
        self._progress = QWidget()
        self._bar = QProgressBar()
        self._bar.setTextVisible(True)
        self._bar.setFormat("%v %")
        self._job_text = dim()
        self._job_text.setMinimumWidth(1)
        self.cancel = button("Stop", "Stop; what is finished is kept")
        on_click(self.cancel, self.controller.detection.cancel)
        row = QHBoxLayout(self._progress)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._job_text, 1)
        row.addWidget(self._bar, 1)
        row.addWidget(self.cancel)
        return self._progress

    def _tool_row(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        self._group = QButtonGroup(self)
        self.tools: dict[Tool, QToolButton] = {}
        for tool, text, tip, key in TOOLS:
            made = self._tool_button(text, tip, shown(key))
            made.setCheckable(True)
            on_click(made, partial(self.desk.layers.use, tool))
            self._group.addButton(made)
            self.tools[tool] = made
            row.addWidget(made)
        row.addStretch(1)
        self.undo = self._tool_button("Undo", "Undo, also in other images", shown(keys.UNDO))
        self.redo = self._tool_button("Redo", "Redo", shown(keys.REDO))
        on_click(self.undo, self.controller.undo)
        on_click(self.redo, self.controller.redo)
        row.addWidget(self.undo)
        row.addWidget(self.redo)
        return row

    def _tool_button(self, text: str, tip: str, key: str) -> QToolButton:
        made = QToolButton()
        made.setText(text)
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        made.setStyleSheet(TOOL)
        describe(made, tip, key)
        return made

    def _brush_or_model(self) -> QWidget:
        """Return one row for two: the brush while somebody paints, else which model detects."""
        self._lines = QStackedWidget()
        self._lines.addWidget(ModelLine(self.desk))
        self._lines.addWidget(self._brush_row())
        self._lines.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        return self._lines

    def _brush_row(self) -> QWidget:
        made = QWidget()
        self._brush_size = QSlider(Qt.Orientation.Horizontal)
        self._brush_size.setRange(1, 80)
        self._brush_size.setValue(12)
        self._brush_size.setToolTip("Diameter of the brush in pixels  ([ and ])")
        self._brush_size.valueChanged.connect(self._set_brush)
        self._brush_text = dim()
        clear = button("Clear painting", "Forget what was painted for this class in this image")
        on_click(clear, self.controller.clear_paint)
        row = QHBoxLayout(made)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(dim("Brush"))
        row.addWidget(self._brush_size, 1)
        row.addWidget(self._brush_text)
        row.addWidget(clear)
        return made

    def _set_brush(self, size: int) -> None:
        self._brush_text.setText(f"{size} px")
        self.desk.layers.set_brush(size)

    def _show_tool(self) -> None:
        tool = self.desk.tool
        self._group.setExclusive(False)
        for known, made in self.tools.items():
            made.setChecked(known is tool)
        self._group.setExclusive(True)
        painting = tool in (Tool.PAINT, Tool.ERASE)
        self._lines.setCurrentIndex(int(painting))
        if painting:
            self._set_brush(self._brush_size.value())

    def _show_job(self) -> None:
        job = self.session.job
        self._rows.setCurrentIndex(int(job is not None))
        ready = job is None and self.session.image is not None
        self.detect.setEnabled(ready)
        self.detect_all.setEnabled(job is None and bool(self.session.entries))
        for made in self.tools.values():
            made.setEnabled(self.session.image is not None)
        if job is not None:
            self._tell_job(job.detail or f"{job.name} …")
            self._bar.setVisible(job.done is not None)
            set_value(self._bar, round(100 * (job.done or 0)))
            self.cancel.setVisible(job.can_cancel)

    def _tell_job(self, text: str) -> None:
        """Say how far a job is; a long name loses its middle, which says least."""
        room, middle = self._job_text.width(), Qt.TextElideMode.ElideMiddle
        self._job_text.setText(self._job_text.fontMetrics().elidedText(text, middle, room))
        self._job_text.setToolTip(text)

    def _show_history(self) -> None:
        self.undo.setEnabled(self.session.can_undo)
        self.redo.setEnabled(self.session.can_redo)
