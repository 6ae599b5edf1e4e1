"""Detectors -> proposals, for an image and for a project."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError, ProjectError, WeightsError
from napari_graydet.project.schema import RoiRecord, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.events import Progress
from napari_graydet.workflows.predict import Predictor, plain_name
from napari_graydet.workflows.predict_project import predict_project
from tests.workflows.fakes import BrightHalf, FakeRois, fake_predictor, proposal


def image_of(rng: np.random.Generator, shape: tuple[int, int] = (40, 60)) -> GrayImage:
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    return GrayImage(pixels, GrayScale.of_bits(8), name="a.png", sha256="0" * 64)


def test_each_roi_gets_the_best_box_of_its_class() -> None:
    image = image_of(np.random.default_rng(0))
    predictor = fake_predictor(proposal(2, 3, 20, 30), proposal(25, 5, 55, 39, "lung", 0.4))
    annotation = predictor.annotate(image)
    assert annotation.state is State.PROPOSED
    assert not annotation.has_human_work
    assert [roi.label for roi in annotation.rois] == ["bone", "lung"]
    assert [box.roi_id for box in annotation.boxes] == [roi.id for roi in annotation.rois]
    for roi, box in zip(annotation.rois, annotation.boxes, strict=True):
        rows, cols = roi.roi_box.slices(image.shape)
        window = image.pixels[rows, cols]
        assert (box.low, box.high) == (int(np.median(window)), int(window.max()))
        assert (box.label, box.score, box.model) == (roi.label, 0.75, "fake-boxes")
        assert (box.x0, box.y0, box.x1, box.y1) == (roi.x0, roi.y0, roi.x1, roi.y1)


def test_nothing_found_is_an_empty_proposal() -> None:
    annotation = fake_predictor().annotate(image_of(np.random.default_rng(1)))
    assert (annotation.rois, annotation.boxes, annotation.state) == ((), (), State.PROPOSED)


def test_a_constant_roi_keeps_no_box_and_the_others_go_on() -> None:
    pixels = np.random.default_rng(2).integers(0, 200, (40, 60)).astype(np.uint8)
    pixels[:, :20] = 7
    image = GrayImage(pixels, GrayScale.of_bits(8))
    found = fake_predictor(proposal(0, 0, 20, 40), proposal(20, 0, 60, 40)).predict(image)
    assert len(found.annotation.rois) == 2
    assert [box.roi_id for box in found.annotation.boxes] == [found.annotation.rois[1].id]
    assert "ROI 1 (bone)" in found.notices[0]
    assert "7" in found.notices[0]


def test_rois_beyond_the_image_are_clipped() -> None:
    image = image_of(np.random.default_rng(3))
    (roi,) = fake_predictor(proposal(-5, -5, 500, 20)).rois(image)
    assert roi.roi == RoiBox(0, 0, 60, 20)


def test_a_class_that_the_box_detector_does_not_know_takes_any_box_but_keeps_its_name() -> None:
    boxes = BrightHalf(labels=("lung",))
    predictor = Predictor(roi_detector=FakeRois([proposal(0, 0, 9, 9)]), box_detector=boxes)
    annotation = predictor.annotate(image_of(np.random.default_rng(4)))
    assert boxes.asked == [None]
    assert annotation.boxes[0].label == "bone"


def test_model_names_lose_their_folders() -> None:
    assert plain_name("/home/anna/models/tiny.pt") == "tiny.pt"
    assert plain_name("C:\\Users\\anna\\tiny.pt") == "tiny.pt"
    assert plain_name("yolov3-tiny 1a2b3c4d") == "yolov3-tiny 1a2b3c4d"


def fake_loading(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    import napari_graydet.models

    monkeypatch.setitem(sys.modules, "napari_graydet.models.loading", module)
    monkeypatch.setattr(napari_graydet.models, "loading", module, raising=False)


def test_detectors_are_loaded_once_and_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[tuple[str, object, str]] = []
    gate = threading.Barrier(4)

    def load(kind: str, detector: object, source: object, device: str) -> object:
        loads.append((kind, source, device))
        return detector

    registry = ModuleType("registry")
    rois, boxes = FakeRois([proposal(0, 0, 9, 9)]), BrightHalf()
    registry.load_roi_detector = lambda source, device, _: load("roi", rois, source, device)  # type: ignore[attr-defined]
    registry.load_box_detector = lambda source, device: load("box", boxes, source, device)  # type: ignore[attr-defined]
    fake_loading(monkeypatch, registry)
    predictor = Predictor("r.safetensors", None, "cpu")
    assert loads == []
    image = image_of(np.random.default_rng(5))

    def work() -> None:
        gate.wait()
        predictor.annotate(image)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(loads) == [("box", None, "cpu"), ("roi", "r.safetensors", "cpu")]


def test_boxes_of_hand_drawn_rois_need_no_roi_detector() -> None:
    predictor = Predictor(
        roi_detector=FakeRois(ModelError("must not run")), box_detector=BrightHalf()
    )
    roi = RoiRecord(x0=0, y0=0, x1=30, y1=30, label="bone")
    found = predictor.propose_boxes(image_of(np.random.default_rng(6)), [roi])
    assert found.annotation.rois == (roi,)
    assert len(found.annotation.boxes) == 1


# --- a project -------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> ProjectStore:
    rng = np.random.default_rng(7)
    folder = tmp_path / "study"
    folder.mkdir()
    for number in range(4):
        pixels = rng.integers(0, 256, (40, 60)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"image{number}.png")
    return ProjectStore.open_or_create(folder)


PREDICTOR_ROIS = (proposal(2, 3, 20, 30), proposal(25, 5, 55, 39, "lung"))


def test_predict_project_saves_proposals(store: ProjectStore) -> None:
    events: list[Progress] = []
    report = predict_project(store, fake_predictor(*PREDICTOR_ROIS), on_progress=events.append)
    assert len(report.predicted) == 4
    assert [event.done for event in events] == [1, 2, 3, 4]
    for entry in store.entries():
        annotation, revision = store.annotation(entry.id)
        assert (entry.state, revision, len(annotation.boxes)) == (State.PROPOSED, 1, 2)


def test_human_work_is_never_overwritten(store: ProjectStore) -> None:
    first, second, *_ = store.entries()
    predictor = fake_predictor(*PREDICTOR_ROIS)
    predict_project(store, predictor)
    record, revision = store.annotation(first.id)
    edited = record.model_copy(update={"state": State.ACCEPTED, "rois": (), "boxes": ()})
    store.save(first.id, edited, expected_revision=revision, source="human", action="accept")
    record, revision = store.annotation(second.id)
    by_hand = record.rois[0].model_copy(update={"source": "human"})
    touched = record.model_copy(update={"rois": (by_hand, *record.rois[1:])})
    store.save(second.id, touched, expected_revision=revision, source="human", action="drag")
    report = predict_project(store, predictor, ids=[entry.id for entry in store.entries()])
    assert report.skipped == [first.id, second.id]
    assert store.annotation(first.id)[0] == edited
    assert store.annotation(second.id)[0] == touched
    assert len(report.predicted) == 2


def test_one_bad_image_is_reported_and_the_rest_go_on(store: ProjectStore) -> None:
    bad, *_ = store.entries()
    store.image_path(bad.id).write_bytes(b"\x89PNG\r\n\x1a\n garbage")
    report = predict_project(store, fake_predictor(*PREDICTOR_ROIS))
    assert [failure.image_id for failure in report.failed] == [bad.id]
    assert "\n" not in report.failed[0].message
    assert len(report.predicted) == 3
    assert store.entry(bad.id).state is State.NEW


def test_an_image_that_changed_since_it_was_annotated_is_refused(store: ProjectStore) -> None:
    predictor = fake_predictor(*PREDICTOR_ROIS)
    predict_project(store, predictor)
    entry, *_ = store.entries()
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(store.image_path(entry.id))
    report = predict_project(store, predictor)
    assert "changed since" in report.failed[0].message
    assert store.annotation(entry.id)[1] == 1


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: launch failed"), MemoryError()])
def test_a_failing_network_fails_images_not_the_job(store: ProjectStore, error: Exception) -> None:
    predictor = Predictor(roi_detector=FakeRois(error), box_detector=BrightHalf())
    report = predict_project(store, predictor)
    assert len(report.failed) == 4
    assert all(failure.message for failure in report.failed)


def test_weights_that_cannot_be_loaded_fail_once(
    store: ProjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> object:
        raise WeightsError("The weights are damaged; install them again.")

    registry = ModuleType("registry")
    registry.load_roi_detector = refuse  # type: ignore[attr-defined]
    fake_loading(monkeypatch, registry)
    with pytest.raises(WeightsError, match="damaged"):
        predict_project(store, Predictor())
    assert all(entry.state is State.NEW for entry in store.entries())


def test_stopping_keeps_what_is_finished(store: ProjectStore) -> None:
    done: list[Progress] = []
    report = predict_project(
        store,
        fake_predictor(*PREDICTOR_ROIS),
        on_progress=done.append,
        should_cancel=lambda: len(done) == 2,
    )
    assert report.cancelled
    assert len(report.predicted) == 2
    states = [entry.state for entry in store.entries()]
    assert states == [State.PROPOSED, State.PROPOSED, State.NEW, State.NEW]


def test_classes_that_the_project_lacks_are_appended(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    pixels = np.random.default_rng(8).integers(0, 256, (40, 60)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    store = ProjectStore.create(folder, ["femur"], [folder / "a.png"])
    report = predict_project(store, fake_predictor(*PREDICTOR_ROIS))
    assert store.classes == ["femur", "bone", "lung"] and report.added == ["bone", "lung"]


def test_a_disk_that_cannot_be_written_stops_the_job(
    store: ProjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise ProjectError("Cannot write annotations.db: No space left on device.")

    monkeypatch.setattr(store, "save_prediction", full)
    with pytest.raises(ProjectError, match="No space left"):
        predict_project(store, fake_predictor(*PREDICTOR_ROIS))
