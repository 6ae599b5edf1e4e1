"""Widgets of the Plugins menu: thin adapters that give each panel its viewer's desk."""

from __future__ import annotations

from napari.viewer import Viewer
from qtpy.QtCore import QTimer

from napari_graydet.gui.desk import desk_of
from napari_graydet.gui.panels.box import BoxPanel
from napari_graydet.gui.panels.evaluate import EvaluatePanel
from napari_graydet.gui.panels.export import ExportPanel
from napari_graydet.gui.panels.images import ImagesPanel
from napari_graydet.gui.panels.roi import RoiPanel
from napari_graydet.gui.panels.train import TrainPanel
from napari_graydet.gui.workplace import Workplace, complete


class WorkplaceWidget(Workplace):
    """The whole workplace; brings the strip of images along."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))
        QTimer.singleShot(0, self._complete)  # napari docks a widget after making it

    def _complete(self) -> None:
        if self.window() is not self:
            complete(self)


class ImagesWidget(ImagesPanel):
    """The list of images."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))


class RoiWidget(RoiPanel):
    """Regions of interest."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))


class BoxWidget(BoxPanel):
    """The 3D box."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))


class TrainWidget(TrainPanel):
    """The training."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))


class EvaluateWidget(EvaluatePanel):
    """The evaluation."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))


class ExportWidget(ExportPanel):
    """The export."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(desk_of(napari_viewer))
