"""What the window will show, drawn once before it is needed."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from napari_graydet.gui.cloud.view import CloudView
from napari_graydet.gui.defer import TURN, Deferred
from napari_graydet.gui.image.layers import Layers


class Rehearsal:
    """Makes the layers and has examples of everything drawn.

    The first time costs: a layer 0.1 s, a shader some 10 ms, a letter 5 ms, the layout of a window
    0.3 s. Left to the first image and the first detection, these would make the window stand still.

    Parameters
    ----------
    layers, cloud
        What is drawn.
    """

    def __init__(self, layers: Layers, cloud: CloudView) -> None:
        self._layers = layers
        self._cloud = cloud
        self._window: QWidget | None = None
        self._next = Deferred(self._make_next, TURN)

    def make_layers(self) -> None:
        """Make what is missing of the layers."""
        while not self._layers.prepare():
            pass

    def now(self, window: QWidget) -> None:
        """Make and draw everything; the window need not be shown yet."""
        self.make_layers()
        window.winId()  # one that was never shown has nothing to draw on yet
        with self._cloud.example():
            for _ in self._layers.examples():
                window.grab()  # lays out, too

    def in_turns(self, window: QWidget) -> None:
        """Do the same in a window that is shown, one thing in a turn of the event loop."""
        self._window = window
        self._next()

    def drop(self) -> None:
        """Forget what is still to be made."""
        self._next.drop()

    def _make_next(self) -> None:
        assert self._window is not None
        if self._layers.prepare():
            self.now(self._window)
        else:
            self._next()
