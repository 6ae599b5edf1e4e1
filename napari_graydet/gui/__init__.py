"""The window: napari, Qt. Imported only when a window is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_graydet.gui.window import open_window

__all__ = ["open_window"]


def __getattr__(name: str) -> Any:
    if name == "open_window":
        from napari_graydet.gui.window import open_window

        return open_window
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
