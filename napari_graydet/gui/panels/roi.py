"""The ROI panel: detecting, tools, objects."""

from __future__ import annotations

from qtpy.QtWidgets import QVBoxLayout

from napari_graydet.gui.desk import Desk
from napari_graydet.gui.panels.base import GAP, Panel
from napari_graydet.gui.panels.message import MessageBar
from napari_graydet.gui.panels.models import ModelLine
from napari_graydet.gui.panels.objects import ObjectsPanel
from napari_graydet.gui.panels.tools import ToolsBar


class RoiPanel(Panel):
    """Find objects, draw them, name them."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        layout = QVBoxLayout(self)
        layout.setSpacing(GAP)
        layout.addWidget(MessageBar(desk))
        layout.addWidget(ToolsBar(desk))
        layout.addWidget(ModelLine(desk))
        layout.addWidget(ObjectsPanel(desk), 1)
