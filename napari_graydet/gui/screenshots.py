"""Pictures of the real window: for a machine without a display, and for the README."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import napari
from qtpy.QtCore import QCoreApplication, QEventLoop
from qtpy.QtWidgets import QApplication

from napari_graydet.errors import GraydetError
from napari_graydet.gui.desk import Desk, desk_of
from napari_graydet.gui.window import open_window
from napari_graydet.gui.workplace import WORKPLACE

PATIENCE = 180.0
"""Seconds to wait for a step: the first detection loads the models."""

SETTLE = 2.5
"""Seconds in which thumbnails arrive and the canvases draw."""

KINDS = ("hand", "forearm", "chest")
REFINED = ("forearm", "chest")
"""Kinds where a single gray range leaves much to do."""


def save_screenshots(images: Path, out: Path) -> list[Path]:
    """Open a folder, detect, refine, and save what the window looks like.

    Parameters
    ----------
    images
        Folder of images; of those named like the sample radiographs one of each kind is shown,
        else the first three.
    out
        Folder for the PNG files; made if absent.

    Returns
    -------
    list of Path
        The files, in the order in which they were made.

    Raises
    ------
    GraydetError
        If a step takes longer than three minutes.
    """
    out.mkdir(parents=True, exist_ok=True)
    viewer = open_window(images)
    try:
        return _Photographer(viewer, out).shoot()
    finally:
        viewer.close()


class _Photographer:
    def __init__(self, viewer: napari.Viewer, out: Path) -> None:
        self.viewer = viewer
        self.desk: Desk = desk_of(viewer)
        self.session = self.desk.session
        self.out = out
        self.saved: list[Path] = []

    def shoot(self) -> list[Path]:
        self._wait(lambda: self.session.image is not None and self.session.job is None)
        for name, image_id in self._chosen():
            self.desk.controller.go_to(image_id)
            self._wait(partial(self._shows, image_id))
            if not self.session.annotation or not self.session.annotation.boxes:
                self.desk.controller.detection.image()
                self._wait(lambda: self.session.job is None)
            if name not in REFINED or not self._is_refined():  # as the run before has left it
                self._save(name)
            if name in REFINED:
                if not self._is_refined():
                    self.desk.controller.detection.refine()
                    self._wait(lambda: self.session.job is None)
                self._save(f"{name}_refined")
        workplace = self.viewer.window.dock_widgets[WORKPLACE]
        workplace.tabs.setCurrentWidget(workplace.export)
        self._save("export")
        return self.saved

    def _shows(self, image_id: int) -> bool:
        return self.session.image_id == image_id

    def _is_refined(self) -> bool:
        return self.session.annotation is not None and bool(self.session.annotation.residual)

    def _chosen(self) -> list[tuple[str, int]]:
        entries = self.session.entries
        by_kind = {
            kind: next((e.id for e in entries if Path(e.path).stem.startswith(kind)), None)
            for kind in KINDS
        }
        found = [(kind, image_id) for kind, image_id in by_kind.items() if image_id is not None]
        return found or [(Path(e.path).stem, e.id) for e in entries[:3]]

    def _save(self, name: str) -> None:
        self._settle()
        path = self.out / f"{len(self.saved) + 1}_{name}.png"
        self.viewer.window.screenshot(str(path), flash=False, canvas_only=False)
        self.saved.append(path)

    def _wait(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            if time.monotonic() > end:
                raise GraydetError("The window did not get ready; see its message line.")
            _run_events()

    def _settle(self) -> None:
        end = time.monotonic() + SETTLE
        while time.monotonic() < end:
            _run_events()
        close_notices()


def close_notices() -> None:
    """Close napari's own notices, which would lie on the picture."""
    for widget in QApplication.allWidgets():
        if type(widget).__name__ == "NapariQtNotification":
            widget.close()
            _run_events()


def _run_events() -> None:
    QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)
