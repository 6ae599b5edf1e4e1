"""Edits that the disk has refused: what becomes of them, and when the window may say "saved"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from napari_graydet.errors import ProjectError
from napari_graydet.gui.control.controller import Controller
from napari_graydet.gui.control.images import KEPT
from napari_graydet.project.store import ProjectStore
from tests.gui.fakes import BRIGHT, make_controller, make_folder, picture
from tests.gui.test_two_windows import by_somebody_else, rejected, stored

FullDisk = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    controller = make_controller(make_folder(tmp_path / "study"))
    yield controller
    controller.close()


@pytest.fixture
def full_disk(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    """Lets the project refuse every save, or those of a kind."""
    store = controller.recorder.store
    real = store.save

    @contextmanager
    def refuse(kind: str | None = None) -> Iterator[None]:
        def save(*arguments: Any, **more: Any) -> int:
            if kind is None or more.get("kind") == kind:
                raise ProjectError("The disk is full.")
            return real(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(store, "save", save)
            yield

    return refuse


def test_saved_is_only_said_of_what_is_on_the_disk(controller: Controller) -> None:
    session, told = controller.session, []

    def listen() -> None:
        if not session.unsaved and session.annotation is not None:
            told.append(session.annotation == stored(controller, session.image_id))

    session.saved_changed.connect(listen)
    controller.add_roi(BRIGHT)
    controller.set_range(3, 4)
    assert told and all(told)


def test_a_conflict_in_the_first_image_keeps_no_later_one_from_the_disk(
    controller: Controller, full_disk: FullDisk
) -> None:
    session = controller.session
    first, *others = [entry.id for entry in session.entries]
    with full_disk():
        for image_id in (first, *others, first):
            controller.go_to(image_id)
            controller.add_roi(BRIGHT)
    assert set(session.unsaved) == {first, *others}
    by_somebody_else(controller, first, rejected)
    controller.set_range(3, 4)
    assert session.conflict == first and set(session.unsaved) == {first}
    assert all(stored(controller, image_id).rois for image_id in others)


def test_undo_stores_an_unsaved_edit_first_and_undoes_that(
    controller: Controller, full_disk: FullDisk
) -> None:
    session = controller.session
    controller.add_roi(BRIGHT)
    first = session.annotation
    with full_disk():
        controller.set_range(3, 4)
    controller.undo()
    assert session.annotation == first == stored(controller, session.image_id)
    assert not session.unsaved


def test_undo_waits_for_an_edit_that_cannot_be_stored(
    controller: Controller, full_disk: FullDisk
) -> None:
    session = controller.session
    controller.add_roi(BRIGHT)
    on_disk = stored(controller, session.image_id)
    with full_disk():
        controller.set_range(3, 4)
    mine = session.annotation
    with full_disk("edit"):  # what undo itself writes would be taken
        controller.undo()
    assert session.annotation == mine and session.unsaved == {session.image_id: mine}
    assert stored(controller, session.image_id) == on_disk


def test_the_next_image_does_not_hide_that_one_is_unsaved(
    controller: Controller, full_disk: FullDisk
) -> None:
    with full_disk():
        controller.add_roi(BRIGHT)
        controller.next()
        message = controller.session.message
        assert message is not None and "disk is full" in message.text


def test_another_folder_takes_nothing_with_it(
    controller: Controller, full_disk: FullDisk, tmp_path: Path
) -> None:
    session = controller.session
    folder, image_id = session.folder, session.image_id
    with full_disk():
        controller.add_roi(BRIGHT)
        mine = session.annotation
    controller.open_folder(make_folder(tmp_path / "other"))
    assert folder is not None and image_id is not None
    with ProjectStore.open(folder) as store:
        assert store.annotation(image_id, (60, 80))[0] == mine


def test_an_image_swapped_since_it_was_annotated_is_not_shown(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "study")
    controller = make_controller(folder)
    image_id = controller.session.image_id
    assert image_id is not None
    controller.add_roi(BRIGHT)
    controller.close()
    Image.fromarray(picture(77)).save(folder / "image_0.png")
    controller = make_controller(folder)
    controller.go_to(image_id)
    session = controller.session
    assert session.image is None, "its masks would lie on another picture"
    assert session.message is not None and "changed since" in session.message.text
    controller.close()


def test_few_images_are_kept(tmp_path: Path) -> None:
    controller = make_controller(make_folder(tmp_path / "study", 3 * KEPT))
    for entry in controller.session.entries:
        controller.go_to(entry.id)
    assert len(controller.images._images) <= KEPT
    controller.close()
