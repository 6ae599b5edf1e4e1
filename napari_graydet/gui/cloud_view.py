"""The cloud (x, y, gray) of an ROI with its 3D box, on a canvas of its own.

A view: it shows what it is told and says what the person does; it changes no record. The cloud
cannot stand in the main viewer: its third axis would give the image a slider and take the editing
of shapes away. So this is a second napari canvas, with napari layers for the cloud and the faces,
and a transparent overlay for edges, handles and names: there they are crisp, never hidden, and
follow the mouse without anything being uploaded to the graphics card.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components.viewer_model import ViewerModel
from napari.layers import Layer, Points, Surface
from napari.qt import QtViewer
from napari.utils import Colormap
from qtpy.QtCore import (  # type: ignore[attr-defined, unused-ignore]
    QEvent,
    QObject,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QCloseEvent, QColor, QImage, QResizeEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.cloud_camera import MOVES, TurntableCamera
from napari_graydet.gui.cloud_overlay import CloudOverlay, OverlayPicture
from napari_graydet.gui.cloud_points import ShownCloud
from napari_graydet.gui.cuboid import Cuboid, Handle, cuboid, moved
from napari_graydet.gui.picking import meant, pick
from napari_graydet.gui.projection import Projection
from napari_graydet.gui.theme import ViewColours, mix, rgb

EMPTY_TEXT = "Select an ROI to see its cloud"
MAX_POINTS = 16_000
"""Points shown: enough to fill a dock, and one frame stays under 0.1 s in software OpenGL."""

_NOTHING = np.zeros((1, 3))


class CloudView(QWidget):
    """The cloud of an ROI with a box whose top and bottom can be dragged.

    Drag a handle or an edge of a face to move a threshold, a corner of a tilted box to tilt it.
    Drag beside them to turn, with Shift or the right button to shift; the wheel zooms, a double
    click resets.

    Signals
    -------
    drag_started()
        Before the first change of a drag.
    box_dragged(GrayBox)
        The new box after every change.
    box_released(GrayBox)
        Once at the end.
    """

    drag_started = Signal()
    box_dragged = Signal(object)
    box_released = Signal(object)

    def __init__(self, parent: QWidget | None = None, *, max_points: int = MAX_POINTS) -> None:
        super().__init__(parent)
        self._max_points = max_points
        self._shown: ShownCloud | None = None
        self._box: GrayBox | None = None
        self._cuboid: Cuboid | None = None
        self._coloured: tuple[object, ...] | None = None
        self._accent: QColor | None = None
        self._hovered: Handle | None = None
        self._held: Handle | None = None
        self._closed = False
        self.setMinimumSize(200, 180)
        self.setAccessibleName("Cloud of the ROI's pixels in x, y and gray, with the 3D box")
        self.setToolTip(
            "Drag a handle to move a threshold. Drag beside it to turn, with Shift to shift; "
            "the wheel zooms, a double click resets."
        )
        self._colours = ViewColours.of(self)
        self._host: QWidget | None = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._build_canvas()
        self._apply_colours()

    def _build_canvas(self) -> None:
        self._model = ViewerModel(title="cloud", ndisplay=3)
        self._model.mouse_drag_callbacks[:] = [self._on_drag]
        self._model.mouse_move_callbacks[:] = [self._on_move]
        self._model.mouse_double_click_callbacks[:] = [self._on_double_click]
        self._model.mouse_wheel_callbacks[:] = [self._on_wheel]
        camera = self._model.scene.camera
        self._viewer = QtViewer(self._model)
        self._viewer.setAcceptDrops(False)
        self._native: QWidget = self._viewer.canvas.native
        self._build_layers()
        self._camera = TurntableCamera(camera, self._native)
        self._overlay = CloudOverlay(self._native)
        for widget in (self._native, self._viewer):
            widget.installEventFilter(self)
        for event in (camera.events.zoom, camera.events.center, camera.events.angles):
            event.connect(self._redraw_overlay)
        box = self.layout()
        assert box is not None  # made at the start
        box.addWidget(self._viewer)

    def _drop_canvas(self) -> None:
        for widget in (self._native, self._viewer):
            widget.removeEventFilter(self)
        model = self._model
        for callbacks in (
            model.mouse_drag_callbacks,
            model.mouse_move_callbacks,
            model.mouse_double_click_callbacks,
            model.mouse_wheel_callbacks,
        ):
            callbacks.clear()
        self._viewer.hide()
        self._viewer.close()

    def _rebuild_canvas(self) -> None:
        """Replace the canvas by a new one that shows the same."""
        if self._closed:
            return
        self._drop_canvas()
        self._build_canvas()
        self._hovered = self._held = self._host = None
        self._apply_colours()
        if self._shown is not None:
            self._show_points(self._shown)
        self.reset_camera()
        self._show_cuboid()

    def _build_layers(self) -> None:
        """Add all layers once; afterwards only their data changes."""
        self._points = Points(
            _NOTHING,
            border_width=0,
            antialiasing=0,
            shading="none",
            name="cloud",
            visible=False,
        )
        triangle = (np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros(3))
        self._faces = Surface(triangle, opacity=0.28, shading="none", name="faces", visible=False)
        self._faces.contrast_limits = (0, 1)
        self._faces.blending = "translucent"
        for layer in (self._points, self._faces):
            self._model.add_layer(layer)
        self._model.layers.selection.clear()

    # what is shown

    def set_cloud(self, image: GrayImage | None, roi: RoiBox | None) -> None:
        """Show the pixels of an ROI; without image or ROI, show the empty state.

        The box is kept; follow up with `set_box`.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        """
        if self._closed:
            return
        if image is None or roi is None:
            self._shown = None
        elif self._shown is None or self._shown.image is not image or self._shown.roi != roi:
            self._shown = ShownCloud.of(image, roi, self._max_points)
            self._show_points(self._shown)
            if self._camera.default:
                self.reset_camera()
        self._show_cuboid()

    def set_box(self, box: GrayBox | None, *, refresh_colours: bool = True) -> None:
        """Show a box, or none.

        Parameters
        ----------
        box
            The box; its extent need not be the cloud's.
        refresh_colours
            Whether the points inside are coloured anew. That is the slow part: leave it out while
            a threshold is dragged.
        """
        if self._closed:
            return
        if not _same(box, self._box):
            self._box = box
            self._show_cuboid()
        if refresh_colours:
            self._colour_points()

    def clear(self) -> None:
        """Show the empty state."""
        self._box = None
        self.set_cloud(None, None)

    def set_accent(self, colour: QColor | None) -> None:
        """Draw the box in another colour (the label's); None is the theme's accent."""
        self._accent = colour
        self._apply_colours()

    def reset_camera(self) -> None:
        """Look from the default side, with the whole cloud in view."""
        self._camera.reset(self._shown.space.corners() if self._shown else None)
        self._redraw_overlay()

    def projection(self) -> Projection:
        """Return the present camera: world (gray, y, x) to canvas pixels and back."""
        return self._camera.projection()

    def handles(self) -> tuple[Handle, ...]:
        """Return the handles that are shown."""
        return self._cuboid.handles if self._cuboid is not None else ()

    def screenshot(self) -> QImage:
        """Return a picture of the view as it stands."""
        return self.grab().toImage()

    @property
    def canvas(self) -> QWidget:
        """The widget that takes the mouse."""
        return self._native

    @property
    def model(self) -> ViewerModel:
        """napari's model of this canvas."""
        return self._model

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for a dock's width and about the same height."""
        return QSize(360, 320)

    # drawing

    def _show_points(self, shown: ShownCloud) -> None:
        _show(self._points, True)  # napari slices no hidden layer: its old indices would stay
        self._points.data = shown.points
        self._points.size = shown.spacing
        self._coloured = None
        self._colour_points()

    def _show_cuboid(self) -> None:
        self._cuboid = None
        if self._shown is not None and self._box is not None:
            self._cuboid = shape = cuboid(self._box, self._shown.space)
            self._faces.data = (shape.vertices, shape.triangles, shape.shades)
        _show(self._points, self._shown is not None)
        _show(self._faces, self._cuboid is not None)
        self._redraw_overlay()

    def _colour_points(self) -> None:
        """Colour by gray, and by accent what is inside the box; only if something changed."""
        shown, box, colours = self._shown, self._box, self._colours
        if shown is None:
            return
        key = (shown, box and (box.roi, box.low.tobytes(), box.high.tobytes()), colours)
        if key == self._coloured:
            return
        self._coloured = key
        self._points.face_color = shown.colours(box, rgb(colours.accent), on_dark=colours.dark)

    def _apply_colours(self) -> None:
        colours = self._colours = ViewColours.of(self, self._accent)
        ground = mix(colours.ground, QColor("black" if colours.dark else "white"), 0.35)
        self._model.canvas.background_color_override = rgb(ground)
        accent = np.array(rgb(colours.accent))
        self._faces.colormap = Colormap([accent, accent])
        self._coloured = None
        self._colour_points()
        self._redraw_overlay()

    def _follow_theme(self) -> None:
        if ViewColours.of(self, self._accent) != self._colours:
            self._apply_colours()

    def _redraw_overlay(self, event: object = None) -> None:
        shown = self._shown
        if shown is None:
            self._overlay.show_text(EMPTY_TEXT, self._colours)
            return
        picture = OverlayPicture(
            self.projection(), shown.space, self._cuboid, self._held or self._hovered
        )
        self._overlay.show_picture(picture, self._colours)

    # the mouse

    def handle_at(self, pixel: npt.ArrayLike) -> Handle | None:
        """Return the handle, or the face by one of its edges, at a canvas pixel (x, y)."""
        if self._cuboid is None:
            return None
        return pick(self._cuboid, self.projection(), pixel)

    def _on_move(self, model: ViewerModel, event: Any) -> None:
        if event.is_dragging:
            return
        self._hover(self.handle_at(event.pos))

    def _hover(self, handle: Handle | None) -> None:
        if handle != self._hovered:
            self._hovered = handle
            self._redraw_overlay()
        shape = Qt.CursorShape.SizeVerCursor if handle else Qt.CursorShape.OpenHandCursor
        self._native.setCursor(shape if self._shown else Qt.CursorShape.ArrowCursor)

    def _on_double_click(self, model: ViewerModel, event: Any) -> None:
        self.reset_camera()

    def _on_wheel(self, model: ViewerModel, event: Any) -> None:
        event.handled = True
        self._camera.zoom(event.delta[1])

    def _on_drag(self, model: ViewerModel, event: Any) -> Iterator[None]:
        event.handled = True  # or vispy draws the whole scene once more to find what was hit
        if self._shown is None:
            return
        handle = self.handle_at(event.pos) if event.button == 1 else None
        if handle is not None:
            yield from self._drag_handle(handle, event)
        elif event.button == 1 and not event.modifiers:
            yield from self._camera.turn(event)
        else:
            yield from self._camera.shift(event)

    def _drag_handle(self, handle: Handle, event: Any) -> Iterator[None]:
        """Move a face or a corner along the gray axis, under the mouse."""
        start, shown, shape = self._box, self._shown, self._cuboid
        assert start is not None and shown is not None and shape is not None  # a handle was found
        camera = self.projection()
        press = np.asarray(event.pos, dtype=np.float64)
        began = False
        self._held = handle
        try:
            yield
            while event.type in MOVES:
                if self._box is None or self._shown is not shown:
                    return  # somebody took the box away
                way = np.asarray(event.pos, dtype=np.float64) - press
                if not began:
                    self._held = handle = meant(shape, camera, handle, upwards=way[1] < 0)
                spot = camera.to_canvas([handle.at])[0]
                rise = camera.height_at(spot + way, *handle.at[1:]) - handle.at[0]
                box = moved(start, handle, rise, shown.space)
                if not _same(box, self._box):
                    if not began:
                        began = True
                        self.drag_started.emit()
                    self.set_box(box, refresh_colours=False)
                    self.box_dragged.emit(box)
                if event.type == "mouse_release":
                    break
                yield
        finally:
            self._held = None
            self._redraw_overlay()
        if began:
            self._colour_points()
            self.box_released.emit(self._box)

    # the window

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Pass keys on to the window, and notice when the mouse leaves the canvas.

        napari's own key bindings would act on this canvas as on any viewer (toggle 2D, delete
        layers); the person means the main one.
        """
        if event is None or self._closed:
            return False
        if event.type() in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            event.ignore()
            return True
        if watched is self._native:
            if event.type() in (QEvent.Type.Paint, QEvent.Type.Resize) and self._stranded():
                return True
            if event.type() == QEvent.Type.Leave:
                self._hover(None)
            elif event.type() == QEvent.Type.Resize:
                self._overlay.resize(self._native.size())
                if self._camera.default:
                    self.reset_camera()
        return False

    def _stranded(self) -> bool:
        """Tell whether the canvas has come to another window than the one it was drawn in.

        That happens when a dock is floated or docked again: OpenGL loses all data on the way, and
        drawing on would end the program. A new canvas is made as soon as Qt is done.
        """
        window = self.window()
        if self._host is None:
            self._host = window
        if self._host is window:
            return False
        self._host = window
        self._viewer.hide()
        QTimer.singleShot(0, self._rebuild_canvas)
        return True

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Keep the whole cloud in view, unless the person has chosen a view."""
        super().resizeEvent(event)
        if self._camera.default:
            self.reset_camera()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Follow the window's theme."""
        super().changeEvent(event)
        restyled = (QEvent.Type.StyleChange, QEvent.Type.PaletteChange)
        ready = hasattr(self, "_overlay") and not self._closed
        if ready and event is not None and event.type() in restyled:
            self._follow_theme()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Give the canvas and its layers back; afterwards the view shows nothing any more."""
        if not self._closed:
            self._closed = True
            self._drop_canvas()
        super().closeEvent(event)


def _show(layer: Layer, visible: bool) -> None:
    """Show or hide a layer; napari uploads it again even if nothing changes."""
    if layer.visible != visible:
        layer.visible = visible


def _same(a: GrayBox | None, b: GrayBox | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.roi == b.roi and np.array_equal(a.low, b.low) and np.array_equal(a.high, b.high)
