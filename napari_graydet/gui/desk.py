"""What belongs to one viewer: session, controller, layers, keys. All its panels share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.settings import get_plugin_settings
from napari.viewer import Viewer
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.errors_shown import ErrorsShown
from napari_graydet.gui.control.evaluation import Evaluation
from napari_graydet.gui.control.session import Session
from napari_graydet.gui.control.training import Training
from napari_graydet.gui.defer import Deferred
from napari_graydet.gui.image.errors import Overlay
from napari_graydet.gui.image.layers import Layers, Tool
from napari_graydet.gui.jobs import QtJobs
from napari_graydet.gui.keys import Keys
from napari_graydet.gui.leaving import would_lose
from napari_graydet.gui.question import agreed
from napari_graydet.models.loading import shipped_refiner
from napari_graydet.workflows.detector.process import (
    DetectorProcess,
    DetectorSettings,
    ProcessPredictor,
)
from napari_graydet.workflows.predict import Predictor

WARM_UP_PAUSE = 800
"""Milliseconds from the first image to the start of the detectors' process: the window is drawn
first, and the person has not looked at the image yet."""

PLUGIN = "napari-graydet"

_desks: dict[int, Desk] = {}


def desk_of(viewer: Viewer) -> Desk:
    """Return the desk of a viewer, made when it is first asked for."""
    inner = getattr(viewer, "__wrapped__", viewer)  # plugins are handed a proxy
    if id(inner) not in _desks:
        _desks[id(inner)] = Desk(inner)
    return _desks[id(inner)]


def chosen_device() -> str:
    """Return the device chosen in Preferences: auto, cuda, mps or cpu."""
    try:
        settings: Any = get_plugin_settings(PLUGIN)
    except KeyError:  # the plugin is not registered with napari: used as a library
        return "auto"
    return str(settings.models.device)


class Desk:
    """The state and the tools of one viewer."""

    tool_changed = Signal()
    closed = Signal()

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.session = Session()
        self.jobs = QtJobs()
        self._detectors: tuple[DetectorSettings, DetectorProcess, Predictor] | None = None
        self.controller = Controller(self.session, self.jobs, self._predictor)
        self.layers = Layers(viewer, self.controller, self._tool_chosen)
        self.training = Training(self.controller, chosen_device)
        self.evaluation = Evaluation(
            self.controller, lambda: self.training.models.name, chosen_device
        )
        self.errors = ErrorsShown(self.controller)
        self.overlay = Overlay(viewer, self.layers, self.errors)
        self.keys = Keys(viewer, self)
        self._watcher: _Watcher | None = None
        self._open = True
        self._warm_up = Deferred(self.controller.detection.warm_up, WARM_UP_PAUSE)
        self.session.image_changed.connect(self._first_image)
        self.training.models_changed.connect(self._other_models)

    def _tool_chosen(self, tool: Tool) -> None:
        """Whoever paints has to see the mask, which the errors of a model cover."""
        if tool in (Tool.PAINT, Tool.ERASE):
            self.errors.hide()
        self.tool_changed.emit()

    def _first_image(self) -> None:
        self.session.image_changed.disconnect(self._first_image)
        self._warm_up()

    def _other_models(self) -> None:
        """Let the detectors in use load, in a process of their own, before they are asked for."""
        if self.session.image is not None:
            self._warm_up()

    def _predictor(self) -> Predictor:
        """Return the detectors in use, on the device that Preferences name now.

        A refiner that was trained here corrects every proposal; the shipped one only when asked.
        """
        weights = self.training.models.weights
        trained, shipped = weights("refiner"), shipped_refiner()
        refiner = trained or (None if shipped is None else str(shipped))
        settings = DetectorSettings(
            weights("roi"), weights("boxes"), refiner, chosen_device(), auto_refine=bool(trained)
        )
        if self._detectors is None or self._detectors[0] != settings:
            self._close_detectors()
            process = DetectorProcess(settings)
            self._detectors = settings, process, ProcessPredictor(process)
        return self._detectors[2]

    def _close_detectors(self) -> None:
        if self._detectors is not None:
            self._detectors[1].close()
            self._detectors = None

    @property
    def tool(self) -> Tool:
        """What the mouse does in the image."""
        return self.layers.tool

    def watch(self, window: QWidget) -> None:
        """Close with this window."""
        if self._watcher is None:
            self._watcher = _Watcher(window, self._may_close, self.close)

    def _may_close(self, window: QWidget) -> bool:
        """Ask before edits are lost that the disk has not taken."""
        lost = would_lose(self)
        if not lost or not _shows_something(window):
            return True
        if agreed(window, "Close", lost, "Close anyway"):
            return True
        if hasattr(window, "_quit_app"):
            window._quit_app = False  # napari notes Ctrl+Q before it closes, and does not forget it
        return False

    def close(self) -> None:
        """Stop the work, close the project, give the keys back; may be called twice."""
        if not self._open:
            return
        self._open = False
        if self._watcher is not None:
            self._watcher.forget()
            self._watcher = None
        _desks.pop(id(self.viewer), None)
        self._warm_up.drop()
        self._close_detectors()  # a detection that waits for them ends at once
        self.training.close()
        self.evaluation.close()
        self.errors.close()
        self.overlay.close()
        self.keys.close()
        self.layers.close()
        self.closed.emit()
        self.controller.close()


def _shows_something(window: QWidget) -> bool:
    """Tell whether a person can be asked: a program that closes a viewer empties it first."""
    central = window.centralWidget() if isinstance(window, QMainWindow) else None
    inside = [] if central is None else central.children()
    return window.isVisible() and any(isinstance(w, QWidget) and w.isVisible() for w in inside)


class _Watcher(QObject):
    """Sees a window being closed, without reaching into napari; holds no reference to it."""

    def __init__(
        self, window: QWidget, may_close: Callable[[QWidget], bool], close: Callable[[], None]
    ) -> None:
        super().__init__(window)
        self._may_close: Callable[[QWidget], bool] | None = may_close
        self._close: Callable[[], None] | None = close
        window.installEventFilter(self)

    def forget(self) -> None:
        """Let go of the desk."""
        self._close = self._may_close = None

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """Close the desk when its window closes; a person may still say no to closing."""
        if event is not None and event.type() == QEvent.Type.Close and watched is self.parent():
            asks = self._may_close
            if asks is not None and isinstance(watched, QWidget) and not asks(watched):
                event.ignore()
                return True
            if event.spontaneous():
                QTimer.singleShot(0, self._close_if_gone)
            else:
                self._close_now()
        return False

    def _close_if_gone(self) -> None:
        window = self.parent()
        if not (isinstance(window, QWidget) and window.isVisible()):
            self._close_now()

    def _close_now(self) -> None:
        if self._close is not None:
            self._close()
