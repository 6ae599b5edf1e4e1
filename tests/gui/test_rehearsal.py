"""After the window is there, the first image brings data and nothing else."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import pytest
from pytestqt.qtbot import QtBot
from vispy.gloo.program import Program

from napari_graydet.gui import open_window
from napari_graydet.gui.desk import Desk, desk_of
from napari_graydet.gui.workplace import WORKPLACE
from tests.gui.fakes import make_folder, predictor

pytestmark = pytest.mark.gui


class Programs:
    """Knows the OpenGL programs that were ever compiled, and says which are new."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._known: weakref.WeakSet[Program] = weakref.WeakSet()
        self.new: list[Program] = []
        compiled = Program.set_shaders

        def noted(program: Program, *args: object, **options: object) -> None:
            if program not in self._known:
                self._known.add(program)
                self.new.append(program)
            compiled(program, *args, **options)

        monkeypatch.setattr(Program, "set_shaders", noted)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    return Programs(monkeypatch)


@pytest.fixture
def opened(
    qtbot: QtBot, tmp_path: Path, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[napari.Viewer, Desk]]:
    monkeypatch.setattr(gc, "freeze", lambda: None)  # what other tests left shall still be found
    viewer = open_window(make_folder(tmp_path / "study"))
    desk = desk_of(viewer)
    desk.controller.detection._factory = predictor
    yield viewer, desk
    viewer.close()


def wait(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition, timeout=60000)
    qtbot.wait(300)  # until it is drawn


def test_first_image_and_first_detection_need_no_layer_and_no_program(
    opened: tuple[napari.Viewer, Desk], programs: Programs, qtbot: QtBot
) -> None:
    viewer, desk = opened
    made = list(viewer.layers)
    assert desk.layers.complete and len(made) == 3
    assert not any(layer.visible for layer in made) and not viewer.layers.selection
    assert len(desk.layers.rois.data) == 0, "the example is gone"
    assert not desk.layers.mask.data.any()
    assert len(programs.new) > 5, "frames were drawn"
    programs.new.clear()
    wait(qtbot, lambda: desk.session.image is not None and desk.session.job is None)
    assert all(layer.visible for layer in made)
    desk.controller.detection.image()
    wait(qtbot, lambda: desk.session.box is not None and desk.session.job is None)
    cloud = viewer.window.dock_widgets[WORKPLACE].box.cloud
    assert cloud.handles(), "the cloud is shown, too"
    assert list(viewer.layers) == made
    assert programs.new == []
