"""The errors of a model as a napari layer over the image."""

from __future__ import annotations

from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer

from napari_graydet.gui.control.errors_shown import ErrorsShown
from napari_graydet.gui.control.scored import EXTRA, HIT, MISSED
from napari_graydet.gui.image.layers import Layers
from napari_graydet.gui.links import Links

NAME = "errors"
NOTHING: dict[int | None, str] = {None: "#00000000", 0: "#00000000"}
COLORS: dict[int | None, str] = {HIT: "#7ddc8a", MISSED: "#3aa0ff", EXTRA: "#ff4d5e"}
"""Right, missed (FN), extra (FP): apart also for people who take red for green."""

OPACITY = 0.55


class Overlay:
    """Shows the errors while there are some; the mask is hidden meanwhile, not to cover them."""

    def __init__(self, viewer: Viewer, layers: Layers, errors: ErrorsShown) -> None:
        self._viewer, self._layers, self._errors = viewer, layers, errors
        self._layer: Labels | None = None
        self._mask_was_visible = True
        self._links = Links()
        self._links.add(errors.changed, self._show)

    def close(self) -> None:
        """Stop following; the layer goes."""
        self._links.close()
        self._remove()

    def _show(self) -> None:
        found = self._errors.map
        if found is None or not self._errors.visible:
            self._remove()
            return
        if self._layer is not None and self._layer in self._viewer.layers:
            self._layer.data = found
            return
        chosen = self._viewer.layers.selection.active
        self._layer = self._viewer.add_labels(found, name=NAME, opacity=OPACITY)
        self._layer.colormap = DirectLabelColormap(color_dict=NOTHING | COLORS)
        self._layer.editable = False
        self._viewer.layers.selection.active = chosen  # the tools go on working on their layer
        mask = self._layers.mask
        if mask is not None:
            self._mask_was_visible = mask.visible
            mask.visible = False

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is None:
            return
        if layer in self._viewer.layers:
            chosen = self._viewer.layers.selection.active
            self._viewer.layers.remove(layer)
            if chosen in self._viewer.layers:
                self._viewer.layers.selection.active = chosen
        mask = self._layers.mask
        if mask is not None and mask in self._viewer.layers:
            mask.visible = self._mask_was_visible
