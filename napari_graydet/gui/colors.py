"""One colour per class, the same in image, mask, cloud, histogram and lists."""

from __future__ import annotations

from collections.abc import Iterable

PALETTE = (
    "#ffb454",
    "#4cc9f0",
    "#95e06c",
    "#ff7eb6",
    "#b79cff",
    "#ffe66d",
    "#ff8360",
    "#5eead4",
)
"""Light, saturated hues that stay apart from grays and from each other, also for most people with
red-green weakness; class ids beyond the palette start again."""

LEGIBLE = 3.0
"""Contrast from which on large letters can be read (WCAG 2 AA)."""


def class_color(index: int) -> str:
    """Return the colour (#rrggbb) of a class id."""
    return PALETTE[index % len(PALETTE)]


def label_color(label: str, classes: tuple[str, ...]) -> str:
    """Return the colour of a class by name."""
    return class_color(classes.index(label) if label in classes else len(classes))


def inks(color: str) -> tuple[str, ...]:
    """Return what may be written in for a class: its colour, two darker ones, and white."""
    return (*(_shade(color, share) for share in (1.0, 0.55, 0.125)), "#ffffff")


def ink(color: str, grounds: Iterable[float]) -> str:
    """Return the ink that contrasts most with the gray (0 to 1) that it is read worst on.

    The class's own colour is left for another one only where its contrast is below `LEGIBLE`.
    """
    grays = ["#" + 3 * f"{round(255 * gray):02x}" for gray in grounds]
    worst = {
        ink: min((contrast(ink, gray) for gray in grays), default=LEGIBLE) for ink in inks(color)
    }
    return color if worst[color] >= LEGIBLE else max(worst, key=lambda ink: worst[ink])


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21 (WCAG 2)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(part / 255) for part in _parts(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


def _shade(color: str, share: float) -> str:
    return "#" + "".join(f"{int(part * share):02x}" for part in _parts(color))


def _parts(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))
