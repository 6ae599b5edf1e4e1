"""The program's own window: a napari viewer with the workplace in it."""

from __future__ import annotations

import gc
from pathlib import Path

import napari

from napari_graydet.gui.desk import desk_of
from napari_graydet.gui.workplace import open_workplace

TITLE = "graydet"
SIZE = (1600, 1000)


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
    viewer = napari.Viewer(title=f"{path.name} – {TITLE}", show=show)
    viewer.window.resize(*SIZE)
    open_workplace(viewer)
    # What is loaded by now lives as long as the program; to look through it for garbage again and
    # again would make the window stand still for 0.2 s each time.
    gc.freeze()
    desk_of(viewer).controller.open_folder(path)
    return viewer
