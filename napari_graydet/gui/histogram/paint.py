"""How the histogram is laid out and drawn; no events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import (
    QColor,
    QFontMetrics,
    QLinearGradient,
    QPainter,
    QPainterPath,
    QPen,
    QPixmap,
    QPolygonF,
)
from qtpy.QtWidgets import QWidget

from napari_graydet.gui.histogram.bins import GrayBins
from napari_graydet.gui.theme import ViewColours, mix, with_alpha

_MARGIN = 14.0
_RAMP = 8.0
_GAP = 3.0


@dataclass(frozen=True)
class HistogramLayout:
    """Where things stand in the widget: bubbles, bars, gray ramp, numbers, from top to bottom."""

    bubbles: QRectF
    plot: QRectF
    ramp: QRectF
    numbers: QRectF
    bins: GrayBins

    @classmethod
    def of(cls, area: QRectF, metrics: QFontMetrics, bins: GrayBins) -> HistogramLayout:
        """Divide a widget's area."""
        line = float(metrics.height())
        left, width = area.left() + _MARGIN, max(area.width() - 2 * _MARGIN, 1.0)
        bubble = line + 6
        numbers = QRectF(left, area.bottom() - line - 2, width, line)
        ramp = QRectF(left, numbers.top() - _RAMP - _GAP, width, _RAMP)
        top = area.top() + bubble + 8
        plot = QRectF(left, top, width, max(ramp.top() - 1 - top, 1.0))
        return cls(QRectF(left, area.top() + 2, width, bubble), plot, ramp, numbers, bins)

    def x_of_edge(self, edge: float) -> float:
        """Return the x of an edge between gray values, in widget pixels."""
        return float(self.plot.left() + self.bins.to_axis(edge) * self.plot.width())

    def edge_at(self, x: float) -> float:
        """Return the (fractional) edge at a widget x, clipped to the axis."""
        share = (x - self.plot.left()) / self.plot.width()
        return self.bins.from_axis(min(max(share, 0.0), 1.0))

    def x_of_handle(self, gray: tuple[int, int], part: str) -> float:
        """Return the x of the handle "low" (left of its value) or "high" (right of it)."""
        return self.x_of_edge(gray[0] if part == "low" else gray[1] + 1)


@dataclass(frozen=True)
class HistogramPicture:
    """What is drawn: range, the mouse's x if it hovers, the handle with keyboard focus."""

    gray: tuple[int, int] | None
    hover: float | None
    focus: str | None


class Bars:
    """Bars and axis as two pictures, outside the range and inside; they are kept during a drag."""

    def __init__(self) -> None:
        self._key: object = None
        self.outside, self.inside = QPixmap(), QPixmap()

    def draw(self, widget: QWidget, layout: HistogramLayout, colours: ViewColours) -> None:
        """Draw both pictures, unless they are the same as before."""
        key = (layout, colours, widget.size(), widget.devicePixelRatioF(), widget.font())
        if key == self._key:
            return
        self._key = key
        outline = _outline(layout)
        self.outside = _picture(widget, outline, with_alpha(colours.dim, 0.75))
        self.inside = _picture(widget, outline, colours.accent)
        painter = QPainter(self.outside)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(widget.font())
        _paint_axis(painter, layout, colours)
        painter.end()


def _picture(widget: QWidget, outline: QPainterPath, colour: QColor) -> QPixmap:
    ratio = widget.devicePixelRatioF()
    picture = QPixmap(widget.size() * ratio)
    picture.setDevicePixelRatio(ratio)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    painter.drawPath(outline)
    painter.end()
    return picture


def paint(
    painter: QPainter,
    layout: HistogramLayout,
    picture: HistogramPicture,
    colours: ViewColours,
    bars: Bars,
) -> None:
    """Draw everything."""
    _paint_band(painter, layout, picture, colours)
    _paint_bars(painter, layout, picture, bars)
    _paint_hover(painter, layout, picture, colours)
    _paint_handles(painter, layout, picture, colours)


def _band(layout: HistogramLayout, picture: HistogramPicture) -> tuple[float, float] | None:
    if picture.gray is None:
        return None
    a, b = (layout.x_of_handle(picture.gray, part) for part in ("low", "high"))
    return min(a, b), max(a, b)


def _paint_band(
    painter: QPainter, layout: HistogramLayout, picture: HistogramPicture, colours: ViewColours
) -> None:
    painter.fillRect(layout.plot, mix(colours.ground, colours.text, 0.04))
    band = _band(layout, picture)
    if band is not None:
        area = QRectF(band[0], layout.plot.top(), band[1] - band[0], layout.plot.height())
        painter.fillRect(area, with_alpha(colours.accent, 0.16))


def _paint_bars(
    painter: QPainter, layout: HistogramLayout, picture: HistogramPicture, bars: Bars
) -> None:
    """Draw the bars as one outline, twice: dim, and over it inside the band in the accent."""
    painter.drawPixmap(0, 0, bars.outside)
    band = _band(layout, picture)
    if band is None:
        return
    painter.save()
    painter.setClipRect(QRectF(band[0], layout.plot.top(), band[1] - band[0], layout.plot.height()))
    painter.drawPixmap(0, 0, bars.inside)
    painter.restore()


def _outline(layout: HistogramLayout) -> QPainterPath:
    bins, plot = layout.bins, layout.plot
    heights = bins.heights()
    edges = bins.shares(bins.first + bins.step * np.arange(len(heights) + 1))
    xs = np.repeat(plot.left() + edges * plot.width(), 2)[1:-1].tolist()
    ys = np.repeat(plot.bottom() - heights * (plot.height() - 2), 2).tolist()
    points = [QPointF(layout.x_of_edge(bins.low), plot.bottom())]
    points += [QPointF(x, y) for x, y in zip(xs, ys, strict=True)]
    points.append(QPointF(layout.x_of_edge(bins.high + 1), plot.bottom()))
    path = QPainterPath()
    path.addPolygon(QPolygonF(points))
    path.closeSubpath()
    return path


def _paint_axis(painter: QPainter, layout: HistogramLayout, colours: ViewColours) -> None:
    scale, bins = layout.bins.scale, layout.bins
    gradient = QLinearGradient(layout.ramp.topLeft(), layout.ramp.topRight())
    gradient.setColorAt(bins.to_axis(scale.black), QColor(0, 0, 0))
    gradient.setColorAt(bins.to_axis(scale.white), QColor(255, 255, 255))
    painter.setPen(QPen(with_alpha(colours.dim, 0.6), 1))
    painter.setBrush(gradient)
    painter.drawRect(layout.ramp)
    painter.setPen(colours.dim)
    metrics = painter.fontMetrics()
    widest = max(metrics.horizontalAdvance(str(v)) for v in (bins.low, bins.high))
    for value in bins.ticks(int(layout.plot.width() / (widest + 22))):
        x, width = layout.x_of_edge(value + 0.5), float(widest + 8)
        left = min(
            max(x - width / 2, layout.numbers.left() - _MARGIN),
            layout.numbers.right() + _MARGIN - width,
        )
        box = QRectF(left, layout.numbers.top(), width, layout.numbers.height())
        painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), str(value))


def _paint_hover(
    painter: QPainter, layout: HistogramLayout, picture: HistogramPicture, colours: ViewColours
) -> None:
    """Tell the gray value under the mouse and how many pixels have it."""
    x = picture.hover
    if x is None or not layout.plot.left() <= x < layout.plot.right():
        return
    bins = layout.bins
    value = min(max(int(layout.edge_at(x)), bins.low), bins.high)
    painter.setPen(QPen(with_alpha(colours.text, 0.35), 1))
    painter.drawLine(QPointF(x, layout.plot.top()), QPointF(x, layout.plot.bottom()))
    text = f"{value}: {bins.count_at(value):,} px"
    width = painter.fontMetrics().horizontalAdvance(text) + 8
    left = x + 3 if x + 3 + width < layout.plot.right() else x - 3 - width
    box = QRectF(left, layout.plot.top() + 1, width, painter.fontMetrics().height() + 2)
    painter.fillRect(box, with_alpha(colours.ground, 0.8))
    painter.setPen(colours.text)
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)


def _paint_handles(
    painter: QPainter, layout: HistogramLayout, picture: HistogramPicture, colours: ViewColours
) -> None:
    if picture.gray is None:
        return
    bubbles = _bubbles(painter.fontMetrics(), layout, picture.gray)
    for part, value in zip(("low", "high"), picture.gray, strict=True):
        x = layout.x_of_handle(picture.gray, part)
        painter.setPen(QPen(colours.accent, 2))
        painter.drawLine(QPointF(x, layout.bubbles.bottom()), QPointF(x, layout.ramp.bottom()))
        _paint_grip(painter, QPointF(x, layout.plot.center().y()), colours, picture.focus == part)
        _paint_bubble(painter, bubbles[part], x, str(value), colours)


def _paint_grip(painter: QPainter, at: QPointF, colours: ViewColours, focused: bool) -> None:
    painter.setPen(QPen(colours.ground, 1.5))
    painter.setBrush(colours.accent)
    painter.drawRoundedRect(QRectF(at.x() - 4, at.y() - 10, 8, 20), 4, 4)
    if focused:
        painter.setPen(QPen(colours.text, 1.5))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(QRectF(at.x() - 6.5, at.y() - 12.5, 13, 25), 6, 6)


def _bubbles(
    metrics: QFontMetrics, layout: HistogramLayout, gray: tuple[int, int]
) -> dict[str, QRectF]:
    """Place the two value bubbles over their handles, side by side where they would overlap."""
    area = layout.bubbles
    first_end, last_end = area.left() - _MARGIN + 2, area.right() + _MARGIN - 2
    at = {part: layout.x_of_handle(gray, part) for part in ("low", "high")}
    width = {
        part: metrics.horizontalAdvance(str(value)) + 12.0
        for part, value in zip(at, gray, strict=True)
    }
    left, right = sorted(at, key=lambda part: (at[part], part != "low"))
    a = min(max(at[left] - width[left] / 2, first_end), last_end - width[left])
    b = min(max(at[right] - width[right] / 2, first_end), last_end - width[right])
    overlap = a + width[left] + 3 - b
    if overlap > 0:
        a = max(a - overlap / 2, first_end)
        b = min(max(b + overlap / 2, a + width[left] + 3), last_end - width[right])
        a = min(a, b - 3 - width[left])
    height = area.height() - 1
    return {
        left: QRectF(a, area.top(), width[left], height),
        right: QRectF(b, area.top(), width[right], height),
    }


def _paint_bubble(
    painter: QPainter, box: QRectF, x: float, text: str, colours: ViewColours
) -> None:
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colours.accent)
    painter.drawRoundedRect(box, 5, 5)
    tip = min(max(x, box.left() + 5), box.right() - 5)
    painter.drawPolygon(
        QPolygonF(
            [
                QPointF(tip - 5, box.bottom() - 1),
                QPointF(tip + 5, box.bottom() - 1),
                QPointF(x, box.bottom() + 5),
            ]
        )
    )
    painter.setPen(QColor("#111111") if colours.accent.lightnessF() > 0.5 else QColor("#ffffff"))
    painter.drawText(box, int(Qt.AlignmentFlag.AlignCenter), text)
