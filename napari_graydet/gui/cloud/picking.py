"""Which handle of a box the mouse means; numpy only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_graydet.gui.cloud.cuboid import HIGH, LOW, Cuboid, Handle
from napari_graydet.gui.cloud.projection import Float, Projection

GRAB_HANDLE, GRAB_EDGE = 14.0, 6.0
"""Pixels within which a handle, or an edge of a face, is grabbed."""

SAME_SPOT = 6.0
"""Handles nearer than this many pixels cannot be told apart before the mouse moves."""


def pick(box: Cuboid, camera: Projection, pixel: npt.ArrayLike) -> Handle | None:
    """Return the handle, or the face by one of its edges, at a canvas pixel (x, y)."""
    at = np.asarray(pixel, dtype=np.float64)
    away = np.linalg.norm(camera.to_canvas([handle.at for handle in box.handles]) - at, axis=1)
    if away.min() <= GRAB_HANDLE:
        return box.handles[int(away.argmin())]
    near = {face: _distance(at, camera.to_canvas(line)) for face, line in box.outlines.items()}
    face = min((LOW, HIGH), key=lambda name: near[name])
    if near[face] > GRAB_EDGE:
        return None
    return next(h for h in box.handles if h.face == face and h.knot is None)


def meant(box: Cuboid, camera: Projection, picked: Handle, upwards: bool) -> Handle:
    """Return the handle that a drag means, by its direction, where two lie on one spot.

    Where top and bottom meet, dragging up takes the upper face and dragging down the lower one:
    the other way they would not move.
    """
    other = next(h for h in box.handles if h.knot == picked.knot and h.face != picked.face)
    spots = camera.to_canvas([picked.at, other.at])
    if np.linalg.norm(spots[0] - spots[1]) > SAME_SPOT:
        return picked
    upper, lower = (picked, other) if picked.face == box.upper else (other, picked)
    return upper if upwards else lower


def _distance(at: Float, line: Float) -> float:
    """Return the distance in pixels from a point to a polyline."""
    start, way = line[:-1], line[1:] - line[:-1]
    length = np.maximum((way**2).sum(axis=1), 1e-12)
    share = np.clip(((at - start) * way).sum(axis=1) / length, 0.0, 1.0)
    return float(np.linalg.norm(start + share[:, None] * way - at, axis=1).min())
