"""The cloud (x, y, gray) of an ROI with its 3D box, whose faces can be dragged.

A view: it shows what it is told and says what the person does; it changes no record. What is
dragged is drawn at once, and whoever answers a signal with `set_box` has the last word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components.viewer_model import ViewerModel
from qtpy.QtCore import (  # type: ignore[attr-defined, unused-ignore]
    QEvent,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QCloseEvent, QColor, QImage
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.cloud.camera import MOVES
from napari_graydet.gui.cloud.canvas import CloudCanvas
from napari_graydet.gui.cloud.cuboid import Cuboid, Handle, cuboid, moved
from napari_graydet.gui.cloud.overlay import OverlayPicture
from napari_graydet.gui.cloud.picking import meant, pick
from napari_graydet.gui.cloud.points import ShownCloud
from napari_graydet.gui.cloud.projection import Float, Projection
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.theme import ViewColours, mix, rgb

EMPTY_TEXT = "Select an ROI to see its cloud"
WARM_UP_PAUSE = 1000
"""Milliseconds before and between the steps of `CloudView.warm_up`."""

WARM_UP_STEPS = 2
"""First the points are drawn, then the faces."""

MAX_POINTS = 8_000
"""Points shown: enough to fill a dock, and a new cloud with its frame stays under 0.1 s in software
OpenGL."""


class CloudView(QWidget):
    """The cloud of an ROI with a box whose top and bottom can be dragged.

    Drag a handle or an edge of a face to move a threshold, a small handle to tilt or bend the box.
    Drag beside them to turn, with Shift or the right button to shift; the wheel zooms, a double
    click resets.

    Signals
    -------
    pressed()
        Before a press is looked at: what is newer than what is shown is to be shown now.
    drag_started()
        Before the first change of a drag.
    box_dragged(GrayBox)
        The new box after every change.
    box_released(GrayBox)
        Once at the end.
    """

    pressed = Signal()
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
        self._warm = 0
        self._warm_later = Deferred(self._warm_next, WARM_UP_PAUSE)
        self.setMinimumSize(200, 110)
        self.setAccessibleName("Cloud of the ROI's pixels in x, y and gray, with the 3D box")
        self.setToolTip(
            "Drag a handle to move a threshold, a small one to tilt or bend the box. Drag beside "
            "them to turn, with Shift to shift; "
            "the wheel zooms, a double click resets."
        )
        self._colours = ViewColours.of(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._canvas = self._new_canvas()
        self._apply_colours()

    def _new_canvas(self) -> CloudCanvas:
        canvas = CloudCanvas(self, self._max_points)
        canvas.model.mouse_drag_callbacks.append(self._on_drag)
        canvas.model.mouse_move_callbacks.append(self._on_move)
        canvas.model.mouse_double_click_callbacks.append(self._on_double_click)
        canvas.model.mouse_wheel_callbacks.append(self._on_wheel)
        canvas.camera_changed.connect(self._redraw_overlay)
        canvas.resized.connect(self._fit)
        canvas.mouse_left.connect(self._on_mouse_left)
        canvas.stranded.connect(self._on_stranded)
        layout = self.layout()
        assert layout is not None  # made before the first canvas
        layout.addWidget(canvas)
        return canvas

    def _on_stranded(self) -> None:
        QTimer.singleShot(0, self._replace_canvas)  # not while Qt paints the old one

    def _replace_canvas(self) -> None:
        """Go on in a new canvas that shows the same."""
        if self._closed:
            return
        self._canvas.close()
        self._canvas.deleteLater()
        self._canvas = self._new_canvas()
        self._hovered = self._held = None
        self._apply_colours()
        if self._shown is not None:
            self._show_points(self._shown)
        self.reset_camera()
        self._show_cuboid()

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
            self._fit()
        self._show_cuboid()

    def show_roi(
        self, image: GrayImage | None, roi: RoiBox | None, box: GrayBox | None = None
    ) -> None:
        """Show the pixels of an ROI with its box: `set_cloud` and `set_box` in one go.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        """
        if not self._closed:
            self._box = box
            self.set_cloud(image, roi)
            self._colour_points()

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
        self._follow_theme()

    def reset_camera(self) -> None:
        """Look from the default side, with the whole cloud in view."""
        self._canvas.camera.reset(self._shown.space.corners() if self._shown else None)
        self._redraw_overlay()

    def projection(self) -> Projection:
        """Return the present camera: world (gray, y, x) to canvas pixels and back."""
        return self._canvas.camera.projection()

    def handles(self) -> tuple[Handle, ...]:
        """Return the handles that are shown."""
        return self._cuboid.handles if self._cuboid is not None else ()

    def screenshot(self) -> QImage:
        """Return a picture of the view as it stands."""
        return self.grab().toImage()

    @property
    def canvas(self) -> QWidget:
        """The widget that takes the mouse."""
        return self._canvas.native

    @property
    def model(self) -> ViewerModel:
        """napari's model of this canvas."""
        return self._canvas.model

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for a dock's width and about the same height."""
        return QSize(360, 320)

    @contextmanager
    def example(self) -> Iterator[None]:
        """Show points and faces that cannot be seen, unless there is a cloud.

        Whoever has that drawn has their shaders compiled.
        """
        if self._shown is not None or self._closed:
            yield
            return
        self._warm = WARM_UP_STEPS + 1
        self._canvas.show_layers(points=True, faces=True)
        try:
            yield
        finally:
            self._canvas.show_layers(points=False, faces=False)

    def warm_up(self) -> None:
        """Prepare to draw a first cloud, soon and in steps; does nothing the second time.

        The first points and the first faces ever drawn have their shaders compiled, each longer
        than a frame takes.
        """
        if self._warm == 0:
            self._warm_later()

    def _warm_next(self) -> None:
        if self._shown is None and not self._closed:
            self._canvas.show_layers(points=self._warm == 0, faces=self._warm == 1)
            self._warm += 1
            if self._warm <= WARM_UP_STEPS:
                self._warm_later()

    # drawing

    def _show_points(self, shown: ShownCloud) -> None:
        self._coloured = self._colour_key(shown)
        self._canvas.set_points(shown.points, shown.spacing, self._painted(shown))

    def _show_cuboid(self) -> None:
        self._cuboid = None
        if self._shown is not None and self._box is not None:
            self._cuboid = cuboid(self._box, self._shown.space)
        if self._cuboid is not None:
            self._canvas.set_faces(self._cuboid)
        self._canvas.show_layers(points=self._shown is not None, faces=self._cuboid is not None)
        self._redraw_overlay()

    def _colour_points(self) -> None:
        """Colour by gray, and by accent what is inside the box; only if something changed."""
        shown = self._shown
        if shown is not None and self._coloured != self._colour_key(shown):
            self._coloured = self._colour_key(shown)
            self._canvas.set_point_colours(self._painted(shown))

    def _colour_key(self, shown: ShownCloud) -> tuple[object, ...]:
        """Return what the points' colours depend on."""
        box = self._box
        geometry = box and (box.roi, box.low.tobytes(), box.high.tobytes())
        return shown, geometry, self._colours

    def _painted(self, shown: ShownCloud) -> Float:
        colours = self._colours
        return shown.colours(self._box, rgb(colours.accent), on_dark=colours.dark)

    def _apply_colours(self) -> None:
        colours = self._colours = ViewColours.of(self, self._accent)
        ground = mix(colours.ground, QColor("black" if colours.dark else "white"), 0.35)
        self._canvas.set_colours(ground, colours.accent)
        self._colour_points()
        self._redraw_overlay()

    def _follow_theme(self) -> None:
        if ViewColours.of(self, self._accent) != self._colours:
            self._apply_colours()

    def _redraw_overlay(self) -> None:
        shown = self._shown
        if shown is None:
            self._canvas.overlay.show_text(EMPTY_TEXT, self._colours)
            return
        picture = OverlayPicture(
            self.projection(), shown.space, self._cuboid, self._held or self._hovered
        )
        self._canvas.overlay.show_picture(picture, self._colours)

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
        self._canvas.set_cursor(shape if self._shown else Qt.CursorShape.ArrowCursor)

    def _on_mouse_left(self) -> None:
        self._hover(None)

    def _on_double_click(self, model: ViewerModel, event: Any) -> None:
        self.reset_camera()

    def _on_wheel(self, model: ViewerModel, event: Any) -> None:
        event.handled = True
        self._canvas.camera.zoom(event.delta[1])

    def _on_drag(self, model: ViewerModel, event: Any) -> Iterator[None]:
        event.handled = True  # or vispy draws the whole scene once more to find what was hit
        self.pressed.emit()
        if self._shown is None:
            return
        handle = self.handle_at(event.pos) if event.button == 1 else None
        if handle is not None:
            yield from self._drag_handle(handle, event)
        elif event.button == 1 and not event.modifiers:
            yield from self._canvas.camera.turn(event)
        else:
            yield from self._canvas.camera.shift(event)

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

    def _fit(self) -> None:
        """Keep the whole cloud in view, unless the person has chosen a view."""
        if self._canvas.camera.default:
            self.reset_camera()
        else:
            self._redraw_overlay()

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802
        """Follow the window's theme."""
        super().changeEvent(event)
        restyled = (QEvent.Type.StyleChange, QEvent.Type.PaletteChange)
        ready = hasattr(self, "_canvas") and not self._closed
        if ready and event is not None and event.type() in restyled:
            self._follow_theme()

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Give the canvas and its layers back; afterwards the view shows nothing any more."""
        if not self._closed:
            self._closed = True
            self._warm_later.drop()
            self._canvas.close()
        super().closeEvent(event)


def _same(a: GrayBox | None, b: GrayBox | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.roi == b.roi and np.array_equal(a.low, b.low) and np.array_equal(a.high, b.high)
