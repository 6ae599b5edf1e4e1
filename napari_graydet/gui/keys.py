"""Keys of the window, bound on the viewer while the desk is open.

Chosen so that they collide neither with napari's brushes, shapes and viewer, nor with each other;
Q and W lie under the left hand while the right one has the mouse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.viewer import Viewer

from napari_graydet.gui.image.layers import Tool

if TYPE_CHECKING:
    from napari_graydet.gui.desk import Desk

ACCEPT, REJECT = "Q", "W"
NEXT, PREVIOUS = "N", "Shift-N"
DETECT, DETECT_BOX, REFINE = "G", "Shift-G", "Y"
SELECT, DRAW, PAINT, ERASE = "J", "K", "U", "H"
UNDO, REDO = "Control-Z", "Control-Shift-Z"


def shown(key: str) -> str:
    """Return a key as tool tips name it."""
    return key.replace("Control", "Ctrl").replace("-", "+")


class Keys:
    """Binds the keys, and gives back on closing what they meant before."""

    def __init__(self, viewer: Viewer, desk: Desk) -> None:
        self._viewer = viewer
        controller, layers = desk.controller, desk.layers
        actions: dict[str, Callable[[], None]] = {
            ACCEPT: controller.accept,
            REJECT: controller.reject,
            NEXT: controller.next,
            PREVIOUS: controller.previous,
            DETECT: controller.detection.image,
            DETECT_BOX: controller.detection.box,
            REFINE: controller.detection.refine,
            SELECT: lambda: layers.use(Tool.SELECT),
            DRAW: lambda: layers.use(Tool.DRAW),
            PAINT: lambda: layers.use(Tool.PAINT),
            ERASE: lambda: layers.use(Tool.ERASE),
            UNDO: controller.undo,
            REDO: controller.redo,
        }
        self._before = dict(viewer.keymap)
        for key, action in actions.items():
            viewer.bind_key(key, _ignoring_viewer(action), overwrite=True)
        self._changed = {k: v for k, v in viewer.keymap.items() if self._before.get(k) is not v}

    def close(self) -> None:
        """Give the keys back."""
        keymap = self._viewer.keymap
        for key, function in self._changed.items():
            if keymap.get(key) is not function:
                continue  # somebody else has bound it meanwhile
            if key in self._before:
                keymap[key] = self._before[key]
            else:
                del keymap[key]


def _ignoring_viewer(action: Callable[[], None]) -> Callable[[object], None]:
    def press(_viewer: object) -> None:
        action()

    return press
