"""Keeps an image fitted to its canvas until a person chooses a view."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel

from napari_graydet.gui.links import Links


class FittedView:
    """Fits the image anew when the canvas gets another size.

    napari fits when asked to, and leaves the image as it is when the window or a dock changes: in
    a smaller window it is cut off. Who has zoomed, shifted or turned keeps the view; Home, or an
    image of another size, fits again.

    Parameters
    ----------
    viewer
        The napari viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._fitted: tuple[float, ...] | None = None
        self._links = Links()
        self._links.add(viewer.events.reset_view, self._remember)
        self._links.add(viewer.canvas.events.size, self._fit)

    def close(self) -> None:
        """Leave the view alone."""
        self._links.close()

    def _view(self) -> tuple[float, ...]:
        camera = self._viewer.scene.camera
        return (camera.zoom, *camera.center, *camera.angles)

    def _remember(self, event: object) -> None:
        self._fitted = self._view()

    def _fit(self, event: object) -> None:
        if self._fitted is not None and np.allclose(self._view(), self._fitted, rtol=1e-3):
            self._viewer.reset_view()
