"""The three layers of a viewer: made once, hidden while there is nothing to show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels, Layer, Shapes
from napari.viewer import Viewer

from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.image import rectangles
from napari_graydet.gui.image.captions import LETTERS, features

IMAGE, MASK, ROIS = "radiograph", "mask", "ROIs"
MASK_OPACITY = 0.4

BLANK = np.zeros((4, 4), dtype=np.uint8)
"""What the layers hold while they are hidden."""


class LayerTrio:
    """Radiograph, mask and ROIs of one viewer.

    A new layer costs napari some 0.1 s, and its first frame as much for the shaders; deleting one
    and adding another ends the program in software OpenGL. So they are made once, and then only
    their data change.

    Parameters
    ----------
    viewer
        The napari viewer.
    connect
        Called with each layer that was made.
    """

    def __init__(self, viewer: Viewer, connect: Callable[[Layer], None]) -> None:
        self.image: Image | None = None
        self.mask: Labels | None = None
        self.rois: Shapes | None = None
        self.hidden = False
        self._viewer = viewer
        self._connect = connect

    @property
    def complete(self) -> bool:
        """Whether all three layers are there."""
        return all(layer in self._viewer.layers for layer in (self.image, self.mask, self.rois))

    @property
    def present(self) -> list[Layer]:
        """Those that are there."""
        ours = (self.image, self.mask, self.rois)
        return [layer for layer in ours if layer is not None and layer in self._viewer.layers]

    def make_missing(
        self, pixels: npt.NDArray[np.integer] = BLANK, mask: npt.NDArray[np.uint8] = BLANK
    ) -> None:
        """Make one missing layer; the others in later turns, please."""
        layers = self._viewer.layers
        if self.image not in layers:
            self.image = self._viewer.add_image(pixels, name=IMAGE)
            layers.move(len(layers) - 1, 0)
            self._connect(self.image)
        elif self.mask not in layers:
            self.mask = self._viewer.add_labels(mask.copy(), name=MASK, opacity=MASK_OPACITY)
            self._connect(self.mask)
        elif self.rois not in layers:
            self.rois = rectangles.add_layer(self._viewer, ROIS)
            self._connect(self.rois)

    def show(self, pixels: npt.NDArray[np.integer], mask: npt.NDArray[np.uint8]) -> None:
        """Show another image with its mask, a copy; needs all three layers."""
        assert self.image is not None and self.mask is not None
        new_size = self.image.data.shape != pixels.shape
        self.unhide()
        if self.mask.data.dtype == mask.dtype and self.mask.ndim == mask.ndim:
            # On this event napari builds the shader anew, the same as before if the type is. That
            # the size is another one it hears from the image.
            with self.mask.events.data.blocker():
                self.mask.data = mask.copy()
        else:
            self.mask.data = mask.copy()
        self.image.data = pixels
        if new_size:
            self._clear_rois()  # those of the image before would be fitted into the view as well
            self._viewer.reset_view()

    def set_gray(self, low: float, high: float, *, inverted: bool) -> None:
        """Show gray values from black to white; napari works for each setting, changed or not."""
        layer, limits = self.image, [low, high]
        assert layer is not None
        if list(layer.contrast_limits_range) != limits:
            layer.contrast_limits_range = limits
        if list(layer.contrast_limits) != limits:
            layer.contrast_limits = limits
        colormap = "gray_r" if inverted else "gray"
        if layer.colormap.name != colormap:
            layer.colormap = colormap

    def hide(self) -> None:
        """Show nothing: there is no image."""
        self.hidden = True
        for layer in self.present:
            if layer is self.rois:
                self._clear_rois()
            else:
                layer.data = BLANK.copy()
            layer.visible = False
            self._viewer.layers.selection.discard(layer)

    def _clear_rois(self) -> None:
        assert self.rois is not None
        rectangles.put(self.rois, [], 1.0, features([], [], []))

    def unhide(self) -> None:
        """Show the layers again; what a person has hidden stays hidden."""
        if self.hidden:
            self.hidden = False
            for layer in self.present:
                layer.visible = True

    def examples(self) -> Iterator[None]:
        """Show something of everything that will be drawn, in two steps; needs all three layers."""
        assert self.mask is not None and self.rois is not None
        self.unhide()
        self._viewer.layers.selection.active = self.mask
        over, self._viewer.mouse_over_canvas = self._viewer.mouse_over_canvas, True
        self.mask.mode = "paint"  # with the brush, which is drawn under the mouse only
        yield
        self._viewer.mouse_over_canvas = over
        all_letters = features(["example"], [LETTERS], ["white"])
        rectangles.put(self.rois, [RoiBox(1, 1, 2, 2)], 0.1, all_letters)
        self._viewer.layers.selection.active = self.rois  # or what is selected gets no handles
        self.rois.mode = "select"
        self.rois.selected_data = {0}
        yield
        self.mask.mode = "pan_zoom"
        self.hide()
