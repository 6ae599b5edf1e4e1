"""The program's own window: a napari viewer with the workplace in it."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path

import napari
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication

from napari_graydet.gui.desk import desk_of
from napari_graydet.gui.workplace import Workplace, open_workplace

TITLE = "graydet"
SIZE = (1600, 1000)
SETTLE = 500
"""Milliseconds for the first frames on the screen, at most."""


def open_window(path: Path, *, show: bool = True) -> napari.Viewer:
    """Open the window on a folder of images or a project.

    Parameters
    ----------
    path
        The folder; reading it goes on in the background, errors appear in the window.
    show
        Whether the window is shown.

    Returns
    -------
    napari.Viewer
        Call `napari.run()` to wait until it is closed.
    """
    path = Path(path)
    # What is loaded by now lives as long as the program; to look through it for garbage again and
    # again would make the window stand still for 0.2 s each time.
    gc.freeze()
    # On PyQt5, our default, napari advises against it at every start; it falls back to dark.
    warnings.filterwarnings("ignore", message="System theme detection requires a Qt6")
    viewer = napari.Viewer(title=f"{path.name} – {TITLE}", show=False)
    viewer.window.resize(*_size())
    workplace = open_workplace(viewer)
    if show:
        _show(viewer, workplace)
    gc.freeze()
    desk = desk_of(viewer)

    def follow() -> None:
        if desk.session.folder is not None:
            viewer.title = f"{desk.session.folder.name} – {TITLE}"

    desk.session.project_changed.connect(follow)
    desk.controller.open_folder(path)
    return viewer


def _size() -> tuple[int, int]:
    """Return the size of the window: the screen's, where that is smaller."""
    screen = QApplication.primaryScreen()
    if screen is None:
        return SIZE
    room = screen.availableSize()
    return min(SIZE[0], room.width()), min(SIZE[1], room.height())


def _show(viewer: napari.Viewer, workplace: Workplace) -> None:
    """Show a window that is drawn already, so that from the first moment it answers."""
    window = workplace.window()
    assert window is not None
    workplace.rehearsal.now(window)
    viewer.show()
    viewer.window.resize(*_size())  # napari may have gone back to the size of the last time
    QApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents, SETTLE)
