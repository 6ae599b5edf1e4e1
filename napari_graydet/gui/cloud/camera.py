"""The camera of the cloud's canvas: a turntable that keeps the gray axis up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.components.camera import Camera
from qtpy.QtWidgets import QWidget

from napari_graydet.gui.cloud.projection import STEEPEST, UP, Float, Projection, view_direction

_AZIMUTH, _ELEVATION, _FOV = 28.0, 24.0, 22.0
_SIDE, _ABOVE, _LEAST_ABOVE, _SHARE_ABOVE = 30.0, 24.0, 12.0, 0.12
"""Pixels kept free beside and above the cloud; above, no more than a share of a low canvas."""

_DEGREES_PER_PIXEL = 0.5
_ZOOM_PER_NOTCH = 1.1

MOVES = ("mouse_move", "mouse_release")
"""Events of a drag that carry a new position: napari may leave out the last moves."""


class TurntableCamera:
    """Turns, shifts and fits napari's 3D camera.

    napari's own mouse turns freely about all axes; in a cloud over an image that is a way to get
    lost, so it is switched off. Make this after the layers: napari switches its mouse on again
    whenever the active layer changes.

    Parameters
    ----------
    camera
        napari's camera model.
    canvas
        The widget that it draws to.
    """

    def __init__(self, camera: Camera, canvas: QWidget) -> None:
        self._camera = camera
        self._canvas = canvas
        self._azimuth, self._elevation = _AZIMUTH, _ELEVATION
        self.default = True
        """Whether the person has not chosen a view, so that it may be fitted anew."""
        camera.mouse_pan = camera.mouse_zoom = False
        camera.perspective = _FOV
        self._aim()

    def projection(self) -> Projection:
        """Return the present camera as numbers."""
        camera = self._camera
        size = max(self._canvas.width(), 1), max(self._canvas.height(), 1)
        view = tuple(float(v) for v in camera.view_direction)
        up = tuple(float(v) for v in camera.up_direction)
        return Projection(camera.center, view, up, camera.zoom, camera.perspective, size)

    def reset(self, corners: Float | None) -> None:
        """Look from the default side, with all corners, (N, 3) world, in view."""
        self._azimuth, self._elevation, self.default = _AZIMUTH, _ELEVATION, True
        self._aim()
        if corners is not None:
            above = float(np.clip(_SHARE_ABOVE * self._canvas.height(), _LEAST_ABOVE, _ABOVE))
            fitted = self.projection().fitted(corners, (_SIDE, above))
            self._camera.center, self._camera.zoom = fitted.center, fitted.zoom

    def zoom(self, notches: float) -> None:
        """Zoom by notches of the wheel; positive comes nearer."""
        self.default = False
        self._camera.zoom *= _ZOOM_PER_NOTCH**notches

    def turn(self, event: Any) -> Iterator[None]:
        """Turn while the mouse is dragged (a napari drag generator)."""
        azimuth, elevation, start = self._azimuth, self._elevation, np.array(event.pos)
        yield
        while event.type in MOVES:
            dx, dy = (np.array(event.pos) - start) * _DEGREES_PER_PIXEL
            self._azimuth = azimuth + dx
            self._elevation = float(np.clip(elevation + dy, -STEEPEST, STEEPEST))
            self.default = False
            self._aim()
            yield

    def shift(self, event: Any) -> Iterator[None]:
        """Shift the view while the mouse is dragged (a napari drag generator)."""
        camera, start = self.projection(), np.array(event.pos)
        yield
        while event.type in MOVES:
            dx, dy = (np.array(event.pos) - start) / camera.zoom
            center = np.asarray(camera.center) - camera.right * dx + np.asarray(camera.up) * dy
            self.default = False
            self._camera.center = tuple(float(v) for v in center)
            yield

    def _aim(self) -> None:
        self._camera.set_view_direction(view_direction(self._azimuth, self._elevation), UP)
