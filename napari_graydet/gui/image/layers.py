"""napari layers <-> session: the only place that names layer types.

Three layers are ours: the radiograph, the mask, the ROIs. They are views of the record: what a
person does to them becomes an intent, and whatever happens to them otherwise (deleted, replaced,
odd shapes drawn) is put right from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from napari.utils.colormaps import DirectLabelColormap
from napari.viewer import Viewer

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.errors import MaskError
from napari_graydet.gui.colors import class_color
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.mask_model import Window
from napari_graydet.gui.defer import TURN, Deferred
from napari_graydet.gui.image import rectangles
from napari_graydet.gui.image.captions import Captions
from napari_graydet.gui.image.fitted_view import FittedView
from napari_graydet.gui.image.trio import LayerTrio
from napari_graydet.gui.links import Links
from napari_graydet.project.schema import RoiRecord

READY = "Ready"
"""napari's first status; it takes the rehearsal's layers for something to tell of."""


class Tool(StrEnum):
    """What the mouse does in the image."""

    SELECT = "select"
    DRAW = "draw"
    PAINT = "paint"
    ERASE = "erase"
    PAN = "pan"


class Layers:
    """The three layers of one viewer.

    Parameters
    ----------
    viewer
        The napari viewer.
    controller
        Takes the intents; its session is shown.
    on_tool
        Called when the tool has changed.
    """

    def __init__(
        self, viewer: Viewer, controller: Controller, on_tool: Callable[[Tool], None]
    ) -> None:
        self.viewer = viewer
        self.tool = Tool.SELECT
        self._controller = controller
        self._session = controller.session
        self._on_tool = on_tool
        self._updating = False
        self._shown: list[tuple[object, ...]] = []
        self._clicked = False  # without a drag, where rectangles are drawn
        self._colors: dict[int | None, str] = {}
        self._pictured: GrayImage | None = None
        self._trio = LayerTrio(viewer, self._made)
        self._fitted = FittedView(viewer)
        self._captions = Captions(self._session)
        self._restore = Deferred(self._make_next, TURN)
        self._show_later = Deferred(self._show_image)
        self._read_rois = Deferred(self._rois_edited)
        self._read_mask = Deferred(self._mask_painted)
        self._set_mode_next = Deferred(self._set_mode)
        session, self._links = self._session, Links()
        self._links.add(session.image_changed, self._show_image)
        self._links.add(session.record_changed, self._show_rois)
        self._links.add(session.selection_changed, self._show_selection)
        self._links.add(session.project_changed, self._show_classes)
        self._links.add(session.mask_changed, self._show_mask)
        viewer.layers.events.removed.connect(self._on_removed)

    def close(self) -> None:
        """Stop following; the layers stay as they are."""
        self._links.close()
        self._fitted.close()
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        for pending in (self._restore, self._show_later, self._read_rois, self._read_mask,
                        self._set_mode_next):  # fmt: skip
            pending.drop()

    def use(self, tool: Tool) -> None:
        """Choose what the mouse does; selects the layer that it works on."""
        if self.rois is None or self.mask is None or self._trio.hidden:
            return
        self.tool = tool
        layer: Layer = self.mask if tool in (Tool.PAINT, Tool.ERASE) else self.rois
        if self.viewer.layers.selection.active is layer:
            self._set_mode()
        else:  # each of the two costs a frame
            self.viewer.layers.selection.active = layer
            self._set_mode_next()
        self._on_tool(tool)

    def _set_mode(self) -> None:
        """Give the layer that the tool works on the tool's mode."""
        layer = self.viewer.layers.selection.active
        modes = {Tool.SELECT: "select", Tool.DRAW: "add_rectangle", Tool.PAINT: "paint",
                 Tool.ERASE: "erase", Tool.PAN: "pan_zoom"}  # fmt: skip
        if layer is not None and layer in (self.mask, self.rois):
            layer.mode = modes[self.tool]

    def set_brush(self, size: int) -> None:
        """Set the diameter of the brush, pixels."""
        if self.mask is not None and self.mask.brush_size != size:
            self.mask.brush_size = size

    # Making and restoring -----------------------------------------------------------------------

    @property
    def image(self) -> Image | None:
        """The radiograph."""
        return self._trio.image

    @property
    def mask(self) -> Labels | None:
        """The mask."""
        return self._trio.mask

    @property
    def rois(self) -> Shapes | None:
        """The ROIs."""
        return self._trio.rois

    @property
    def complete(self) -> bool:
        """Whether all three layers are there."""
        return self._trio.complete

    def prepare(self) -> bool:
        """Make one layer before there is an image, hidden; return whether all are there."""
        if self._session.image is None:
            with _Quiet(self):
                self._trio.make_missing()
                self._trio.hide()
        return self.complete

    def examples(self) -> Iterator[None]:
        """While there is no image, show examples of everything, and in the end nothing again.

        Whoever has each drawn makes napari and OpenGL prepare what images will need.
        """
        if self.complete and self._trio.hidden:
            with _Quiet(self):
                yield from self._trio.examples()

    def _make_next(self) -> None:
        """Make one missing layer, and the others in later turns: each costs about a frame."""
        session = self._session
        if session.image is None or session.masks is None:
            return
        with _Quiet(self):
            self._trio.unhide()
            self._trio.make_missing(session.image.pixels, session.masks.map)
        if not self.complete:
            self._restore()
            return
        if self._pictured is not session.image:  # somebody went on meanwhile
            self._show_image()
        self._show_classes()
        self._show_rois()
        self.use(self.tool)

    def _made(self, layer: Layer) -> None:
        if isinstance(layer, Image):
            layer.events.data.connect(self._on_image_data)
            self._pictured = self._session.image
            if self._pictured is not None:
                self._show_gray(self._pictured)
        elif isinstance(layer, Labels):
            self._colors = {}
            self._connect_mask(layer)
        elif isinstance(layer, Shapes):
            self._connect_rois(layer)
            self._shown = []

    def _connect_mask(self, layer: Labels) -> None:
        layer.events.paint.connect(lambda _event: self._read_mask())
        layer.events.data.connect(lambda _event: None if self._updating else self._read_mask())
        layer.events.mode.connect(lambda _event: self._mode_changed())
        for key in ("Control-Z", "Control-Shift-Z"):
            undo = key == "Control-Z"
            layer.bind_key(key, self._undo if undo else self._redo, overwrite=True)

    def _connect_rois(self, layer: Shapes) -> None:
        layer.events.data.connect(self._on_rois_data)
        layer.events.mode.connect(lambda _event: self._mode_changed())
        layer.selected_data.events.items_changed.connect(self._on_selected)
        layer.mouse_drag_callbacks.append(self._while_dragged)

    def _undo(self, _layer: object) -> None:
        self._controller.undo()

    def _redo(self, _layer: object) -> None:
        self._controller.redo()

    def _on_removed(self, event: Any) -> None:
        if not self._updating and event.value in (self.image, self.mask, self.rois):
            self._restore()

    def _on_image_data(self, _event: object) -> None:
        if not self._updating:
            self._pictured = None
            self._show_later()

    # Session -> layers --------------------------------------------------------------------------

    def _show_image(self) -> None:
        session = self._session
        if session.image is None or session.masks is None:
            self._clear()
            return
        if not self.complete:
            self._restore()
            return
        appears = self._trio.hidden
        with _Quiet(self):
            self._trio.show(session.image.pixels, session.masks.map)
            self._pictured = session.image
            self._show_gray(session.image)
        self._shown = []
        self._show_rois()
        if appears:
            self.use(self.tool)
            self.viewer.status = READY

    def _clear(self) -> None:
        self._pictured, self._shown = None, []
        with _Quiet(self):
            self._trio.hide()

    def _show_gray(self, image: GrayImage) -> None:
        low, high = sorted((image.scale.black, image.scale.white))
        self._trio.set_gray(low, high, inverted=image.scale.inverted)

    def _show_classes(self) -> None:
        if self.mask is None:
            return
        colors: dict[int | None, str] = {None: "#00000000", 0: "#00000000"}
        colors |= {i + 1: class_color(i) for i in range(len(self._session.classes))}
        if colors == self._colors:
            return
        self._colors = colors
        with _Quiet(self):
            self.mask.colormap = DirectLabelColormap(color_dict=colors)
        self._shown = []
        self._show_rois()

    def _show_mask(self, window: Window) -> None:
        masks, layer = self._session.masks, self.mask
        if masks is None or layer is None or layer not in self.viewer.layers:
            return
        with _Quiet(self):
            if layer.data.shape != masks.map.shape or layer.data.dtype != masks.map.dtype:
                layer.data = masks.map.copy()
                return
            layer.data[window] = masks.map[window]
            if layer.contour or self.viewer.dims.ndisplay != 2:
                layer.refresh(thumbnail=False, extent=False)
            elif layer.data[window].size:  # upload only what changed: a drag has 50 ms a frame
                offset = [window[0].start, window[1].start]
                layer.events.labels_update(data=layer.data[window], offset=offset)

    def _show_rois(self) -> None:
        annotation, layer = self._session.annotation, self.rois
        if annotation is None or layer is None or layer not in self.viewer.layers:
            return
        wanted = [(r.id, *r.roi_box.xyxy, r.label, r.score) for r in annotation.rois]
        if wanted != self._shown or len(layer.data) != len(wanted):
            with _Quiet(self):
                self._draw_rois(layer, annotation.rois)
            self._shown = list(wanted)
        self._select(layer)

    def _draw_rois(self, layer: Shapes, rois: tuple[RoiRecord, ...]) -> None:
        boxes = [roi.roi_box for roi in rois]
        rectangles.put(layer, boxes, self._edge_width(), self._captions.features(rois))

    def _edge_width(self) -> float:
        image = self._session.image
        return max(image.shape) / 350 if image else 1.0

    def _show_selection(self) -> None:
        annotation, layer = self._session.annotation, self.rois
        if layer is None or annotation is None or len(layer.data) != len(annotation.rois):
            return
        with _Quiet(self):
            self._captions.follow_selection(layer, annotation.rois)
        self._select(layer)

    def _select(self, layer: Shapes) -> None:
        session = self._session
        ids = [roi.id for roi in session.annotation.rois] if session.annotation else []
        wanted = {ids.index(session.roi_id)} if session.roi_id in ids else set()
        with _Quiet(self):
            if set(layer.selected_data) != wanted:
                layer.selected_data = wanted
            if self.mask is not None and session.label in session.classes:
                self.mask.selected_label = session.classes.index(session.label) + 1

    # Layers -> intents --------------------------------------------------------------------------

    def _mode_changed(self) -> None:
        """Follow a tool chosen with napari's own buttons and keys."""
        layer = self.viewer.layers.selection.active
        if self._updating or layer not in (self.mask, self.rois) or layer is None:
            return
        tools = {"paint": Tool.PAINT, "erase": Tool.ERASE, "select": Tool.SELECT,
                 "add_rectangle": Tool.DRAW, "pan_zoom": Tool.PAN}  # fmt: skip
        tool = tools.get(str(layer.mode))
        if tool is not None and tool is not self.tool:
            self.tool = tool
            self._on_tool(tool)

    def _on_rois_data(self, event: Any) -> None:
        finished = str(getattr(event.action, "value", event.action)) in (
            "added", "changed", "removed",
        )  # fmt: skip
        if finished and not self._updating:
            self._read_rois()

    def _on_selected(self) -> None:
        session, layer = self._session, self.rois
        if self._updating or layer is None or session.annotation is None:
            return
        if len(layer.data) != len(session.annotation.rois):
            return  # a shape is being drawn or deleted
        chosen = sorted(layer.selected_data)
        if chosen and chosen[-1] < len(session.annotation.rois):
            self._controller.select_roi(session.annotation.rois[chosen[-1]].id)

    def _while_dragged(self, layer: Shapes, event: Any) -> Iterator[None]:
        """Let mask, histogram and cuboid follow an ROI while it is dragged."""
        self._clicked = self.tool is Tool.DRAW
        yield
        preview = Deferred(self._controller.preview_roi)
        while event.type == "mouse_move":
            self._clicked = False
            chosen, annotation = self._session.roi, self._session.annotation
            if chosen and annotation and len(layer.data) == len(annotation.rois):
                roi = rectangles.box_of(layer.data[annotation.rois.index(chosen)])
                if self.tool is Tool.SELECT and roi is not None and roi != chosen.roi_box:
                    preview(chosen.id, roi)
            yield
        preview.drop()

    def _rois_edited(self) -> None:
        """Compare the rectangles with the record and turn the difference into intents."""
        annotation, layer = self._session.annotation, self.rois
        if annotation is None or layer is None:
            return
        known = {roi.id: roi for roi in annotation.rois}
        ids = [str(v) for v in layer.features.get("id", [])]
        seen: set[str] = set()
        moved, drawn = [], []
        for roi_id, corners in zip(ids, list(layer.data), strict=False):
            box = rectangles.box_of(corners)
            if roi_id not in known or roi_id in seen:
                drawn.append(None if self._clicked else box)
                continue
            seen.add(roi_id)
            if box is not None and not rectangles.same(box, known[roi_id].roi_box):
                moved.append((roi_id, box))
        self._clicked = False
        self._shown = []  # odd shapes become rectangles when the record is drawn again
        self._controller.delete_rois([roi_id for roi_id in known if roi_id not in seen])
        for roi_id, box in moved:
            self._controller.move_roi(roi_id, box)
        for box in drawn:
            if box is None:
                self._controller.say("An ROI needs an area: drag a rectangle.", "warning")
            else:
                self._controller.add_roi(box)
        self._show_rois()
        if any(box is not None for box in drawn) and self.tool is Tool.DRAW:
            self.use(Tool.SELECT)

    def _mask_painted(self) -> None:
        session, layer = self._session, self.mask
        if layer is None or session.masks is None:
            return
        try:
            self._controller.paint(np.asarray(layer.data))
        except MaskError as error:
            self._controller.fail(error)
        self._show_mask(session.whole_window())


class _Quiet:
    """While it lasts, changes of the layers are ours and no intents."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def __enter__(self) -> None:
        self._before = self._layers._updating
        self._layers._updating = True

    def __exit__(self, *_: object) -> None:
        self._layers._updating = self._before
