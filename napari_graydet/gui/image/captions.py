"""Names of the ROIs, written in their layer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from napari.layers import Shapes

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.colors import ink, label_color
from napari_graydet.gui.control.session import Session
from napari_graydet.project.schema import RoiRecord

MAX_CAPTIONS = 6
"""Where more ROIs lie close together only the selected one is named, colours do the rest."""

LETTER, LINE = 0.018, 0.032
"""Width of a letter and height of a caption, as shares of the image's longer side, where all of the
image is seen in a window that is not large."""

TEXT: dict[str, Any] = {
    "string": "{caption}",
    "color": {"feature": "ink", "fallback": "white"},
    "size": 10,
    "anchor": "upper_left",
}
"""What a layer of ROIs makes of its features: captions stand on the upper edge, at its left."""

LETTERS = "0123456789. abcdefghijklmnopqrstuvwxyz"
"""What captions are spelt with, as a rule; the first drawing of a letter takes some 5 ms."""

Features = dict[str, Any]


def features(
    ids: list[str], captions: list[str], colors: list[str], inks: list[str] | None = None
) -> Features:
    """Return the features of as many rectangles; `inks` are the captions' colours."""
    columns = {"id": ids, "caption": captions, "color": colors, "ink": inks or colors}
    return {name: np.array(column, dtype=object) for name, column in columns.items()}


def room(roi: RoiBox, text: str, side: float) -> RoiBox:
    """Return what a caption covers in an image with this longer side."""
    x, y = roi.xyxy[:2]
    return RoiBox(x, y - LINE * side, x + max(LETTER * side * len(text), 1.0), y)


def letters(roi: RoiBox, text: str, side: float) -> list[RoiBox]:
    """Return what each letter of a caption covers."""
    area = room(roi, text, side)
    edges = np.linspace(area.x0, area.x1, len(text) + 1)
    return [RoiBox(a, area.y0, b, area.y1) for a, b in pairwise(edges)]


def brightness(image: GrayImage, area: RoiBox) -> float:
    """Return the mean gray of an area as it is shown, 0 to 1; beyond the image all is black."""
    seen = image.pixels[area.slices(image.shape)]
    gray = image.scale.to_unit(seen).sum()
    return float(gray / max(area.area, seen.size))


class Captions:
    """Says what stands beside each ROI of a session, so that it can be read.

    A caption that would lie on another one is left out, the selected ROI's never. On a bright
    part of the image it is dark, and where it begins on one and ends on the other in between.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def features(self, rois: tuple[RoiRecord, ...]) -> Features:
        """Return the id, the caption, the colour and the ink of each ROI."""
        captions = self._captions(rois)
        colors = [label_color(roi.label, self._session.classes) for roi in rois]
        inks = [self._ink(*row) for row in zip(rois, captions, colors, strict=True)]
        return features([roi.id for roi in rois], captions, colors, inks)

    def follow_selection(self, layer: Shapes, rois: tuple[RoiRecord, ...]) -> None:
        """Name the selected ROI where it was not named."""
        if list(layer.features["caption"]) != self._captions(rois):
            layer.features = self.features(rois)

    def _captions(self, rois: tuple[RoiRecord, ...]) -> list[str]:
        named: dict[str, str] = {}
        taken: list[RoiBox] = []
        chosen = self._session.roi_id
        for roi in sorted(rois, key=lambda roi: roi.id != chosen):  # the selected one first
            if len(rois) > MAX_CAPTIONS and roi.id != chosen:
                break
            text = roi.label if roi.score is None else f"{roi.label} {roi.score:.2f}"
            area = room(roi.roi_box, text, self._side)
            if all(area.iou(other) == 0 for other in taken):
                named[roi.id] = text
                taken.append(area)
        return [named.get(roi.id, "") for roi in rois]

    def _ink(self, roi: RoiRecord, caption: str, color: str) -> str:
        image = self._session.image
        if image is None or not caption:
            return color
        under = letters(roi.roi_box, caption, self._side)
        return ink(color, (brightness(image, letter) for letter in under))

    @property
    def _side(self) -> float:
        image = self._session.image
        return float(max(image.shape)) if image else 1.0
