"""Detectors in another process: the same results, and what happens when it fails (R22)."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import CancelledError, ModelError, WeightsError
from napari_graydet.project.schema import CleanUpRecord, ResidualRecord, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.command_process import NICE
from napari_graydet.workflows.detector import messages
from napari_graydet.workflows.detector.process import (
    DetectorProcess,
    DetectorSettings,
    ProcessPredictor,
)
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.predict_project import predict_project
from tests.workflows.detector_child import COMMAND, FOUND, ROOT
from tests.workflows.fakes import BrightHalf, FakeRois, Shifts


def image_of(name: str = "a.png", seed: int = 0) -> GrayImage:
    pixels = np.random.default_rng(seed).integers(0, 4096, (40, 60)).astype(np.uint16)
    return GrayImage(pixels, GrayScale.of_bits(12), name=name, notes=("12 of 16 bit.",))


def make_process() -> DetectorProcess:
    return DetectorProcess(DetectorSettings(), command=COMMAND)


@pytest.fixture(scope="module")
def process() -> Iterator[DetectorProcess]:
    process = make_process()
    yield process
    process.close()


@pytest.fixture
def predictor(process: DetectorProcess) -> ProcessPredictor:
    return ProcessPredictor(process)


def plain(found: object) -> object:
    return [
        {k: v for k, v in item.model_dump().items() if k not in ("id", "roi_id")}
        for item in (*found.annotation.rois, *found.annotation.boxes)  # type: ignore[attr-defined]
    ]


def test_the_proposals_are_those_of_the_same_detectors_here(predictor: ProcessPredictor) -> None:
    here = Predictor(roi_detector=FakeRois(FOUND), box_detector=BrightHalf())
    for seed in range(3):
        image = image_of(seed=seed)
        there = predictor.predict(image)
        assert plain(there) == plain(here.predict(image))
        assert there.notices == ("12 of 16 bit.",)
        ids = [roi.id for roi in there.annotation.rois]
        assert list(there.alternatives) == ids
        for box in there.annotation.boxes:
            assert there.alternatives[box.roi_id][0] == box
            assert len(there.alternatives[box.roi_id]) == 2


@pytest.fixture(scope="module")
def refining() -> Iterator[ProcessPredictor]:
    process = DetectorProcess(DetectorSettings(refiner_source="any"), command=COMMAND)
    yield ProcessPredictor(process)
    process.close()


@pytest.mark.parametrize("cleanup", [{}, {"bone": CleanUpRecord(opening=1)}])
def test_the_process_refines_as_the_same_refiner_does_here(
    refining: ProcessPredictor, cleanup: dict[str, CleanUpRecord]
) -> None:
    here = Predictor(roi_detector=FakeRois(FOUND), box_detector=BrightHalf(), refiner=Shifts())
    image = image_of()
    found = here.propose_boxes(image, here.predict(image).annotation.rois)
    found = replace(found, annotation=found.annotation.model_copy(update={"cleanup": cleanup}))
    residual = refining.refined(image, found).annotation.residual
    assert set(residual) == {"bone"}
    assert (residual["bone"].source, residual["bone"].model) == ("model", "shifts")
    if not cleanup:
        assert residual == here.refined(image, found).annotation.residual
    refined = found.annotation.model_copy(update={"residual": residual})
    plain = found.annotation.model_copy(update={"cleanup": {}})
    np.testing.assert_array_equal(
        refined.mask(image.pixels, "bone"), np.roll(plain.mask(image.pixels, "bone"), 1, axis=1)
    )
    notices = refining.predict(image).notices
    assert notices[1:] == ("lung: not refined, shifts does not know it",)


def test_the_process_sees_the_rois_that_the_same_refiner_sees_here(
    refining: ProcessPredictor,
) -> None:
    here = Predictor(roi_detector=FakeRois(FOUND), box_detector=BrightHalf(), refiner=Shifts())
    image, found = image_of(), here.predict(image_of())
    assert plain(refining.predict(image)) == plain(found)
    assert "shifts" in [roi.model for roi in found.annotation.rois]
    assert refining.refiner is not None and here.refiner is not None
    for rois, doubtful in ((FOUND, ()), ((), FOUND)):
        seen = here.refiner.missed(image, rois, doubtful)
        assert seen and refining.refiner.missed(image, rois, doubtful) == seen


def test_what_a_person_painted_stays_in_the_process_too(refining: ProcessPredictor) -> None:
    found = refining.predict(image_of())
    painted = {"bone": ResidualRecord(added=((0, 5),), source="human")}
    mine = found.annotation.model_copy(update={"residual": painted})
    again = refining.refined(image_of(), replace(found, annotation=mine))
    assert again.annotation.residual == painted


def test_without_a_refiner_nobody_asks_for_one(predictor: ProcessPredictor) -> None:
    assert predictor.refiner is None and not predictor.predict(image_of()).annotation.residual


def test_pixels_are_sent_once_per_image(predictor: ProcessPredictor) -> None:
    image = image_of()
    predictor.rois(image)
    sent: list[bytes] = []
    child = predictor._process._child
    assert child is not None
    send = child.send
    child.send = lambda data: (sent.append(data), send(data))[1]  # type: ignore[method-assign]
    predictor.boxes(image, RoiBox(0, 0, 9, 9))
    predictor.boxes(image, RoiBox(3, 3, 30, 30), "lung")
    assert len(sent) == 2 and sum(map(len, sent)) < image.pixels.nbytes
    predictor.rois(image_of(seed=1))
    assert len(sent[2]) > image.pixels.nbytes


@pytest.mark.skipif(os.name != "posix", reason="Windows sets the priority at the start")
def test_the_window_goes_first_from_the_first_import_on() -> None:
    process = make_process()
    process.start()
    try:
        assert process.pid is not None
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(own + NICE, 19)
    finally:
        process.close()


def test_errors_cross_as_what_they_are(predictor: ProcessPredictor) -> None:
    predictor.predict(image_of())
    pid = predictor._process.pid
    with pytest.raises(WeightsError, match="These weights are damaged; choose others"):
        predictor.predict(image_of("weights.png"))
    with pytest.raises(ModelError, match="MemoryError, no room for 3 GB"):
        predictor.predict(image_of("memory.png"))
    with pytest.raises(ModelError, match="KeyError"):
        predictor._process.ask({"ask": "boxes"}, None)
    assert predictor._process.pid == pid, "an error ends no process"
    assert predictor.predict(image_of()).annotation.boxes


def test_a_notice_of_ours_reaches_the_user_and_others_do_not(predictor: ProcessPredictor) -> None:
    notices = predictor.predict(image_of("notice.png")).notices
    assert notices[1:] == ("Out of memory on cuda; going on on the CPU, which is slower.",)
    assert predictor.predict(image_of()).notices == ("12 of 16 bit.",)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_killed_process_is_an_error_and_the_next_detection_works(
    predictor: ProcessPredictor,
) -> None:
    predictor.predict(image_of())
    pid = predictor._process.pid
    assert pid is not None
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(ChildProcessError, match="was ended by SIGKILL"):
        predictor.predict(image_of("sleep.png"))
    assert predictor._process.pid is None
    assert not Path(f"/proc/{pid}").exists(), "no zombie stays"
    assert predictor.predict(image_of()).annotation.boxes
    assert predictor._process.pid not in (None, pid)


def test_a_crash_in_one_image_leaves_the_others(
    predictor: ProcessPredictor, tmp_path: Path
) -> None:
    for name in ("a.png", "crash.png", "z.png"):
        Image.fromarray(image_of().pixels.astype(np.uint8)).save(tmp_path / name)
    with ProjectStore.open_or_create(tmp_path) as store:
        report = predict_project(store, predictor)
        states = {entry.path: entry.state for entry in store.entries()}
    assert [failure.name for failure in report.failed] == ["crash.png"]
    assert "process" in report.failed[0].message
    assert [states[n] for n in ("a.png", "z.png")] == [State.PROPOSED] * 2


def test_stopping_takes_less_than_a_second_and_keeps_what_is_done(
    predictor: ProcessPredictor, tmp_path: Path
) -> None:
    for name in ("a.png", "sleep.png", "z.png"):
        Image.fromarray(image_of().pixels.astype(np.uint8)).save(tmp_path / name)
    stop = threading.Event()
    took: list[float] = []

    def cancelled() -> bool:
        if stop.is_set() and not took:
            took.append(time.monotonic())
        return stop.is_set()

    with ProjectStore.open_or_create(tmp_path) as store:
        report = predict_project(
            store,
            predictor,
            on_progress=lambda _: threading.Timer(0.2, stop.set).start(),
            should_cancel=cancelled,
        )
        seconds = time.monotonic() - took[0]
        done = [e.path for e in store.entries() if e.state is State.PROPOSED]
    print(f"R22: detection stopped {seconds:.2f} s after it was asked to")
    assert report.cancelled and done == ["a.png"] and not report.failed
    assert seconds < 1.0


def test_closing_ends_a_detection_and_the_process() -> None:
    process = make_process()
    predictor = ProcessPredictor(process)
    predictor.warm_up()
    pid = process.pid
    assert pid is not None
    errors: list[Exception] = []

    def detect() -> None:
        try:
            predictor.predict(image_of("sleep.png"))
        except CancelledError as error:
            errors.append(error)

    worker = threading.Thread(target=detect)
    worker.start()
    process.close()
    worker.join(5)
    assert errors and not worker.is_alive()
    assert process.pid is None
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(CancelledError):
        predictor.predict(image_of())
    process.close()


@pytest.mark.skipif(os.name != "posix", reason="asks the system for processes by number")
def test_a_killed_window_leaves_no_process() -> None:
    code = (
        "import time; from tests.workflows.test_detector_process import make_process as m;"
        "p = m(); p.start(); print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as window:
        assert window.stdout is not None
        pid = int(window.stdout.readline())
        window.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.05)


def test_a_program_that_cannot_be_started_is_one_line() -> None:
    process = DetectorProcess(DetectorSettings(), command=("/no/such/program",))
    with pytest.raises(ModelError, match=r"could not be started: .*\.$"):
        ProcessPredictor(process).predict(image_of())
    process = DetectorProcess(DetectorSettings(), command=(sys.executable, "-c", "exit(3)"))
    with pytest.raises(ChildProcessError, match="ended with status 3"):
        ProcessPredictor(process).predict(image_of())
    process = DetectorProcess(DetectorSettings(), command=(sys.executable, "-c", "print('hello')"))
    with pytest.raises(ChildProcessError):
        ProcessPredictor(process).predict(image_of())


def test_files_in_the_working_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("open('executed', 'w')")
    (tmp_path / "napari_graydet").mkdir()
    (tmp_path / "napari_graydet" / "__init__.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    command = DetectorProcess(DetectorSettings())._command
    process = DetectorProcess(DetectorSettings(), command=(*command[:-1], '{"nonsense": 1}'))
    with pytest.raises(ChildProcessError, match="ended with status 1"):
        process.ask({"ask": "describe", "which": "roi"}, None)
    assert not (tmp_path / "executed").exists()


numbers = st.floats(0, 1000, allow_nan=False)


@given(numbers, numbers, st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_proposals_cross_bit_for_bit(score: float, x: float, k: int, seed: int) -> None:
    import json

    rng = np.random.default_rng(seed)
    low = rng.normal(size=(k, k)) * 1e4
    roi = RoiBox(x, x / 3, x + 1 / 3, x + 7)
    sure = (None, None) if k == 1 else (score / 7, x / 3)
    box = BoxProposal(GrayBox(roi, low, low + 1 / 7), "os – bone", score, *sure, drawn=k == 1)
    again = messages.box_of(json.loads(json.dumps(messages.box_message(box))))
    assert (again.label, again.score, again.box.roi) == (box.label, score, roi)
    assert (again.margin, again.spread, again.drawn) == (*sure, k == 1)
    np.testing.assert_array_equal(again.box.low, box.box.low)
    np.testing.assert_array_equal(again.box.high, box.box.high)
    found = RoiProposal(roi, "os – bone", score)
    assert messages.roi_of(json.loads(json.dumps(messages.roi_message(found)))) == found


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_images_cross_bit_for_bit(dtype: type[np.integer]) -> None:
    pixels = np.random.default_rng(3).integers(0, 120, (5, 7)).astype(dtype).T
    scale = GrayScale(-5, 2000, 1999.5, -3.25, 2.0, -1024.0, "HU")
    data = messages.image_bytes(GrayImage(pixels, scale, name="a\nb.png"))
    message = messages.read_message(io.BytesIO(data))
    assert message is not None
    image = message["image"]
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == dtype
    assert (image.scale, image.name) == (scale, "a\nb.png")
    for end in (len(data) - 1, 10):
        assert messages.read_message(io.BytesIO(data[:end])) is None, "a torn message is none"


def test_no_thread_stays_when_a_process_is_closed() -> None:
    before = set(threading.enumerate())
    process = make_process()
    process.start()
    process.close()
    end = time.monotonic() + 5
    while alive := set(threading.enumerate()) - before:
        assert time.monotonic() < end, alive
        time.sleep(0.01)
