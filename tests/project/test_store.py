from __future__ import annotations

import hashlib
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image

from napari_graydet.errors import ConflictError, ImageError, ProjectError
from napari_graydet.project.schema import Annotation, ResidualRecord, RoiRecord, State
from napari_graydet.project.store import ProjectStore
from tests.project.projects import (
    CLASSES,
    SHAPE,
    annotations,
    blank,
    edited,
    make_project,
    painted,
    predicted,
)


def save(store: ProjectStore, image_id: int, record: Annotation, expected: int = 0) -> int:
    return store.save(image_id, record, expected_revision=expected, source="human", action="edit")


def test_a_new_project_lists_its_images_untouched(store: ProjectStore, folder: Path) -> None:
    entries = store.entries()
    assert [entry.path for entry in entries] == [f"image {i}.png" for i in range(3)]
    assert {(entry.state, entry.revision, entry.sha256) for entry in entries} == {
        (State.NEW, 0, "")
    }
    assert store.classes == list(CLASSES) and store.notices == []
    assert store.image_path(entries[1].id) == folder / "image 1.png"


def test_a_record_needs_the_shape_only_before_it_is_saved(store: ProjectStore) -> None:
    assert store.annotation(1, SHAPE) == (blank(), 0)
    with pytest.raises(ProjectError, match="no annotation yet"):
        store.annotation(1)
    save(store, 1, edited())
    assert store.annotation(1) == (edited(), 1)
    assert store.annotation(1, SHAPE) == (edited(), 1)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=annotations())
def test_any_record_is_there_after_reopening(
    store: ProjectStore, folder: Path, record: Annotation
) -> None:
    revision = save(store, 2, record, store.entry(2).revision)
    with ProjectStore.open(folder) as again:
        assert again.annotation(2) == (record, revision)
        assert again.record_at(2, revision) == record
        assert (again.entry(2).state, again.entry(2).revision) == (record.state, revision)


def test_nothing_here_accepted_is_a_record(store: ProjectStore, folder: Path) -> None:
    nothing = blank().model_copy(update={"state": State.ACCEPTED})
    save(store, 1, nothing)
    with ProjectStore.open(folder) as again:
        assert again.annotation(1) == (nothing, 1)
        assert again.save_prediction(1, predicted(), "net") is False


def test_revisions_tell_who_did_what_when(folder: Path) -> None:
    before = datetime.now(UTC)
    with make_project(folder, who="anna") as store:
        store.save_prediction(1, predicted(), "net 7")
        store.save(
            1,
            edited(),
            expected_revision=1,
            source="human",
            action="drag bottom",
            active_seconds=2.5,
        )
        first, second = store.revisions(1)
    assert (first.source, first.kind, first.action) == (
        "model",
        "prediction",
        "prediction of net 7",
    )
    assert (second.source, second.kind, second.action) == ("human", "save", "drag bottom")
    assert (second.who, second.active_seconds, second.revision) == ("anna", 2.5, 2)
    assert (first.state, second.state) == (State.PROPOSED, State.IN_WORK)
    assert before <= first.at <= second.at <= datetime.now(UTC)
    assert second.at.utcoffset() is not None


def test_every_revision_is_kept(store: ProjectStore) -> None:
    for i in range(20):
        save(store, 1, edited(i), i)
    assert [store.record_at(1, i + 1) for i in range(20)] == [edited(i) for i in range(20)]
    with pytest.raises(ProjectError, match="no revision 21"):
        store.record_at(1, 21)


def test_a_stale_save_is_a_conflict_and_writes_nothing(folder: Path) -> None:
    with make_project(folder, who="anna") as anna, ProjectStore.open(folder, who="bo") as bo:
        save(anna, 1, edited(1))
        with pytest.raises(ConflictError, match=r"anna changed image 0\.png"):
            save(bo, 1, edited(2))
        with pytest.raises(ConflictError):
            save(bo, 1, edited(2), 5)
        assert bo.annotation(1) == (edited(1), 1)
        assert len(bo.revisions(1)) == 1
        save(bo, 1, edited(2), 1)
        assert anna.annotation(1) == (edited(2), 2)


@pytest.mark.parametrize(
    "record",
    [
        edited(),
        blank().model_copy(update={"state": State.REJECTED}),
        blank().model_copy(
            update={"rois": (RoiRecord(x0=0, y0=0, x1=1, y1=1, label="bone"),), "state": State.NEW}
        ),
        predicted().model_copy(update={"residual": {"bone": ResidualRecord(added=((0, 1),))}}),
    ],
)
def test_a_prediction_never_replaces_human_work(store: ProjectStore, record: Annotation) -> None:
    save(store, 1, record)
    assert store.save_prediction(1, predicted(), "net") is False
    assert store.annotation(1) == (record, 1)


def test_a_prediction_replaces_predictions(store: ProjectStore) -> None:
    assert store.save_prediction(1, predicted(1).model_copy(update={"state": State.NEW}), "a")
    assert store.save_prediction(1, predicted(2), "b")
    assert store.annotation(1) == (predicted(2), 2)
    assert store.entry(1).state is State.PROPOSED


def test_a_prediction_with_human_parts_is_refused(store: ProjectStore) -> None:
    with pytest.raises(ProjectError, match="must not claim"):
        store.save_prediction(1, edited(), "net")
    assert store.entry(1).revision == 0


@pytest.mark.parametrize(
    "change",
    [
        {"rois": (RoiRecord(x0=0, y0=0, x1=1, y1=1, label="hand"),)},
        {"boxes": (edited().boxes[0].model_copy(update={"label": "hand"}),)},
        {"residual": {"hand": ResidualRecord(added=((0, 1),))}},
    ],
)
def test_unknown_labels_are_refused(store: ProjectStore, change: dict[str, object]) -> None:
    with pytest.raises(ProjectError, match="no class 'hand', only bone, lung"):
        save(store, 1, blank().model_copy(update=change))
    assert store.entry(1).revision == 0


@pytest.mark.parametrize(
    "record",
    [
        edited().model_copy(update={"state": "done"}),
        edited().model_copy(update={"width": -1}),
        edited(boxes=(edited().boxes[0].model_copy(update={"low": 900}),)),
        edited(boxes=(edited().boxes[0].model_copy(update={"x1": float("nan")}),)),
    ],
)
def test_an_invalid_record_is_refused(store: ProjectStore, record: Annotation) -> None:
    with pytest.raises(ProjectError, match="not valid") as caught:
        save(store, 1, record)
    assert "\n" not in str(caught.value)
    assert store.entry(1).revision == 0


def test_an_annotation_keeps_the_size_of_its_image(store: ProjectStore) -> None:
    save(store, 1, edited())
    with pytest.raises(ProjectError, match="60 x 40"):
        save(store, 1, Annotation(width=10, height=10), 1)
    with pytest.raises(ProjectError, match="put the original image back"):
        store.annotation(1, (10, 10))
    assert store.annotation(1) == (edited(), 1)


def test_classes_are_appended_and_keep_their_ids(store: ProjectStore, folder: Path) -> None:
    with ProjectStore.open(folder) as other:
        assert store.add_class("hand") == 3
        assert store.add_class("bone") == 0
        save(other, 1, edited(boxes=(edited().boxes[0].model_copy(update={"label": "hand"}),)))
        assert other.add_class("foot") == 4
    assert store.classes == [*CLASSES, "hand"]
    with ProjectStore.open(folder) as again:
        assert again.classes == [*CLASSES, "hand", "foot"]


@pytest.mark.parametrize("name", ["", " ", " bone", "a\nb", "x" * 101, "a\0"])
def test_bad_class_names_are_refused(store: ProjectStore, folder: Path, name: str) -> None:
    with pytest.raises(ProjectError, match="printable"):
        store.add_class(name)
    with pytest.raises(ProjectError, match="printable"):
        ProjectStore.create(folder / "other", [name])
    assert not (folder / "other").exists()


def test_the_image_is_hashed_when_first_annotated(store: ProjectStore, folder: Path) -> None:
    save(store, 1, edited())
    digest = hashlib.sha256((folder / "image 0.png").read_bytes()).hexdigest()
    assert store.entry(1).sha256 == digest
    assert not store.image_changed(1) and not store.image_changed(2)
    (folder / "image 0.png").write_bytes(b"others")
    assert store.image_changed(1)
    assert not store.image_changed(1, digest)


def test_a_digest_that_is_known_spares_the_reading(store: ProjectStore, folder: Path) -> None:
    assert not store.image_changed(1, "ab" * 32)
    (folder / "image 0.png").unlink()
    save(store, 1, edited())
    assert store.entry(1).sha256 == "ab" * 32


def test_an_image_that_is_gone_cannot_be_annotated_blindly(
    store: ProjectStore, folder: Path
) -> None:
    (folder / "image 0.png").unlink()
    with pytest.raises(ProjectError, match="Could not read"):
        save(store, 1, edited())
    assert store.entry(1).revision == 0


def test_images_are_added_once(store: ProjectStore, folder: Path) -> None:
    new = folder / "sub" / "new.png"
    assert store.add_images([folder / "image 1.png", new, new]) == 1
    assert store.add_images([new]) == 0
    assert store.entries()[-1].path == "sub/new.png"
    with pytest.raises(ProjectError, match="outside"):
        store.add_images([folder / "x.png", folder.parent / "y.png"])
    assert len(store.entries()) == 4


@pytest.mark.parametrize("call", ["entry", "image_path", "annotation", "revisions"])
def test_an_image_that_is_not_there_is_named(store: ProjectStore, call: str) -> None:
    with pytest.raises(ProjectError, match="no image 99"):
        getattr(store, call)(99)


def test_a_project_can_be_apart_from_its_images_and_move_with_them(folder: Path) -> None:
    images = folder / "radiographs" / "hands"
    images.mkdir(parents=True)
    (images / "a.png").write_bytes(b"x")
    project = folder / "study"
    with ProjectStore.create(
        project, ("bone",), [images / "a.png"], images_root=images.parent
    ) as store:
        assert store.entry(1).path == "hands/a.png"
    assert sorted(p.name for p in project.iterdir()) == [
        "annotations.backup.db",
        "annotations.db",
        "graydet.toml",
    ]
    moved = folder.with_name("moved")
    shutil.move(folder, moved)
    with ProjectStore.open(moved / "study") as store:
        assert store.image_path(1).read_bytes() == b"x"
    shutil.rmtree(moved)


def test_a_second_create_is_refused(store: ProjectStore, folder: Path) -> None:
    with pytest.raises(ProjectError, match="already"):
        ProjectStore.create(folder)
    assert len(store.entries()) == 3


def test_double_classes_are_refused(folder: Path) -> None:
    with pytest.raises(ProjectError, match="must differ"):
        ProjectStore.create(folder, ("bone", "bone"))


def _radiographs(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.arange(120, dtype=np.uint8).reshape(10, 12)
    for name in names:
        Image.fromarray(pixels).save(folder / name)


def test_a_plain_folder_becomes_a_project_in_place(folder: Path) -> None:
    _radiographs(folder, ("hand 10.png", "hand 2.png"))
    with ProjectStore.open_or_create(folder) as store:
        assert [entry.path for entry in store.entries()] == ["hand 2.png", "hand 10.png"]
        save(store, 1, edited())
    _radiographs(folder, ("hand 3.png",))
    with ProjectStore.open_or_create(folder) as store:
        assert store.entries()[-1].path == "hand 3.png"
        assert store.annotation(1) == (edited(), 1)


def test_a_folder_without_images_stays_empty(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(ImageError):
        ProjectStore.open_or_create(folder)
    assert list(folder.iterdir()) == []


def test_lost_settings_do_not_lose_the_annotations(folder: Path) -> None:
    _radiographs(folder, ("a.png",))
    with ProjectStore.open_or_create(folder) as store:
        save(store, 1, edited())
    (folder / "graydet.toml").unlink()
    with ProjectStore.open_or_create(folder) as store:
        assert store.annotation(1) == (edited(), 1)


def test_images_that_moved_away_do_not_keep_the_project_shut(folder: Path) -> None:
    _radiographs(folder / "images", ("a.png",))
    ProjectStore.create(
        folder, ("bone",), [folder / "images" / "a.png"], images_root=folder / "images"
    ).close()
    (folder / "images").rename(folder / "elsewhere")
    with ProjectStore.open_or_create(folder) as store:
        assert len(store.entries()) == 1 and "not searched" in store.notices[0]


def test_a_large_residual_comes_back(store: ProjectStore) -> None:
    save(store, 1, painted(50_000))
    assert store.annotation(1)[0] == painted(50_000)


def test_threads_share_a_store(store: ProjectStore) -> None:
    done: list[int] = []

    def work(image_id: int) -> None:
        for i in range(30):
            done.append(save(store, image_id, edited(i), i))
            store.entries()

    threads = [threading.Thread(target=work, args=(i,)) for i in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 90
    assert [entry.revision for entry in store.entries()] == [30, 30, 30]
