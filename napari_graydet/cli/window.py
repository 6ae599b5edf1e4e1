"""Opening the window; and whether there is a screen to open it on: Qt would abort the process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from napari_graydet.errors import GraydetError


def run_window(path: Path) -> None:
    """Open the window on a folder or project, and wait until it is closed."""
    require_window()
    import napari

    from napari_graydet.gui import open_window

    viewer = open_window(path)
    napari.run()
    del viewer  # alive until here: napari keeps no reference of its own


def require_window() -> None:
    """Raise `GraydetError` if no window can be opened here.

    Without a display Qt ends the process with a core dump; without a binding qtpy raises an
    exception of several lines.
    """
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in screens):
        raise GraydetError(
            "There is no display to open a window on (DISPLAY is not set); run this on a desktop, "
            "or with xvfb-run in front."
        )
    try:
        import qtpy.QtWidgets  # noqa: F401
    except ImportError as error:  # qtpy's own errors are ImportErrors, too
        reason = " ".join(str(error).split())
        raise GraydetError(
            f"Qt cannot be loaded ({reason}); install a binding: "
            "pip install 'napari-graydet[pyqt6]'."
        ) from error
