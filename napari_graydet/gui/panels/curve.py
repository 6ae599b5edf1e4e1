"""A live curve of a training: loss, and the score on held-out images."""

from __future__ import annotations

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_graydet.gui.control.training_run import Curve, Points, part_title
from napari_graydet.gui.theme import ViewColours, mix

HEIGHT = 146
SCORE_ON_DARK, SCORE_ON_LIGHT = "#4cc9f0", "#0a6fb8"
MARGIN, DOT = 8.0, 3.0
AXIS = 14.0
"""Pixels at the right of the plot for the ends of the score's axis."""

MEANINGS = {
    "ROI quality": "overlap of the found ROIs with the accepted ones; extra ROIs count as 0",
    "share of the ceiling": "IoU of the masks, as a share of the best that a gray range can reach",
    "mask IoU": "overlap of the masks with the accepted ones",
    "DSC": "overlap of the refined masks with the accepted ones",
}


class CurveView(QWidget):
    """One part's curves: the loss falls from the top of the plot, the score is 0 to 1.

    The loss has no unit that means anything to a person, so its axis has no numbers; what is
    written is the score, now and at its best.
    """

    def __init__(self) -> None:
        super().__init__()
        self.curve: Curve | None = None
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_curve(self, curve: Curve) -> None:
        """Draw a curve as it is now."""
        self.curve = curve
        self.setAccessibleName(f"{part_title(curve.part)}: {self.caption()}")
        self.setToolTip(self.explained())
        self.update()

    def caption(self) -> str:
        """Return what the curves come to, in words."""
        curve = self.curve
        if curve is None or not curve.loss:
            return ""
        text = f"loss {curve.loss[-1][1]:.3g}"
        if curve.score:
            best = max(value for _, value in curve.score)
            text += f"   held-out {curve.score_name} {curve.score[-1][1]:.3f}, best {best:.3f}"
        return text

    def explained(self) -> str:
        """Return what the two lines are."""
        curve = self.curve
        name = curve.score_name if curve is not None else ""
        meanings = (f" ({said})" for known, said in MEANINGS.items() if name.endswith(known))
        meaning = next(meanings, "")
        return (
            "Orange: the loss on the images that are learned from; it has no unit, it should "
            f"fall.\nBlue: {name or 'the score'}{meaning} on the held-out images, 0 to 1; it "
            "should rise.\nThe weights with the best score are kept."
        )

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802
        """Draw."""
        curve = self.curve
        if curve is None:
            return
        colours = ViewColours.of(self)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), mix(colours.ground, colours.text, 0.04))
        line = painter.fontMetrics().height()
        painter.setPen(colours.text)
        room = QRectF(self.rect()).adjusted(MARGIN, 4, -MARGIN, -4)
        painter.drawText(room, int(Qt.AlignmentFlag.AlignTop), part_title(curve.part))
        plot = room.adjusted(0, line + 6, -AXIS, -(2 * line + 6))
        painter.setPen(QPen(colours.dim, 1))
        painter.drawLine(plot.bottomLeft(), plot.bottomRight())
        self._draw_axis(painter, plot, colours)
        self._draw_loss(painter, plot, colours)
        self._draw_score(painter, plot, colours)
        self._draw_caption(painter, room, colours)
        painter.end()

    def _draw_axis(self, painter: QPainter, plot: QRectF, colours: ViewColours) -> None:
        """Write the ends of the score's axis at the right, in the score's colour."""
        painter.setPen(_score_colour(colours))
        half = painter.fontMetrics().height() / 2
        right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for value, y in ((1, plot.top()), (0, plot.bottom())):
            place = QRectF(plot.right(), y - half, AXIS, 2 * half)
            painter.drawText(place, right, str(value))

    def _draw_loss(self, painter: QPainter, plot: QRectF, colours: ViewColours) -> None:
        assert self.curve is not None
        points = _smooth(self.curve.loss)
        if not points:
            return
        top = max(value for _, value in points) or 1.0
        painter.setPen(QPen(colours.accent, 1.6))
        placed = _placed([(x, y / top) for x, y in points], plot)
        painter.drawPolyline(placed)
        painter.setBrush(colours.accent)
        painter.drawEllipse(placed.at(len(points) - 1), DOT, DOT)  # also where it is no line yet
        painter.setBrush(Qt.BrushStyle.NoBrush)

    def _draw_score(self, painter: QPainter, plot: QRectF, colours: ViewColours) -> None:
        assert self.curve is not None
        colour = _score_colour(colours)
        painter.setPen(QPen(colour, 1.6))
        for points in self.curve.scores.values():
            placed = _placed(points, plot)
            painter.drawPolyline(placed)
            painter.setBrush(colour)
            for point in (placed.at(i) for i in range(len(points))):
                painter.drawEllipse(point, DOT, DOT)
            painter.setBrush(Qt.BrushStyle.NoBrush)

    def _draw_caption(self, painter: QPainter, room: QRectF, colours: ViewColours) -> None:
        """Write loss and score below one another: in one line they do not always fit."""
        loss, _, score = self.caption().partition("   ")
        metrics, place = painter.fontMetrics(), int(Qt.AlignmentFlag.AlignBottom)
        painter.setPen(colours.accent)
        painter.drawText(room.adjusted(0, 0, 0, -metrics.height()), place, loss)
        painter.setPen(_score_colour(colours))
        fitted = metrics.elidedText(score, Qt.TextElideMode.ElideMiddle, int(room.width()))
        painter.drawText(room, place, fitted)


def _score_colour(colours: ViewColours) -> QColor:
    return QColor(SCORE_ON_DARK if colours.dark else SCORE_ON_LIGHT)


def _placed(points: Points, plot: QRectF) -> QPolygonF:
    """Return points (0..1, 0..1) in the plot's pixels."""
    polygon = QPolygonF()
    for x, y in points:
        polygon.append(
            QPointF(
                plot.left() + min(max(x, 0.0), 1.0) * plot.width(),
                plot.bottom() - min(max(y, 0.0), 1.0) * plot.height(),
            )
        )
    return polygon


def _smooth(points: Points) -> Points:
    """Return a running mean: the loss of single batches is mostly noise."""
    smoothed: Points = []
    level: float | None = None
    for x, y in points:
        level = y if level is None else 0.8 * level + 0.2 * y
        smoothed.append((x, level))
    return smoothed
