"""The window and its detectors' process: R22, P9."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from napari_graydet.gui import desk as desk_module
from napari_graydet.workflows.detector.process import (
    DetectorProcess,
    DetectorSettings,
    ProcessPredictor,
)
from tests.gui.conftest import Window
from tests.gui.fakes import picture
from tests.workflows.detector_child import COMMAND

pytestmark = pytest.mark.gui


@pytest.fixture
def window(make_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch) -> Window:
    """Return a window whose detectors are in a process, and need no weights."""

    def process(settings: DetectorSettings) -> DetectorProcess:
        return DetectorProcess(settings, command=COMMAND)

    monkeypatch.setattr(desk_module, "DetectorProcess", process)
    made = make_window()
    made.controller.detection._factory = made.desk._predictor
    return made


def pid_of(window: Window) -> int | None:
    predictor = window.desk._predictor()
    assert isinstance(predictor, ProcessPredictor)
    return predictor._process.pid


def open_image(window: Window, name: str) -> None:
    folder = window.folder.parent / name
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / f"{name}.png")
    window.controller.open_folder(folder)
    window.wait(lambda: window.session.image is not None and window.session.folder == folder)
    window.wait_idle()


def test_detections_come_from_the_process_with_their_alternatives(window: Window) -> None:
    window.controller.detection.warm_up()
    pid = pid_of(window)
    assert pid is not None and window.session.job is None
    window.controller.detection.image()
    window.wait_idle()
    session, box = window.session, window.workplace.box
    assert session.annotation is not None and session.roi is not None
    assert [roi.label for roi in session.annotation.rois] == ["bone", "lung"]
    assert pid_of(window) == pid
    assert set(session.alternatives) == {roi.id for roi in session.annotation.rois}
    window.wait(lambda: box.alternatives.count() == 2)
    assert box.alternatives.currentIndex() == 0
    second = session.alternatives[session.roi.id][1]
    box.alternatives.activated.emit(1)
    assert session.box is not None and (session.box.low, session.box.high) == (
        second.low, second.high,
    )  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_the_window_survives_what_happens_to_the_process(window: Window) -> None:
    session, detection = window.session, window.controller.detection
    open_image(window, "sleep")
    detection.image()
    window.wait(lambda: pid_of(window))
    os.kill(pid_of(window) or 0, signal.SIGKILL)
    window.wait_idle()
    assert session.message is not None and session.message.level == "error"
    assert "SIGKILL" in session.message.text and "\n" not in session.message.text
    assert session.annotation is not None and not session.annotation.rois

    detection.image()  # starts another one, and sleeps in it
    window.wait(lambda: pid_of(window))
    began = time.monotonic()
    detection.cancel()
    window.wait_idle()
    seconds = time.monotonic() - began
    print(f"R22: the window's detection stopped within {seconds:.2f} s")
    assert seconds < 1.0
    assert session.message is not None and session.message.level == "info"

    open_image(window, "crash")
    detection.image()
    window.wait_idle()
    assert session.message is not None and "SIGABRT" in session.message.text

    open_image(window, "weights")
    detection.image()
    window.wait_idle()
    assert session.message is not None and "weights are damaged" in session.message.text

    open_image(window, "fine")
    detection.all()
    window.wait_idle()
    assert session.annotation is not None and len(session.annotation.rois) == 2


def test_the_process_ends_with_the_window(window: Window) -> None:
    open_image(window, "sleep")
    window.controller.detection.image()
    window.wait(lambda: pid_of(window))
    pid = pid_of(window)
    began = time.monotonic()
    window.viewer.close()
    assert time.monotonic() - began < 30, "it did not wait for a detection of 60 s"
    assert not window.desk.jobs._running
    assert not Path(f"/proc/{pid}").exists(), "neither alive nor a zombie"
