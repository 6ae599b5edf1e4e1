"""Colours of the plugin's own drawings, taken from the window they stand in.

napari themes its window with a style sheet, and Qt puts the style sheet's colours into each
widget's palette. So a view that reads its own palette follows every theme, dark or light, shipped
or made by a user, and looks right outside napari too.
"""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QWidget

ACCENT_ON_DARK = "#ffb454"
"""What lies inside the box, on a dark ground: warm, so that it never reads as a gray value."""

ACCENT_ON_LIGHT = "#c2570c"
"""The same on a light ground, darker for contrast."""


@dataclass(frozen=True)
class ViewColours:
    """The few colours that the views draw with.

    Parameters
    ----------
    ground
        Behind everything.
    text
        Numbers and names, in full contrast.
    dim
        What is outside the range, axes, empty-state text.
    accent
        What is inside the range or box, and what can be grabbed.
    dark
        Whether the ground is dark.
    """

    ground: QColor
    text: QColor
    dim: QColor
    accent: QColor
    dark: bool

    @classmethod
    def of(cls, widget: QWidget, accent: QColor | None = None) -> ViewColours:
        """Read the colours of a widget's palette; `accent` replaces the default accent."""
        widget.ensurePolished()
        palette = widget.palette()
        ground = palette.color(QPalette.ColorRole.Window)
        text = palette.color(QPalette.ColorRole.WindowText)
        dark = ground.lightnessF() < 0.5
        chosen = accent or QColor(ACCENT_ON_DARK if dark else ACCENT_ON_LIGHT)
        return cls(ground, text, mix(ground, text, 0.55), chosen, dark)


def mix(a: QColor, b: QColor, share: float) -> QColor:
    """Return the opaque colour that is `share` (0..1) of the way from `a` to `b`."""
    channels = zip(rgb(a), rgb(b), strict=True)
    return QColor.fromRgbF(*(x + (y - x) * share for x, y in channels))


def with_alpha(colour: QColor, alpha: float) -> QColor:
    """Return the colour with an opacity of `alpha` (0..1)."""
    out = QColor(colour)
    out.setAlphaF(alpha)
    return out


def rgb(colour: QColor) -> tuple[float, float, float]:
    """Return the colour as three floats 0..1."""
    return colour.redF(), colour.greenF(), colour.blueF()
