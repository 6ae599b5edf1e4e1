"""A napari canvas of its own for the cloud: layers, camera and overlay, and what Qt does to them.

The cloud cannot stand in the main viewer: its third axis would give the image a slider and take the
editing of shapes away. So this is a second canvas, with napari layers for the cloud and the faces,
and a transparent overlay for edges, handles and names: there they are crisp, never hidden, and
follow the mouse without anything being uploaded to the graphics card.
"""

from __future__ import annotations

import numpy as np
from napari.components.viewer_model import ViewerModel
from napari.layers import Points, Surface
from napari.qt import QtViewer
from napari.utils import Colormap
from qtpy.QtCore import (  # type: ignore[attr-defined, unused-ignore]
    QEvent,
    QObject,
    Qt,
    Signal,
)
from qtpy.QtGui import QCloseEvent, QColor, QOpenGLContext
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_graydet.gui.cloud.camera import TurntableCamera
from napari_graydet.gui.cloud.cuboid import Cuboid
from napari_graydet.gui.cloud.overlay import CloudOverlay
from napari_graydet.gui.cloud.projection import Float
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.theme import rgb

_FACE_OPACITY = 0.28


class CloudCanvas(QWidget):
    """A 3D napari canvas with a cloud and the faces of a box.

    Layers are made once and then only change their data: removing one and adding another ends the
    program in software OpenGL.

    Parameters
    ----------
    parent
        The view.
    capacity
        Most points that will be shown.

    Signals
    -------
    camera_changed()
        Something is seen from elsewhere.
    resized()
        The canvas has another size.
    mouse_left()
        The mouse is elsewhere.
    stranded()
        The canvas lost its context, mostly because it came to another window than the one it was
        drawn in, as when a dock is floated or docked again. OpenGL loses all data on the way, and
        drawing on would end the program: the canvas draws no more and must be replaced.
    """

    camera_changed = Signal()
    resized = Signal()
    mouse_left = Signal()
    stranded = Signal()

    def __init__(self, parent: QWidget, capacity: int) -> None:
        super().__init__(parent)
        self._capacity = capacity
        self._rows = np.zeros(capacity, dtype=np.intp)
        self._host: QWidget | None = None
        self._context: QOpenGLContext | None = None
        self._lost = False
        self._watch_later = Deferred(self._watch_context)
        # In a turn of its own: the canvas takes its new size only after the filter has seen it.
        self._tell_resized = Deferred(self.resized.emit)
        self.model = ViewerModel(title="cloud", ndisplay=3)
        for callbacks in self._callbacks():
            callbacks.clear()
        self._viewer = QtViewer(self.model)
        self._viewer.setAcceptDrops(False)
        self.native: QWidget = self._viewer.canvas.native
        self._build_layers()
        camera = self.model.scene.camera
        self.camera = TurntableCamera(camera, self.native)
        self.overlay = CloudOverlay(self.native)
        for event in (camera.events.zoom, camera.events.center, camera.events.angles):
            event.connect(self._on_camera)
        for widget in (self.native, self._viewer):
            widget.installEventFilter(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._viewer)

    def _callbacks(self) -> tuple[list[object], ...]:
        model = self.model
        return (
            model.mouse_drag_callbacks,
            model.mouse_move_callbacks,
            model.mouse_double_click_callbacks,
            model.mouse_wheel_callbacks,
        )

    def _build_layers(self) -> None:
        self._points = Points(
            np.zeros((self._capacity, 3)),
            size=0,
            border_width=0,
            antialiasing=0,
            shading="none",
            canvas_size_limits=(0, 10_000),  # points enlarged to a limit get vispy's edge colour
            name="cloud",
            visible=False,
        )
        triangle = (np.zeros((3, 3)), np.array([[0, 1, 2]]), np.zeros(3))
        self._faces = Surface(
            triangle,
            opacity=_FACE_OPACITY,
            contrast_limits=(0, 1),
            shading="none",
            blending="translucent",
            name="faces",
            visible=False,
        )
        for layer in (self._points, self._faces):
            self.model.add_layer(layer)
        self.model.layers.selection.clear()

    def set_points(self, points: Float, size: float, colours: Float) -> None:
        """Show (N, 3) world points of a diameter in world units, in (N, 4) colours.

        napari prepares and uploads all points anew for each of the three; told of nothing until
        all are there, it does so once. It also gives each point that is new a symbol, slowly: so
        the layer's length stays, and points that are left over have no size.
        """
        layer = self._points
        spare = np.arange(self._capacity)
        self._rows = np.minimum(spare, len(points) - 1)
        with layer.events.blocker_all():
            layer.data = points[self._rows]
            layer.size = np.where(spare < len(points), size, 0.0)
        with layer.events.face_color.blocker():
            self.set_point_colours(colours)
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def set_point_colours(self, colours: Float) -> None:
        """Colour the points, (N, 4)."""
        self._points.face_color = colours[self._rows]

    def set_faces(self, box: Cuboid) -> None:
        """Give the faces the shape of a box.

        The canvas's model is told of no new extent, or it would slice and upload the points anew.
        """
        layer = self._faces
        with layer.events.blocker_all():
            layer.data = (box.vertices, box.triangles, np.zeros(len(box.vertices)))
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def show_layers(self, *, points: bool, faces: bool) -> None:
        """Show or hide points and faces; before they have data there is nothing to see."""
        for layer, visible in ((self._points, points), (self._faces, faces)):
            if layer.visible != visible:  # napari uploads it again even if nothing changes
                layer.visible = visible

    def set_colours(self, ground: QColor, accent: QColor) -> None:
        """Colour the ground and the faces."""
        self.model.canvas.background_color_override = rgb(ground)
        # napari keeps a map by its name for ever, and gives one without a name a new one each time.
        self._faces.colormap = Colormap([rgb(accent)] * 2, name=f"graydet {accent.name()}")

    def set_cursor(self, shape: Qt.CursorShape) -> None:
        """Show a cursor over the canvas."""
        self.native.setCursor(shape)

    def _on_camera(self, event: object) -> None:
        self.camera_changed.emit()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Pass keys on to the window, and notice what happens to the canvas.

        napari's own key bindings would act on this canvas as on any viewer (toggle 2D, delete
        layers); the person means the main one.
        """
        if event is None:
            return False
        kind = event.type()
        if kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            event.ignore()
            return True
        if watched is not self.native:
            return False
        if kind in (QEvent.Type.Paint, QEvent.Type.Resize) and self._is_stranded():
            return True
        if kind == QEvent.Type.Paint and self._context is None:
            self._watch_later()  # the first frame makes it
        if kind == QEvent.Type.Leave:
            self.mouse_left.emit()
        elif kind == QEvent.Type.Resize:
            self.overlay.resize(self.native.size())
            self._tell_resized()
        return False

    def _is_stranded(self) -> bool:
        window = self.window()
        if self._host is None:
            self._host = window
        if self._host is window and not self._lost:
            return False
        if not self._viewer.isHidden():
            self._viewer.hide()
            self.stranded.emit()
        return True

    def closeEvent(self, event: QCloseEvent | None) -> None:  # noqa: N802
        """Give the canvas and its layers back."""
        self._tell_resized.drop()
        self._watch_later.drop()
        for widget in (self.native, self._viewer):
            widget.removeEventFilter(self)
        for callbacks in self._callbacks():
            callbacks.clear()
        self._give_back()
        self._viewer.hide()
        self._viewer.close()
        super().closeEvent(event)

    def _watch_context(self) -> None:
        """Hear of the end of the context that is drawn in."""
        context = self.native.context()
        if self._context is None and context is not None and self._host is self.window():
            context.aboutToBeDestroyed.connect(self._context_ends)
            self._context = context

    def _context_ends(self) -> None:
        self._lost = True
        self._give_back()

    def _give_back(self) -> None:
        """Delete what lies in the memory of the graphics driver, some megabytes.

        vispy would with the next frame, which never comes; and it would not go with the context,
        which shares its objects with all others of the window.
        """
        context, self._context = self._context, None
        if context is None:
            return
        context.aboutToBeDestroyed.disconnect(self._context_ends)
        self.native.makeCurrent()
        if QOpenGLContext.currentContext() == context:  # in others the numbers mean other objects
            parser = self._viewer.canvas._scene_canvas.context.shared.parser
            parser.parse([("DELETE", number) for number in parser._objects])
            self.native.doneCurrent()
