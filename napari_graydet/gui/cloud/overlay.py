"""What is drawn over the cloud's canvas: axes, the box's edges and handles, empty state."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QWidget

from napari_graydet.gui.cloud.cuboid import CloudSpace, Cuboid, Handle
from napari_graydet.gui.cloud.projection import Float, Projection
from napari_graydet.gui.theme import ViewColours, with_alpha

_FACE_RADIUS, _KNOT_RADIUS = 7.0, 5.0
_FULL_SIZE, _SMALLEST = 220.0, 0.6
"""Height of a canvas, pixels, from which handles have their full size; the least share of it."""

_OUT = 1.10
"""Where an axis is named: this far out from the middle of the space."""


@dataclass(frozen=True)
class OverlayPicture:
    """What is drawn: by which camera, in which space, which box, which handle is meant."""

    camera: Projection
    space: CloudSpace
    cuboid: Cuboid | None
    active: Handle | None


class CloudOverlay(QWidget):
    """A transparent widget over the canvas that lets the mouse through."""

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._picture: OverlayPicture | None = None
        self._text = ""
        self._colours: ViewColours | None = None
        self.resize(canvas.size())
        self.show()

    def show_picture(self, picture: OverlayPicture, colours: ViewColours) -> None:
        """Draw handles and names."""
        self._picture, self._text, self._colours = picture, "", colours
        self.update()

    def show_text(self, text: str, colours: ViewColours) -> None:
        """Draw nothing but a text."""
        self._picture, self._text, self._colours = None, text, colours
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw."""
        if self._colours is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._picture is None:
            painter.setPen(self._colours.dim)
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter), self._text)
            return
        _paint_axes(painter, self._picture, self._colours)
        if self._picture.cuboid is not None:
            _paint_edges(painter, self._picture, self._picture.cuboid, self._colours)
            _paint_handles(painter, self._picture, self._picture.cuboid, self._colours)


def _paint_axes(painter: QPainter, picture: OverlayPicture, colours: ViewColours) -> None:
    """Draw x and y along the floor's edges nearest to the eye, gray along the leftmost post.

    These three never lie behind the cloud, so they may be drawn over it.
    """
    space, camera = picture.space, picture.camera
    height, depth, width = (float(v) for v in space.size / 2)
    y, x = (-math.copysign(1.0, v) for v in camera.view[1:])
    posts = [(b * depth, c * width) for b in (-1, 1) for c in (-1, 1)]
    left = min(posts, key=lambda post: camera.to_canvas([(0.0, *post)])[0][0])
    axes = [
        [(-height, y * depth, -width), (-height, y * depth, width)],
        [(-height, -depth, x * width), (-height, depth, x * width)],
        [(-height, *left), (height, *left)],
    ]
    painter.setPen(QPen(with_alpha(colours.dim, 0.7), 1))
    for axis in axes:
        start, end = camera.to_canvas(axis)
        painter.drawLine(QPointF(*start), QPointF(*end))
    names = {"x": (-height, y * depth * _OUT, 0.0), "y": (-height, 0.0, x * width * _OUT)}
    for name, spot in names.items():
        _paint_text(painter, camera.to_canvas([spot])[0], name, colours.dim)
    low, high = space.gray.low, space.gray.high
    floor, ceiling = (high, low) if space.scale.inverted else (low, high)
    for z, text in ((-height, str(floor)), (0.0, "gray"), (height, str(ceiling))):
        at = camera.to_canvas([(z, *left)])[0]
        room = painter.fontMetrics().horizontalAdvance(text) / 2 + 6
        _paint_text(painter, at - (room, 0), text, colours.dim)


def _paint_edges(
    painter: QPainter, picture: OverlayPicture, cuboid: Cuboid, colours: ViewColours
) -> None:
    """Draw the box's edges, fainter the farther away."""
    for face, line in cuboid.outlines.items():
        meant = picture.active is not None and picture.active.face == face
        for piece in itertools.pairwise(line):
            _paint_edge(painter, picture, np.array(piece), 2.6 if meant else 1.6, colours.accent)
    for post in cuboid.posts:
        _paint_edge(painter, picture, post, 1.0, colours.accent)


def _paint_edge(
    painter: QPainter, picture: OverlayPicture, ends: Float, width: float, colour: QColor
) -> None:
    reach = float(np.linalg.norm(picture.space.size)) / 2
    behind = float(ends.mean(axis=0) @ np.asarray(picture.camera.view)) / reach
    alpha = min(max(0.7 - 0.5 * behind, 0.35), 1.0)
    pen = QPen(with_alpha(colour, alpha), width)
    pen.setCapStyle(Qt.PenCapStyle.RoundCap)
    painter.setPen(pen)
    start, end = picture.camera.to_canvas(ends)
    painter.drawLine(QPointF(*start), QPointF(*end))


def _paint_text(painter: QPainter, at: Float, text: str, colour: QColor) -> None:
    metrics = painter.fontMetrics()
    box = QRectF(0, 0, metrics.horizontalAdvance(text) + 4, metrics.height())
    box.moveCenter(QPointF(float(at[0]), float(at[1])))
    area = QRectF(painter.viewport())
    box.moveLeft(min(max(box.left(), 1.0), max(area.right() - box.width() - 1, 1.0)))
    painter.setPen(colour)
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)


def _paint_handles(
    painter: QPainter, picture: OverlayPicture, cuboid: Cuboid, colours: ViewColours
) -> None:
    handles = cuboid.handles
    spots = picture.camera.to_canvas([handle.at for handle in handles])
    nudges = _nudges(cuboid, spots, painter.fontMetrics().height() + 3)
    size = min(max(picture.camera.size[1] / _FULL_SIZE, _SMALLEST), 1.0)
    held = picture.active and (picture.active.face, picture.active.knot)
    actives = [(handle.face, handle.knot) == held for handle in handles]
    order = sorted(range(len(handles)), key=lambda i: (actives[i], handles[i].knot is None))
    for i in order:
        handle, active, (x, y) = handles[i], actives[i], (float(v) for v in spots[i])
        radius = size * (_FACE_RADIUS if handle.knot is None else _KNOT_RADIUS)
        if active:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(with_alpha(colours.accent, 0.35))
            painter.drawEllipse(QPointF(x, y), radius + 5, radius + 5)
        painter.setPen(QPen(colours.ground, 1.5))
        painter.setBrush(colours.text if active else colours.accent)
        painter.drawEllipse(QPointF(x, y), radius, radius)
        if handle.knot is None or active:
            spot = QPointF(x + radius + 4, y + nudges.get(i, 0))
            _paint_value(painter, spot, _named(handle, cuboid), colours)


def _nudges(cuboid: Cuboid, spots: Float, line: float) -> dict[int, float]:
    """Return by how much the two faces' values move apart where they would overlap."""
    faces = [i for i, handle in enumerate(cuboid.handles) if handle.knot is None]
    upper, lower = sorted(faces, key=lambda i: cuboid.handles[i].face != cuboid.upper)
    overlap = line - float(spots[lower][1] - spots[upper][1])
    return {upper: -overlap / 2, lower: overlap / 2} if overlap > 0 else {}


def _named(handle: Handle, cuboid: Cuboid) -> str:
    """Return a threshold in words; where it is not the same everywhere, it is that of one spot."""
    whole = handle.knot is None and not cuboid.flat
    return f"{'here ' if whole else ''}{handle.value:.0f}"


def _paint_value(painter: QPainter, at: QPointF, text: str, colours: ViewColours) -> None:
    """Write a threshold beside its handle, on a plate that keeps it legible over the cloud."""
    metrics = painter.fontMetrics()
    box = QRectF(at.x(), 0, metrics.horizontalAdvance(text) + 8, metrics.height() + 2)
    box.moveCenter(QPointF(box.center().x(), at.y()))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(with_alpha(colours.ground, 0.75))
    painter.drawRoundedRect(box, 4, 4)
    painter.setPen(colours.text)
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)
