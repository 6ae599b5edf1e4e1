"""One colour per class, the same in image, mask, cloud, histogram and lists."""

from __future__ import annotations

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


def class_color(index: int) -> str:
    """Return the colour (#rrggbb) of a class id."""
    return PALETTE[index % len(PALETTE)]


def label_color(label: str, classes: tuple[str, ...]) -> str:
    """Return the colour of a class by name."""
    return class_color(classes.index(label) if label in classes else len(classes))


def darker(color: str) -> str:
    """Return a dark ink of the same hue, legible on what is bright."""
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{part // 8:02x}" for part in parts)
