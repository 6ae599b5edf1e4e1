"""A real window with a small project and detectors that know the answer."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot

from napari_graydet.gui import defer
from napari_graydet.gui.desk import Desk, desk_of
from napari_graydet.gui.workplace import Workplace, open_workplace
from tests.gui.fakes import make_folder, predictor


class Window:
    """A viewer with the workplace in it, on a folder of three images."""

    def __init__(self, viewer: Viewer, qtbot: QtBot, folder: Path) -> None:
        self.viewer = viewer
        self.qtbot = qtbot
        self.folder = folder
        self.workplace: Workplace = open_workplace(viewer)
        self.desk: Desk = desk_of(viewer)
        self.session = self.desk.session
        self.controller = self.desk.controller
        self.controller.detection._factory = predictor
        self.controller.open_folder(folder)
        self.wait(lambda: self.session.image is not None and self.session.job is None)
        self.wait(lambda: self.desk.layers.complete)

    def wait(self, condition: Callable[[], Any], timeout: int = 60_000) -> None:
        self.qtbot.waitUntil(lambda: bool(condition()), timeout=timeout)

    def wait_idle(self) -> None:
        self.wait(lambda: self.session.job is None)
        self.qtbot.wait(1)


@pytest.fixture(scope="module", autouse=True)
def nothing_left() -> None:
    """Collect what the module before has left: napari counts canvases, and looks at young ones."""
    gc.collect()


@pytest.fixture(autouse=True)
def no_mouse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's hand is on the mouse: where a press opens a list, `QTest` never lets go of it."""
    monkeypatch.setattr(defer, "mouse_is_held", lambda: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "study")


@pytest.fixture
def make_window(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot, tmp_path: Path
) -> Iterator[Callable[..., Window]]:
    made: list[Window] = []

    def make(show: bool = False) -> Window:
        folder = make_folder(tmp_path / f"study{len(made)}")
        made.append(Window(make_napari_viewer(show=show), qtbot, folder))
        return made[-1]

    yield make
    for window in made:
        window.desk.close()
        window.__dict__.clear()  # pytest keeps the object; napari looks for widgets left behind


@pytest.fixture
def window(make_window: Callable[..., Window]) -> Window:
    return make_window()
