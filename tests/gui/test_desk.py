from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.viewer import Viewer
from PIL import Image
from pytestqt.qtbot import QtBot

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.errors import ProjectError
from napari_graydet.gui import desk as desk_module
from napari_graydet.gui.desk import chosen_device, desk_of
from napari_graydet.gui.jobs import CLOSE_SECONDS, QtJobs
from napari_graydet.gui.leaving import would_end, would_lose
from napari_graydet.gui.panels import images as images_module
from napari_graydet.gui.workplace import IMAGES, WORKPLACE, open_workplace
from napari_graydet.project.schema import State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.events import OnProgress, Progress, ShouldCancel
from napari_graydet.workflows.predict import Predictor
from tests.gui.conftest import Window
from tests.gui.fakes import BRIGHT, FakeBoxes, FakeRois, make_folder

pytestmark = pytest.mark.gui


class SlowRois(FakeRois):
    """Takes its time, and says when it has begun."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def detect(self, image: GrayImage, *, min_score: float | None = None) -> list[RoiProposal]:
        self.begun.set()
        time.sleep(0.3)
        return super().detect(image)


def slow(window: Window) -> SlowRois:
    rois = SlowRois()
    window.controller.detection._factory = lambda: Predictor(
        roi_detector=rois, box_detector=FakeBoxes()
    )
    return rois


def test_two_viewers_do_not_share_anything(make_window: Callable[..., Window]) -> None:
    first, second = make_window(), make_window()
    assert first.desk is not second.desk
    first.controller.add_roi(BRIGHT)
    first.wait_idle()
    assert first.session.annotation.rois and not second.session.annotation.rois
    assert len(second.desk.layers.rois.data) == 0
    first.desk.close()
    second.controller.add_roi(BRIGHT)
    second.wait_idle()
    assert second.session.annotation.boxes


def test_panels_of_one_viewer_share_the_desk(window: Window) -> None:
    from napari_graydet._widgets import BoxWidget, ExportWidget, ImagesWidget, RoiWidget

    window.controller.add_roi(BRIGHT)
    window.wait_idle()
    for made in (BoxWidget, ExportWidget, ImagesWidget, RoiWidget):
        panel = made(window.viewer)
        assert panel.desk is window.desk
        window.viewer.window.add_dock_widget(panel, name=made.__name__)
        window.qtbot.wait(1)
        window.viewer.window.remove_dock_widget(panel)
    window.controller.set_range(1, 2)
    window.wait(lambda: window.workplace.box.low.value() == window.session.box.low == 1)


def test_the_workplace_is_opened_once(window: Window) -> None:
    again = open_workplace(window.viewer)
    assert again is window.workplace
    assert list(window.viewer.window.dock_widgets) == [WORKPLACE, IMAGES]


def test_keys_come_back_on_closing(make_napari_viewer: Callable[..., Viewer]) -> None:
    viewer: Viewer = make_napari_viewer()
    pressed: list[str] = []
    viewer.bind_key("Q", lambda _v: pressed.append("q"))
    before = dict(viewer.keymap)
    desk = desk_of(viewer)
    assert dict(viewer.keymap) != before
    desk.close()
    assert dict(viewer.keymap) == before


def test_closing_in_the_middle_of_a_detection(make_window: Callable[..., Window]) -> None:
    window = make_window()
    rois = slow(window)
    window.controller.detection.all()
    assert rois.begun.wait(10)
    began = time.monotonic()
    window.viewer.close()
    assert time.monotonic() - began < CLOSE_SECONDS + 2
    assert not window.desk.jobs._running, "no thread outlives its window"
    with ProjectStore.open(window.folder) as store:
        states = [entry.state for entry in store.entries()]
    assert set(states) <= {State.NEW, State.PROPOSED} and State.NEW in states


def test_cancel_keeps_what_is_finished(window: Window) -> None:
    window.controller.open_folder(make_folder(window.folder.parent / "many", 12))
    window.wait(lambda: len(window.session.entries) == 12 and window.session.image is not None)
    rois = slow(window)
    detection = window.controller.detection
    detection.all()
    window.wait(lambda: any(e.state is State.PROPOSED for e in window.session.entries))
    began = time.monotonic()
    detection.cancel()
    window.wait(lambda: window.session.job is None)
    assert time.monotonic() - began < 1.5
    assert "stopped" in window.session.message.text
    assert rois.begun.is_set()


def test_what_another_folder_would_end_is_said(window: Window) -> None:
    assert would_end(window.desk) == ""
    rois = slow(window)
    window.controller.detection.all()
    assert rois.begun.wait(10)
    assert would_end(window.desk) == (
        "Opening another folder ends detecting in all images; what is proposed stays."
    )
    window.desk.training.phase = "deciding"
    assert "comparison of two models" in would_end(window.desk)
    assert ", and detecting in all images" in would_end(window.desk)
    window.desk.training.phase = "idle"
    window.wait_idle()
    window.controller.detection.image()
    assert would_end(window.desk) == "", "one image is not worth a question"
    window.wait_idle()


def test_edits_that_could_not_be_saved_are_asked_about(
    make_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window(True)
    desk, native = window.desk, window.viewer.window._qt_window
    images = window.viewer.window.dock_widgets[IMAGES]
    asked: list[str] = []

    def no(_parent: object, _title: str, text: str, _yes: str) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(desk_module, "agreed", no)
    monkeypatch.setattr(images_module, "agreed", no)

    def refuses(*_: object, **__: object) -> int:
        raise ProjectError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(ProjectStore, "save", refuses)
        window.controller.add_roi(BRIGHT)
        window.wait_idle()
        assert window.session.unsaved and would_lose(desk).startswith("Edits of 1 image could")
        for folder in (window.folder, window.folder.parent / "other"):
            assert not images._may_leave(folder)
        native.close()
        window.qtbot.wait(50)
        assert native.isVisible() and window.session.annotation is not None
        assert len(asked) == 3 and all("would be lost" in text for text in asked)
    assert would_lose(desk) == "" and not window.session.unsaved, "it is tried once more before"
    assert images._may_leave(window.folder)


def test_editing_goes_on_during_a_detection_and_is_not_overwritten(window: Window) -> None:
    rois = slow(window)
    window.controller.detection.all()
    assert rois.begun.wait(10)
    window.controller.add_roi(BRIGHT)
    mine = window.session.annotation
    window.wait(lambda: window.session.job is None)
    assert window.session.annotation == mine


def test_the_window_does_not_freeze_while_images_are_read(
    make_window: Callable[..., Window],
) -> None:
    window = make_window()
    big = np.random.default_rng(0).integers(0, 255, (3000, 2500)).astype(np.uint8)
    Image.fromarray(big).save(window.folder / "image_2.png")  # the next one is read ahead
    ticks: list[float] = []
    window.controller.go_to(window.session.entries[2].id)
    while window.session.position != 2:
        ticks.append(time.monotonic())
        window.qtbot.wait(5)
        assert len(ticks) < 5000
    assert len(ticks) > 3, "events were handled while the image was decoded"


def test_an_error_in_a_worker_is_told_and_the_window_lives(qtbot: QtBot) -> None:
    jobs = QtJobs()
    told: list[object] = []

    def work(progress: OnProgress, cancel: ShouldCancel) -> None:
        progress(Progress(1, 2, "half"))
        raise MemoryError("out of memory")

    jobs.run(
        work, done=told.append, failed=told.append, progress=told.append,
        finished=lambda: told.append("finished"),
    )  # fmt: skip
    qtbot.waitUntil(lambda: "finished" in told)
    assert isinstance(told[0], Progress) and isinstance(told[1], MemoryError)
    assert told[2:] == ["finished"]


def test_nothing_is_called_back_after_closing(qtbot: QtBot) -> None:
    jobs, go, told = QtJobs(), threading.Event(), []

    def work(progress: OnProgress, cancel: ShouldCancel) -> int:
        while not cancel():
            go.wait(0.01)
        return 1

    jobs.run(work, done=told.append, failed=told.append, finished=lambda: told.append(0))
    jobs.close()
    qtbot.wait(50)
    assert told == [] and not jobs._running


def test_the_device_is_a_preference(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_device() == "auto"

    class Settings:
        class models:  # noqa: N801
            device = "cpu"

    before = window.desk._predictor()
    assert window.desk._predictor() is before
    monkeypatch.setattr(desk_module, "get_plugin_settings", lambda name: Settings)
    assert chosen_device() == "cpu"
    assert window.desk._predictor() is not before, "the next detection runs on the new device"


def test_a_bad_folder_is_one_line_and_the_window_goes_on(window: Window, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    window.controller.open_folder(tmp_path / "empty")
    window.wait(lambda: window.session.message is not None)
    assert "images" in window.session.message.text and "\n" not in window.session.message.text
    assert window.workplace.message.text() == window.session.message.text
    window.controller.open_folder(make_folder(tmp_path / "other", 2))
    window.wait(lambda: len(window.session.entries) == 2 and window.session.position == 0)
