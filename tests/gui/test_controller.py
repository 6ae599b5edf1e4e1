from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.grayscale import GrayRange
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ProjectError
from napari_graydet.gui.control import edits
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.images import ImageCache
from napari_graydet.project.schema import CleanUpRecord, ResidualRecord, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows.predict import Predictor
from tests.gui.fakes import (
    BRIGHT,
    Broken,
    FakeBoxes,
    FakeRois,
    Handle,
    InlineJobs,
    Wavering,
    make_controller,
    make_folder,
)
from tests.workflows.fakes import Shifts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "study")


@pytest.fixture
def controller(folder: Path) -> Iterator[Controller]:
    controller = make_controller(folder)
    yield controller
    controller.close()


def on_disk(controller: Controller):
    """Return the current image's record as another process would read it."""
    assert controller.session.folder is not None and controller.session.image_id is not None
    with ProjectStore.open(controller.session.folder) as store:
        return store.annotation(controller.session.image_id)[0]


def test_the_first_image_is_shown_and_nothing_is_stored_yet(controller: Controller) -> None:
    session = controller.session
    assert len(session.entries) == 3 and session.position == 0
    assert session.annotation is not None and not session.annotation.rois
    assert session.classes == ("bone", "lung") and session.label == "bone"
    assert session.saved_at is None and session.message is None


def test_a_drawn_roi_gets_a_box_and_both_are_on_disk(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    session = controller.session
    assert session.roi is not None and session.box is not None
    assert session.box.roi_id == session.roi.id and session.box.source == "model"
    assert len(session.alternatives[session.roi.id]) == 3
    assert on_disk(controller) == session.annotation
    assert session.masks is not None and session.masks.map[10:40, 20:50].all()


def test_detecting_an_image_brings_the_alternatives_of_every_box(controller: Controller) -> None:
    told: list[None] = []
    controller.session.alternatives_changed.connect(lambda: told.append(None))
    controller.detection.image()
    session = controller.session
    assert session.roi is not None and session.box is not None and told
    found = session.alternatives[session.roi.id]
    assert found[0] == session.box and [b.low for b in found] == [150, 100, 0]
    controller.choose_alternative(1)
    assert (session.box.low, session.box.high) == (100, 220)
    stored = on_disk(controller)
    assert len(stored.boxes) == 1, "the others are no part of the record"
    controller.next()
    controller.previous()
    assert session.roi is not None and session.alternatives[session.roi.id] == found


def refining() -> Predictor:
    return Predictor(roi_detector=FakeRois(), box_detector=FakeBoxes(), refiner=Shifts())


def test_detections_are_refined_and_painted_residuals_stay(folder: Path) -> None:
    controller = make_controller(folder, refining)
    session = controller.session
    controller.detection.image()
    assert session.annotation is not None and session.masks is not None
    residual = session.annotation.residual["bone"]
    assert (residual.source, residual.model) == ("model", "shifts")
    base = session.annotation.base_mask(session.masks.pixels, "bone")
    np.testing.assert_array_equal(session.masks.map == 1, np.roll(base, 1, axis=1))
    assert on_disk(controller) == session.annotation

    controller.choose_alternative(1)
    controller.detection.box()  # another box: the residual is that of this one
    base = session.annotation.base_mask(session.masks.pixels, "bone")
    np.testing.assert_array_equal(session.masks.map == 1, np.roll(base, 1, axis=1))
    assert session.annotation.residual["bone"].source == "model"

    mine = {"bone": residual.model_copy(update={"source": "human"})}
    controller.commit(session.annotation.model_copy(update={"residual": mine}), "paint", "human")
    controller.detection.box()
    controller.detection.image()
    assert session.annotation.residual == mine
    controller.close()


def test_a_refiner_that_is_not_in_use_corrects_when_asked(folder: Path) -> None:
    def asked() -> Predictor:
        return Predictor(
            roi_detector=FakeRois(), box_detector=FakeBoxes(), refiner=Shifts(), auto_refine=False
        )

    controller = make_controller(folder, asked)
    session = controller.session
    controller.detection.refine()  # there is nothing to refine yet
    controller.detection.image()
    assert session.annotation is not None and session.masks is not None
    assert len(session.annotation.rois) == 1 and session.annotation.residual == {}
    controller.detection.refine()
    base = session.annotation.base_mask(session.masks.pixels, "bone")
    np.testing.assert_array_equal(session.masks.map == 1, np.roll(base, 1, axis=1))
    assert on_disk(controller) == session.annotation
    assert session.annotation.residual["bone"].source == "model"
    controller.detection.refine()
    assert session.message is not None and session.message.text.startswith("Nothing to refine")
    controller.undo()
    np.testing.assert_array_equal(session.masks.map == 1, base)

    mine = {"bone": ResidualRecord(added=((0, 5),), source="human")}
    controller.commit(session.annotation.model_copy(update={"residual": mine}), "paint", "human")
    controller.detection.refine()
    assert session.annotation.residual == mine
    controller.close()


def test_without_a_refiner_the_way_to_one_is_told(folder: Path) -> None:
    controller = make_controller(folder)
    controller.detection.image()
    controller.detection.refine()
    message = controller.session.message
    assert message is not None and "train one" in message.text


def test_a_refinement_of_boxes_that_are_no_more_is_not_taken(folder: Path) -> None:
    controller = make_controller(folder, refining)
    session, jobs = controller.session, controller.jobs
    controller.detection.image()
    assert isinstance(jobs, InlineJobs)
    jobs.hold = True
    controller.detection.refine()
    controller.set_range(10, 20)
    before = session.annotation
    jobs.release()
    assert session.annotation is before
    assert session.message is not None and "refine once more" in session.message.text


def test_a_drag_is_previewed_and_committed_once(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    session = controller.session
    revision = session.entry.revision
    for low in range(60, 120):
        controller.preview_range(low, 255)
    assert session.preview is not None and session.entry.revision == revision
    assert session.shown_box.low == 119 and session.box.low == 150
    controller.set_range(190, 200)
    assert session.preview is None and session.entry.revision == revision + 1
    assert (session.box.low, session.box.high, session.box.source) == (190, 200, "human")
    pixels = session.image.pixels
    np.testing.assert_array_equal(session.masks.map, on_disk(controller).label_map(
        pixels, list(session.classes)))  # fmt: skip


def test_a_drag_back_to_the_start_stores_nothing(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    revision = controller.session.entry.revision
    before = controller.session.masks.map.copy()
    controller.preview_range(0, 255)
    controller.set_range(150, 255)
    assert controller.session.entry.revision == revision and controller.session.preview is None
    np.testing.assert_array_equal(controller.session.masks.map, before)


def test_setting_a_range_makes_the_box_of_a_bare_roi(folder: Path) -> None:
    class NoBoxes(FakeBoxes):
        def detect(self, *args: object, **more: object) -> list:  # type: ignore[override]
            return []

    controller = make_controller(
        folder, lambda: Predictor(roi_detector=Broken(), box_detector=NoBoxes())
    )
    controller.add_roi(BRIGHT)
    assert controller.session.box is None and "No 3D box" in controller.session.message.text
    controller.preview_range(150, 255)
    assert controller.session.masks.map.sum() == 900
    controller.set_range(150, 255)
    assert controller.session.box is not None and on_disk(controller).boxes
    controller.close()


def test_moving_the_box_in_3d_moves_its_roi(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    extent = RoiBox(10, 5, 60, 50)
    revision = controller.session.entry.revision
    controller.set_box(GrayBox.flat(extent, GrayRange(10, 20)))
    assert controller.session.entry.revision == revision + 1
    assert controller.session.roi.roi_box == controller.session.box.roi_box == extent
    assert controller.session.box.low == 10


def test_tilt_and_back(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    controller.set_net(2)
    assert controller.session.box.gray_box().k == 2
    controller.set_net(1)
    assert (controller.session.box.low, controller.session.box.high) == (150, 255)


def test_a_box_is_fitted_to_what_was_painted(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    session = controller.session
    rows, cols = session.roi.roi_box.slices(session.image.shape)
    truth = np.zeros(session.image.shape, dtype=np.uint8)
    truth[rows, cols] = session.image.pixels[rows, cols] >= 150
    controller.set_range(0, 3)
    controller.paint(truth)
    before = session.box
    controller.detection.fit(1)
    best = best_range(session.image, truth.astype(bool), session.roi.roi_box)
    after = session.box
    assert after.id == before.id and after.source == "human"
    assert after.gray_box().gray == best.range and best.iou == 1.0
    assert session.message.text == "The best flat box gives back 100.0% of the mask here (IoU)."
    assert session.masks.explained("bone") == 1.0
    np.testing.assert_array_equal(session.masks.map, truth)
    assert on_disk(controller).boxes[0].low == after.low
    assert not session.annotation.residual, "nothing is left to paint"
    worse = truth.copy()
    worse[rows, cols] &= np.arange(worse.shape[1])[cols] % 3 > 0
    controller.paint(worse)
    controller.detection.fit(2)
    np.testing.assert_array_equal(session.masks.map, worse, "what was painted stays")
    assert 0 < session.masks.explained("bone") < 1
    controller.undo()
    controller.undo()
    controller.detection.fit(3)
    assert session.box.gray_box().k == 3 and "box of 3 x 3 grays" in session.message.text
    controller.undo()
    assert edits.same_geometry(session.box, after)


def test_without_a_mask_there_is_nothing_to_fit(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    session = controller.session
    controller.paint(np.zeros(session.image.shape, dtype=np.uint8))
    before = session.annotation
    controller.detection.fit(2)
    assert session.annotation is before and "paint it first" in session.message.text


def test_a_drag_during_a_fit_changes_no_mask(folder: Path) -> None:
    controller = make_controller(folder)
    controller.add_roi(BRIGHT)
    session, jobs = controller.session, controller.jobs
    before = session.masks.final("bone").copy()
    assert isinstance(jobs, InlineJobs)
    run = jobs.run

    def dragged(work: Callable[..., Any], **named: Any) -> Any:
        controller.preview_range(0, 1)  # while the worker looks for the box
        return run(work, **named)

    jobs.run = dragged  # type: ignore[method-assign]
    controller.detection.fit(1)
    np.testing.assert_array_equal(session.masks.final("bone"), before)
    assert not session.annotation.residual


def test_a_box_of_a_mask_that_was_changed_meanwhile_is_not_taken(folder: Path) -> None:
    controller = make_controller(folder)
    controller.add_roi(BRIGHT)
    jobs = controller.jobs
    assert isinstance(jobs, InlineJobs)
    jobs.hold = True
    controller.detection.fit(1)
    controller.set_range(10, 20)
    before = controller.session.annotation
    jobs.release()
    assert controller.session.annotation is before
    assert "fit once more" in controller.session.message.text


def test_alternatives_replace_the_geometry_and_keep_the_id(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    before = controller.session.box
    controller.choose_alternative(2)
    after = controller.session.box
    assert after.id == before.id and (after.low, after.high) == (0, 100)
    assert after.source == "model" and len(controller.session.annotation.boxes) == 1


def test_paint_clean_up_and_forgetting_it(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    painted = controller.session.masks.map.copy()
    painted[50:55, 60:70] = 1
    controller.paint(painted)
    assert controller.session.masks.map[52, 65] == 1
    assert on_disk(controller).residual["bone"].added
    controller.set_cleanup(CleanUpRecord(min_area=2000))
    assert controller.session.masks.map.sum() == 50, "painting comes after the clean-up"
    controller.set_cleanup(None)
    controller.clear_paint()
    assert not on_disk(controller).residual and not on_disk(controller).cleanup


def test_accepting_an_image_with_nothing_in_it(controller: Controller) -> None:
    first = controller.session.image_id
    controller.accept()
    assert controller.session.image_id != first and controller.session.accepted == 1
    controller.go_to(first)
    record = on_disk(controller)
    assert record.state is State.ACCEPTED and not record.boxes


def test_verdicts_go_to_the_next_open_image_round_the_end(controller: Controller) -> None:
    ids = [entry.id for entry in controller.session.entries]
    controller.go_to(ids[2])
    controller.reject()
    assert controller.session.image_id == ids[0]
    controller.accept()
    assert controller.session.image_id == ids[1]
    states = [entry.state for entry in controller.session.entries]
    assert states == [State.ACCEPTED, State.NEW, State.REJECTED]


def test_after_the_last_verdict_the_next_step_is_told(controller: Controller) -> None:
    for _ in controller.session.entries:
        controller.accept()
    session = controller.session
    assert session.accepted == 3 and session.position == 2, "it stays where it is"
    assert session.message is not None and "Every image is accepted" in session.message.text


def test_next_and_previous_stay_within_the_filter(controller: Controller) -> None:
    session = controller.session
    controller.go_to(session.entries[1].id)
    controller.accept()
    controller.filter(State.NEW)
    assert [entry.state for entry in session.listed] == [State.NEW, State.NEW]
    controller.go_to(session.entries[0].id)
    controller.next()
    assert session.position == 2, "the accepted one between is not listed"
    controller.next()
    assert session.position == 2 and controller.neighbour(1) is None
    controller.previous()
    assert session.position == 0
    controller.accept()
    assert session.position == 2
    assert session.folder is not None
    controller.open_folder(session.folder)
    assert session.filter is None and len(session.listed) == 3


@pytest.mark.parametrize("verdict", [State.ACCEPTED, State.REJECTED])
def test_detecting_takes_no_verdict_back_unasked(controller: Controller, verdict: State) -> None:
    session = controller.session
    first = session.image_id
    (controller.accept if verdict is State.ACCEPTED else controller.reject)()
    controller.go_to(first)
    before = session.annotation
    controller.detection.image()
    assert session.annotation is before and session.entry.state is verdict
    assert f"is {verdict}. Detect once more" in session.message.text
    controller.detection.image()
    assert session.entry.state is State.PROPOSED and session.annotation.rois
    controller.undo()
    assert session.entry.state is verdict
    controller.detection.image()
    assert session.entry.state is verdict, "another verdict, another question"


def test_an_edit_reopens_an_accepted_image(controller: Controller) -> None:
    first = controller.session.image_id
    controller.accept()
    controller.go_to(first)
    controller.add_roi(BRIGHT)
    assert controller.session.entry.state is State.IN_WORK


def test_undo_and_redo_across_images(controller: Controller) -> None:
    session = controller.session
    first = session.image_id
    controller.add_roi(BRIGHT)
    kept = session.annotation
    controller.accept()
    controller.add_roi(RoiBox(0, 0, 20, 20))
    controller.undo()
    controller.undo()
    assert session.image_id != first and not session.annotation.rois
    controller.undo()
    assert session.image_id == first and session.annotation == kept
    controller.redo()
    assert session.annotation.state is State.ACCEPTED
    assert session.can_redo


def test_new_classes_are_appended(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    controller.choose_label("metal")
    assert controller.session.classes == ("bone", "lung", "metal")
    assert controller.session.roi.label == controller.session.box.label == "metal"
    assert controller.session.masks.map.max() == 3
    assert {b.label for b in on_disk(controller).boxes} == {"metal"}


def test_detection_fills_the_image_and_leaves_human_work(controller: Controller) -> None:
    controller.detection.image()
    assert controller.session.annotation.state is State.PROPOSED
    assert controller.session.job is None
    controller.set_range(100, 200)
    edited = controller.session.annotation
    controller.detection.image()
    assert controller.session.annotation.boxes == edited.boxes


def test_detect_all_leaves_human_work_and_reports(controller: Controller) -> None:
    controller.add_roi(RoiBox(0, 0, 10, 10))
    mine = controller.session.annotation
    controller.detection.all()
    assert on_disk(controller) == mine
    states = [entry.state for entry in controller.session.entries]
    assert states == [State.IN_WORK, State.PROPOSED, State.PROPOSED]
    assert "2 images proposed" in controller.session.message.text


def test_a_failing_model_is_one_line(folder: Path) -> None:
    controller = make_controller(
        folder, lambda: Predictor(roi_detector=Broken(), box_detector=FakeBoxes())
    )
    controller.detection.image()
    assert controller.session.message.text == "The model could not be run; choose another device."
    assert controller.session.job is None and not controller.session.annotation.rois
    controller.close()


def test_a_result_for_an_image_that_was_left_is_dropped(controller: Controller) -> None:
    jobs = controller.jobs
    second = controller.session.entries[1]
    controller.next()
    controller.previous()
    jobs.hold = True
    controller.detection.image()
    controller.next()
    jobs.release()
    assert controller.session.image_id == second.id
    assert not controller.session.annotation.rois


@pytest.mark.parametrize("what", ["image", "box", "refine", "all"])
def test_a_detection_stays_in_the_project_it_was_started_in(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    controller = make_controller(folder, refining)
    jobs, session = controller.jobs, controller.session
    assert isinstance(jobs, InlineJobs)
    if what != "image":
        controller.add_roi(BRIGHT)
    cancelled: list[None] = []
    monkeypatch.setattr(Handle, "cancel", lambda _: cancelled.append(None))
    jobs.hold = True
    getattr(controller.detection, what)()
    of_a, jobs.held, jobs.hold = jobs.held, [], False
    assert len(of_a) == 1
    controller.open_folder(make_folder(tmp_path / "other"))
    assert cancelled and session.job is None
    jobs.hold = True
    controller.detection.image()
    of_b, jobs.held = jobs.held, []
    assert len(of_b) == 1, "detecting works at once in the new project"
    before = session.annotation, session.entries, session.job
    for arrives in of_a:
        arrives()
    assert (session.annotation, session.entries, session.job) == before
    stored = controller.recorder.store.entries()
    assert session.message is None and not any(entry.revision for entry in stored)
    jobs.hold = False
    for arrives in of_b:
        arrives()
    assert session.annotation is not None and session.annotation.boxes and session.job is None
    controller.close()


def test_an_image_that_is_read_late_is_not_shown_in_another_project(
    controller: Controller, tmp_path: Path
) -> None:
    jobs, session = controller.jobs, controller.session
    assert isinstance(jobs, InlineJobs)
    other = make_folder(tmp_path / "other", 4)
    (other / "image_0.png").write_bytes((other / "image_3.png").read_bytes())
    jobs.hold = True
    controller.images = ImageCache(controller.recorder.store, jobs)  # which knows none yet
    controller.go_to(session.entries[0].id)
    of_a, jobs.held, jobs.hold = jobs.held, [], False
    controller.open_folder(other)
    shown = session.image
    assert shown is not None and session.position == 0
    for arrives in of_a:
        arrives()
    assert session.image is shown


def test_a_failed_save_keeps_the_edit_and_the_next_one_saves_both(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, store = controller.session, controller.recorder.store
    first = session.image_id
    controller.add_roi(BRIGHT)
    stored = on_disk(controller)
    with monkeypatch.context() as patch:

        def refuse(*args: object, **more: object) -> int:
            raise ProjectError("The disk is full.")

        patch.setattr(store, "save", refuse)
        controller.set_range(1, 2)
        assert session.box.low == 1 and on_disk(controller) == stored
        assert session.message.level == "error" and "disk is full" in session.message.text
        kept = session.annotation
        controller.next()
        assert session.image_id != first and session.unsaved == {first: kept}
        controller.go_to(first)
        assert session.annotation == kept, "the unsaved edit is shown again"
        controller.next()
    controller.add_roi(RoiBox(0, 0, 9, 9))
    assert not session.unsaved and "Saved again" in session.message.text
    controller.go_to(first)
    assert on_disk(controller) == kept


def test_a_box_set_by_hand_while_one_is_looked_for_stays(controller: Controller) -> None:
    session, jobs = controller.session, controller.jobs
    jobs.hold = True
    controller.add_roi(BRIGHT)
    controller.set_range(7, 9)
    mine = session.annotation
    jobs.release()
    assert session.annotation == mine and session.box.low == 7
    assert len(session.alternatives[session.roi.id]) == 3
    assert "stays" in session.message.text


def test_a_verdict_given_while_proposals_are_looked_for_stays(controller: Controller) -> None:
    session, jobs = controller.session, controller.jobs
    controller.add_roi(BRIGHT)
    first = session.image_id
    jobs.hold = True
    controller.detection.image()
    work = jobs.held.pop()
    jobs.hold = False
    controller.accept()
    controller.go_to(first)
    mine = session.annotation
    assert mine.state is State.ACCEPTED
    work()
    assert session.annotation == mine and "dropped" in session.message.text

    jobs.hold = True
    controller.add_roi(RoiBox(0, 0, 9, 9))
    work = jobs.held.pop()
    jobs.hold = False
    controller.accept()
    controller.go_to(first)
    mine = session.annotation
    work()
    assert session.annotation == mine and "found was dropped" in session.message.text


def test_a_conflict_keeps_both_versions(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    session = controller.session

    def interfere() -> None:
        with ProjectStore.open(session.folder, who="somebody else") as other:
            record, revision = other.annotation(session.image_id)
            other.save(
                session.image_id, record.model_copy(update={"state": State.REJECTED}),
                expected_revision=revision, source="human", action="reject",
            )  # fmt: skip

    interfere()
    controller.set_range(3, 4)
    assert session.conflict and session.unsaved and on_disk(controller).state is State.REJECTED
    controller.take_stored()
    assert not session.conflict and session.annotation.state is State.REJECTED
    assert session.annotation == on_disk(controller)

    interfere()
    controller.set_range(5, 6)
    assert session.conflict
    controller.keep_mine()
    assert not session.conflict and not session.unsaved
    assert on_disk(controller).boxes[0].low == 5


def test_everything_is_there_after_reopening(folder: Path) -> None:
    controller = make_controller(folder)
    controller.add_roi(BRIGHT)
    controller.set_range(77, 99)
    before = controller.session.annotation
    controller.close()
    again = make_controller(folder)
    assert again.session.annotation == before and again.session.can_undo
    again.undo()
    assert again.session.box.low == 150
    again.close()


def test_an_image_that_cannot_be_read_leaves_the_others_usable(folder: Path) -> None:
    (folder / "image_1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    controller = make_controller(folder)
    controller.next()
    session = controller.session
    assert session.image is None and session.message.level == "error"
    controller.accept()
    controller.add_roi(BRIGHT)
    controller.set_range(1, 2)
    controller.paint(np.zeros((2, 2), np.uint8))
    controller.detection.image()
    controller.next()
    assert session.image is not None and session.annotation is not None
    controller.close()


@pytest.mark.parametrize("content", ["nothing", "a text"])
def test_a_folder_without_images_is_one_line(tmp_path: Path, content: str) -> None:
    if content == "a text":
        (tmp_path / "readme.txt").write_text("no image")
    controller = make_controller(tmp_path)
    assert controller.session.message.level == "error" and not controller.session.entries
    assert not (tmp_path / "annotations.db").exists()
    controller.accept()
    controller.undo()
    controller.next()
    controller.close()


def test_an_roi_outside_the_image_is_refused(controller: Controller) -> None:
    controller.add_roi(RoiBox(500, 500, 600, 600))
    assert "covers no pixel" in controller.session.message.text
    assert not controller.session.annotation.rois and controller.session.saved_at is None


def test_a_constant_roi_says_so(folder: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((60, 80), 7, np.uint8)).save(folder / "image_0.png")
    controller = make_controller(folder)
    controller.add_roi(BRIGHT)
    assert "gray value 7" in controller.session.message.text
    assert controller.session.annotation.rois, "the ROI stays"
    controller.close()


@pytest.fixture
def wavering(folder: Path) -> Iterator[Controller]:
    """A controller whose detectors are least sure of the second image, then of the third."""
    controller = make_controller(
        folder, lambda: Predictor(roi_detector=Wavering(), box_detector=FakeBoxes())
    )
    yield controller
    controller.close()


def names(controller: Controller) -> list[str]:
    return [Path(entry.path).stem[-1] for entry in controller.session.entries]


def test_the_most_doubtful_proposals_come_first_and_keep_their_places(wavering: Controller) -> None:
    session, detection = wavering.session, wavering.detection
    detection.all()
    assert names(wavering) == ["0", "1", "2"], "nobody asked for another order"
    detection.order_by("doubt")
    assert names(wavering) == ["1", "2", "0"] and session.position == 2
    doubts = [session.doubt(entry) for entry in session.entries]
    assert None not in doubts and doubts == sorted(doubts, reverse=True)  # type: ignore[type-var]
    wavering.go_to(session.entries[0].id)
    wavering.accept()
    assert names(wavering) == ["1", "2", "0"] and session.position == 1
    assert session.doubt(session.entries[0]) is None, "it is no proposal any more"
    detection.order_by("doubt")
    assert names(wavering) == ["2", "0", "1"]
    detection.order_by("project")
    assert names(wavering) == ["0", "1", "2"]


def test_doubts_of_stored_proposals_are_looked_up_once(
    wavering: Controller, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wavering.detection.all()
    known = dict(wavering.session.doubts)
    wavering.open_folder(folder)
    session = wavering.session
    assert not session.doubts and session.order == "project"
    wavering.detection.order_by("doubt")
    assert names(wavering) == ["1", "2", "0"]
    assert session.doubts == pytest.approx(known, abs=1e-4)
    monkeypatch.setattr("napari_graydet.gui.control.detection.doubts_of_project", None)
    wavering.detection.order_by("project")
    wavering.detection.order_by("doubt")
    assert names(wavering) == ["1", "2", "0"]


def test_what_was_looked_at_for_a_project_that_was_left_counts_nowhere(
    wavering: Controller, tmp_path: Path
) -> None:
    wavering.detection.all()
    wavering.session.doubts.clear()
    jobs = wavering.jobs
    assert isinstance(jobs, InlineJobs)
    jobs.hold = True
    wavering.detection.order_by("doubt")
    held, jobs.held, jobs.hold = jobs.held, [], False
    wavering.open_folder(make_folder(tmp_path / "other"))
    before = wavering.session.entries
    for call in held:
        call()
    assert not wavering.session.doubts and wavering.session.entries == before


def test_the_order_stays_while_something_else_runs(wavering: Controller) -> None:
    wavering.detection.all()
    jobs = wavering.jobs
    assert isinstance(jobs, InlineJobs)
    jobs.hold = True
    wavering.detection.image()
    wavering.detection.order_by("doubt")
    assert wavering.session.order == "project" and names(wavering) == ["0", "1", "2"]
    jobs.release()


def test_an_accepted_image_that_cannot_be_read_any_more_can_be_rejected(folder: Path) -> None:
    controller = make_controller(folder)
    session = controller.session
    controller.accept()
    first = session.entries[0]
    assert first.state is State.ACCEPTED
    controller.close()
    (folder / first.path).unlink()
    again = make_controller(folder)
    session = again.session
    again.go_to(first.id)
    assert session.image is None and session.can_reject
    again.accept()
    assert session.entries[0].state is State.ACCEPTED
    again.reject()
    assert session.entries[0].state is State.REJECTED and session.image_id != first.id
    again.undo()
    assert session.entries[0].state is State.ACCEPTED
