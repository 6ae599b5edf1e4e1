"""Two people in one project, and a disk that refuses: what each window then shows and stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import DamagedProjectError, ProjectError
from napari_graydet.gui.control import navigation
from napari_graydet.gui.control.controller import Controller
from napari_graydet.project.schema import Annotation, State
from napari_graydet.project.store import ProjectStore
from tests.gui.fakes import BRIGHT, make_controller, make_folder


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = make_controller(make_folder(tmp_path / "study"))
    yield controller
    controller.close()


def by_somebody_else(
    controller: Controller, image_id: int, change: Callable[[Annotation], Annotation]
) -> Annotation:
    """Store another person's edit of an image; return their record."""
    assert controller.session.folder is not None
    with ProjectStore.open(controller.session.folder, who="somebody else") as other:
        record, revision = other.annotation(image_id, (60, 80))
        theirs = change(record)
        other.save(image_id, theirs, expected_revision=revision, source="human", action="theirs")
    return theirs


def rejected(record: Annotation) -> Annotation:
    return record.model_copy(update={"state": State.REJECTED})


def stored(controller: Controller, image_id: int) -> Annotation:
    assert controller.session.folder is not None
    with ProjectStore.open(controller.session.folder) as store:
        return store.annotation(image_id, (60, 80))[0]


def test_an_edit_after_an_undo_that_was_refused_overwrites_nobody(controller: Controller) -> None:
    controller.add_roi(BRIGHT)
    session = controller.session
    assert session.image_id is not None
    theirs = by_somebody_else(controller, session.image_id, rejected)
    controller.undo()
    assert session.message is not None and "Could not undo" in session.message.text
    controller.set_range(3, 4)  # of the version that this window still shows
    assert session.conflict == session.image_id and stored(controller, session.image_id) == theirs
    controller.take_stored()
    assert session.annotation == theirs and session.message is None and not session.unsaved


def test_a_conflict_keeps_no_other_image_from_being_stored(controller: Controller) -> None:
    session = controller.session
    controller.add_roi(BRIGHT)
    first = session.image_id
    assert first is not None
    theirs = by_somebody_else(controller, first, rejected)
    controller.set_range(3, 4)
    mine = session.annotation
    controller.next()
    second = session.image_id
    assert second is not None and second != first
    controller.add_roi(RoiBox(0, 0, 9, 9))
    assert stored(controller, second).rois and set(session.unsaved) == {first}
    controller.accept()
    assert stored(controller, second).state is State.ACCEPTED, "and it goes on to the next"
    assert session.image_id not in (first, second)
    before = session.annotation
    controller.take_stored()
    controller.keep_mine()
    assert set(session.unsaved) == {first} and session.annotation == before, "not of this image"
    controller.go_to_conflict()
    assert session.image_id == first and session.annotation == mine
    controller.take_stored()
    assert session.annotation == theirs and session.conflict is None and not session.unsaved
    controller.undo()
    assert session.message is None or "Saved again" not in session.message.text


def test_a_class_that_somebody_else_added_is_learned_when_it_is_met(
    controller: Controller,
) -> None:
    session = controller.session
    controller.add_roi(BRIGHT)
    image_id = session.image_id
    assert image_id is not None and session.folder is not None
    controller.next()
    with ProjectStore.open(session.folder) as other:
        other.add_class("implant")

    def relabelled(record: Annotation) -> Annotation:
        update = {"label": "implant"}
        return record.model_copy(
            update={
                "rois": tuple(roi.model_copy(update=update) for roi in record.rois),
                "boxes": tuple(box.model_copy(update=update) for box in record.boxes),
            }
        )

    by_somebody_else(controller, image_id, relabelled)
    controller.go_to(image_id)
    assert session.classes == ("bone", "lung", "implant")
    assert session.masks is not None and session.masks.map.max() == 3
    controller.accept()
    assert stored(controller, image_id).state is State.ACCEPTED


def test_a_class_that_cannot_be_added_changes_nothing(
    controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller.add_roi(BRIGHT)
    before = controller.session.annotation

    def full(*_: Any) -> None:
        raise ProjectError("No space left.")

    assert controller.recorder is not None
    monkeypatch.setattr(type(controller.recorder.store), "add_class", full)
    controller.choose_label("tooth")
    controller.add_roi(RoiBox(0, 0, 9, 9), "tooth")
    assert controller.session.annotation == before and controller.session.label == "bone"
    assert controller.session.message is not None


def test_a_project_that_cannot_be_read_leaves_the_open_one_open(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = controller.session
    controller.add_roi(BRIGHT)
    folder, recorder = session.folder, controller.recorder
    other = make_folder(tmp_path / "other")

    def damaged(*_: Any) -> None:
        raise DamagedProjectError("A revision is damaged.")

    with monkeypatch.context() as patch:
        patch.setattr(navigation, "Recorder", damaged)
        controller.open_folder(other)
    assert session.folder == folder and controller.recorder is recorder
    assert session.message is not None and "damaged" in session.message.text
    controller.set_range(5, 6)
    assert session.image_id is not None
    assert stored(controller, session.image_id) == session.annotation
    controller.open_folder(other)
    assert session.folder == other
