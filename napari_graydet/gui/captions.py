"""Names of the ROIs, written in their layer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from napari.layers import Shapes

from napari_graydet.gui.colors import label_color
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.session import Session
from napari_graydet.project.schema import RoiRecord

MAX_CAPTIONS = 6
"""Where more ROIs lie close together only the selected one is named, colours do the rest."""

TURNS = 2
"""Over how many turns the first captions are written: classes, then scores.

The first drawing of a letter takes some 5 ms.
"""

PAUSE = 150
"""Milliseconds before each of these turns: rectangles, mask and cloud come first."""


class Captions:
    """Writes the captions.

    Parameters
    ----------
    session
        Whose ROIs they are.
    quietly
        Makes a context in which changes of the layer are no intents.
    """

    def __init__(
        self, session: Session, quietly: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._session = session
        self._quietly = quietly
        self._layer: Shapes | None = None
        self._turn = 0
        self._later = Deferred(self._next, PAUSE)

    def attach(self, layer: Shapes) -> None:
        """Write into a new layer from now on."""
        self._layer, self._turn = layer, 0

    def drop(self) -> None:
        """Forget what is still to be written."""
        self._later.drop()

    def write(self, rois: tuple[RoiRecord, ...]) -> None:
        """Give each rectangle the id and the caption of its ROI."""
        layer = self._layer
        if layer is None:
            return
        layer.features = {
            "id": np.array([roi.id for roi in rois], dtype=object),
            "caption": np.array([self._caption(roi) for roi in rois], dtype=object),
        }
        if self._turn < TURNS:
            self._later()
        if self._turn > 0:
            colors = [label_color(roi.label, self._session.classes) for roi in rois]
            layer.text.color = {
                "encoding_type": "ManualColorEncoding", "array": colors, "default": "white",
            }  # fmt: skip

    def follow_selection(self, rois: tuple[RoiRecord, ...]) -> None:
        """Name the selected ROI where only that one is named."""
        if len(rois) > MAX_CAPTIONS:
            with self._quietly():
                self.write(rois)

    def _next(self) -> None:
        annotation, layer = self._session.annotation, self._layer
        if annotation is None or layer is None or len(layer.data) != len(annotation.rois):
            return
        with self._quietly():
            if self._turn == 0:
                layer.text = {"string": "{caption}", "size": 10, "anchor": "upper_left"}
            self._turn += 1
            self.write(annotation.rois)

    def _caption(self, roi: RoiRecord) -> str:
        annotation, session = self._session.annotation, self._session
        if annotation and len(annotation.rois) > MAX_CAPTIONS and roi.id != session.roi_id:
            return ""
        plain = roi.score is None or self._turn < TURNS
        return roi.label if plain else f"{roi.label} {roi.score:.2f}"
