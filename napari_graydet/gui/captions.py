"""Names of the ROIs, written in their layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Shapes

from napari_graydet.gui.colors import label_color
from napari_graydet.gui.session import Session
from napari_graydet.project.schema import RoiRecord

MAX_CAPTIONS = 6
"""Where more ROIs lie close together only the selected one is named, colours do the rest."""

TEXT: dict[str, Any] = {
    "string": "{caption}",
    "color": {"feature": "color", "fallback": "white"},
    "size": 10,
    "anchor": "upper_left",
}
"""What a layer of ROIs makes of its features."""

LETTERS = "0123456789. abcdefghijklmnopqrstuvwxyz"
"""What captions are spelt with, as a rule; the first drawing of a letter takes some 5 ms."""

Features = dict[str, Any]


def features(ids: list[str], captions: list[str], colors: list[str]) -> Features:
    """Return the features of as many rectangles."""
    columns = {"id": ids, "caption": captions, "color": colors}
    return {name: np.array(column, dtype=object) for name, column in columns.items()}


class Captions:
    """Says what stands beside each ROI of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def features(self, rois: tuple[RoiRecord, ...]) -> Features:
        """Return the id, the caption and the colour of each ROI."""
        return features(
            [roi.id for roi in rois],
            [self._caption(roi, len(rois)) for roi in rois],
            [label_color(roi.label, self._session.classes) for roi in rois],
        )

    def follow_selection(self, layer: Shapes, rois: tuple[RoiRecord, ...]) -> None:
        """Name the selected ROI where only that one is named."""
        if len(rois) > MAX_CAPTIONS:
            layer.features = self.features(rois)

    def _caption(self, roi: RoiRecord, count: int) -> str:
        if count > MAX_CAPTIONS and roi.id != self._session.roi_id:
            return ""
        return roi.label if roi.score is None else f"{roi.label} {roi.score:.2f}"
