"""What a person does at the window, as real mouse and key events."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import napari
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QWidget

from napari_graydet.gui.desk import Desk, desk_of
from napari_graydet.gui.panels.images import ImagesPanel
from napari_graydet.gui.workplace import IMAGES, WORKPLACE, Workplace
from tests.gui.mouse import Mouse, straight

PATIENCE = 60.0


class Hands:
    """Eyes and hands at one window."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self.viewer = viewer
        self.desk: Desk = desk_of(viewer)
        self.session = self.desk.session
        docks = viewer.window.dock_widgets
        self.workplace: Workplace = docks[WORKPLACE]
        self.images: ImagesPanel = docks[IMAGES]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.canvas: QWidget = viewer.window._qt_viewer.canvas.native

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Let the window work until something is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"waited {PATIENCE:.0f} s in vain for {what}")
            QApplication.processEvents()

    def wait_idle(self) -> None:
        self.wait(lambda: self.session.job is None, "the end of the job")
        QApplication.processEvents()

    def click(self, button: QAbstractButton) -> None:
        assert button.isVisible() and button.isEnabled(), f"{button.text()} cannot be clicked"
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        QApplication.processEvents()

    def press(self, key: Qt.Key, *modifiers: Qt.KeyboardModifier) -> None:
        held = Qt.KeyboardModifier.NoModifier
        for modifier in modifiers:
            held |= modifier
        QTest.keyClick(self.canvas, key, held)
        QApplication.processEvents()

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the image (continuous pixels) is on the canvas."""
        camera = self.viewer.camera
        _, cy, cx = camera.center
        return (
            (x - 0.5 - cx) * camera.zoom + self.canvas.width() / 2,
            (y - 0.5 - cy) * camera.zoom + self.canvas.height() / 2,
        )

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 8) -> None:
        """Drag from one point of the image to another."""
        mouse = Mouse(self.canvas)
        way = straight(self.at(*start), self.at(*end), steps)
        mouse.move(*way[0])
        QApplication.processEvents()
        mouse.press(*way[0])
        for point in way[1:]:
            mouse.move(*point)
            QApplication.processEvents()
        mouse.release(*way[-1])
        QApplication.processEvents()

    def drag_on(
        self, widget: QWidget, start: tuple[float, float], end: tuple[float, float]
    ) -> None:
        """Drag from one point of a widget to another."""
        mouse = Mouse(widget)
        mouse.move(*start)
        mouse.press(*start)
        for point in straight(start, end)[1:]:
            mouse.move(*point)
            QApplication.processEvents()
        mouse.release(*end)
        QApplication.processEvents()
