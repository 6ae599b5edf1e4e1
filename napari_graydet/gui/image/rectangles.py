"""The rectangles of a napari layer, put in all at once and read back."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Shapes
from napari.viewer import Viewer

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.gui.image.captions import TEXT, Features, features

TOLERANCE = 0.02
"""Pixels by which a rectangle may differ from its record without counting as moved."""


def add_layer(viewer: Viewer, name: str) -> Shapes:
    """Add a layer without rectangles."""
    return viewer.add_shapes(
        name=name, ndim=2, features=features([], [], []), text=TEXT, opacity=1.0
    )


def put(layer: Shapes, boxes: list[RoiBox], width: float, known: Features) -> None:
    """Replace all rectangles, with their features.

    napari draws the layer anew for each step on the way and for each who listens; told of nothing
    until all is there, it does so once.
    """
    with layer.events.blocker_all():
        layer.selected_data = set()
        layer.data = []
        if boxes:
            layer.add_rectangles(
                [box.to_napari() for box in boxes],
                edge_width=width, edge_color=list(known["color"]), face_color="#00000000",
            )  # fmt: skip
            layer.features = known
    layer.refresh(thumbnail=False)


def box_of(corners: Any) -> RoiBox | None:
    """Return the box around a shape; None if it has no area."""
    try:
        return RoiBox.from_napari(corners)
    except GeometryError:
        return None


def same(a: RoiBox, b: RoiBox) -> bool:
    """Tell whether two boxes are the same for a person."""
    return bool(np.allclose(a.xyxy, b.xyxy, rtol=0, atol=TOLERANCE))
