"""The whole workplace: panels at the right, images below, napari's own docks folded away."""

from __future__ import annotations

from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabWidget, QVBoxLayout, QWidget

from napari_graydet.gui.desk import Desk, desk_of
from napari_graydet.gui.panels.base import GAP, Panel
from napari_graydet.gui.panels.box import BoxPanel
from napari_graydet.gui.panels.evaluate import EvaluatePanel
from napari_graydet.gui.panels.export import ExportPanel
from napari_graydet.gui.panels.images import ImagesPanel
from napari_graydet.gui.panels.message import MessageBar
from napari_graydet.gui.panels.objects import ObjectsPanel
from napari_graydet.gui.panels.tools import ToolsBar
from napari_graydet.gui.panels.train import TrainPanel
from napari_graydet.gui.rehearsal import Rehearsal

WORKPLACE, IMAGES = "Workplace (napari-graydet)", "Images (napari-graydet)"
"""Names of the docks: those that napari gives them when they are opened from the Plugins menu."""

FOLDED = ("layer list", "layer controls")
WIDTH = 400
TRAIN = "Train"


class Workplace(Panel):
    """The right-hand column: annotate, train, evaluate, export."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.message = MessageBar(desk)
        self.tools = ToolsBar(desk)
        self.box = BoxPanel(desk)
        self.objects = ObjectsPanel(desk)
        self.train = TrainPanel(desk)
        self.evaluate = EvaluatePanel(desk)
        self.export = ExportPanel(desk)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        bar = self.tabs.tabBar()
        assert bar is not None
        bar.setDrawBase(False)
        self.tabs.addTab(self._annotate(), "Annotate")
        self.tabs.addTab(self.train, TRAIN)
        self.tabs.addTab(self.evaluate, "Evaluate")
        self.tabs.addTab(self.export, "Export")
        self.tabs.currentChanged.connect(self._tab_chosen)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(GAP, 2 * GAP, GAP, GAP)
        layout.setSpacing(GAP)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(self.message)  # below: what is pressed stays where it is
        self.setMinimumWidth(WIDTH)
        self.rehearsal = Rehearsal(desk.layers, self.box.cloud)
        self.links.add(desk.training.changed, self._show_training)

    def shutdown(self) -> None:
        """Stop following."""
        super().shutdown()
        self.rehearsal.drop()

    def _tab_chosen(self, index: int) -> None:
        """Look at the models again: a terminal may have begun a training meanwhile."""
        if index == self.tabs.indexOf(self.train):
            self.desk.training.refresh()

    def _show_training(self) -> None:
        """Say in the tab how far a training is, for whoever goes on annotating."""
        training, run = self.desk.training, self.desk.training.run
        text = TRAIN
        if training.phase in ("running", "stopping") and run is not None:
            text = f"{TRAIN} {run.overall or 0.0:.0%}"
        elif training.phase == "deciding":
            text = f"{TRAIN} ✓"
        self.tabs.setTabText(self.tabs.indexOf(self.train), text)

    def _annotate(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, GAP, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self.tools)
        layout.addWidget(self.box, 4)
        layout.addWidget(self.objects, 1)
        return page


def open_workplace(viewer: Viewer) -> Workplace:
    """Dock the workplace in a viewer; what is there already is only returned."""
    docked = viewer.window.dock_widgets
    if WORKPLACE in docked:
        existing: Workplace = docked[WORKPLACE]
        return existing
    workplace = Workplace(desk_of(viewer))
    viewer.window.add_dock_widget(
        workplace, name=WORKPLACE, area="right", add_vertical_stretch=False
    )
    complete(workplace)
    return workplace


def complete(workplace: Workplace) -> None:
    """Put the strip of images beneath a docked workplace, fold napari's docks away, rehearse."""
    desk, window = workplace.desk, workplace.window()
    assert window is not None
    desk.watch(window)
    if IMAGES not in desk.viewer.window.dock_widgets:
        desk.viewer.window.add_dock_widget(
            ImagesPanel(desk), name=IMAGES, area="bottom", add_vertical_stretch=False
        )
    if isinstance(window, QMainWindow):
        _fold_away(window)
    if window.isVisible():
        workplace.rehearsal.in_turns(window)
    else:
        workplace.rehearsal.make_layers()


def _fold_away(window: QMainWindow) -> None:
    """Hide napari's layer docks; View > and the Window menu bring them back."""
    for dock in window.findChildren(QDockWidget):
        if dock.objectName() in FOLDED:
            dock.hide()
    corner = Qt.Corner.BottomRightCorner
    window.setCorner(corner, Qt.DockWidgetArea.RightDockWidgetArea)
