"""Accepted annotations as files: right, whole or not at all, and without a trace of anybody."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_graydet.errors import CancelledError, ExportError
from napari_graydet.project.schema import Annotation, ResidualRecord, RoiRecord, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows import export as export_module
from napari_graydet.workflows.events import Progress
from napari_graydet.workflows.export import MANIFEST, export_project
from napari_graydet.workflows.names import distinct_names
from napari_graydet.workflows.project_images import read_entry
from napari_graydet.workflows.records import read_record
from napari_graydet.workflows.render import render_record
from napari_graydet.workflows.yolo_export import detection_boxes, split_names
from tests.workflows.projects import SHAPE, annotated, fill, make_project, save
from tests.workflows.test_segment import write_dicom


@pytest.fixture
def store(tmp_path: Path) -> ProjectStore:
    return make_project(tmp_path / "study")


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_png(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_masks_are_the_records_masks_bit_for_bit(store: ProjectStore, tmp_path: Path) -> None:
    records = fill(store)
    report = export_project(store, tmp_path / "out", ["masks"])
    assert (report.images, report.empty) == (3, 1)
    accepted = [entry for entry in store.entries() if entry.state is State.ACCEPTED]
    names = sorted(path.name for path in (tmp_path / "out" / "masks").iterdir())
    assert names == ["image0.png", "image1.png", "image2.png"]
    for entry, name in zip(accepted, names, strict=True):
        pixels = read_entry(store, entry).pixels
        expected = np.zeros(SHAPE, np.uint8)
        for number, label in enumerate(store.classes, start=1):
            expected[records[entry.id].mask(pixels, label)] = number
        assert np.array_equal(read_png(tmp_path / "out" / "masks" / name), expected)
    assert not read_png(tmp_path / "out" / "masks" / "image2.png").any()


def test_one_class_gives_black_and_white_masks(tmp_path: Path) -> None:
    store = make_project(tmp_path / "study", 1, ["bone"])
    (entry,) = store.entries()
    record = annotated(read_entry(store, entry), State.ACCEPTED)
    bone_only = {"rois": record.rois[:1], "boxes": record.boxes[:1]}
    save(store, entry.id, record.model_copy(update=bone_only))
    export_project(store, tmp_path / "out", ["masks"])
    assert set(np.unique(read_png(tmp_path / "out" / "masks" / "image0.png"))) == {0, 255}


def test_records_reread_to_the_same_annotation(store: ProjectStore, tmp_path: Path) -> None:
    records = fill(store)
    export_project(store, tmp_path / "out", ["json"])
    for entry in store.entries():
        if entry.state is not State.ACCEPTED:
            continue
        pixels = read_entry(store, entry).pixels
        document = read_record(tmp_path / "out" / "records" / f"{Path(entry.path).stem}.json")
        again, original = document.annotation(), records[entry.id]
        assert document.sha256 == entry.sha256
        assert again.state is State.ACCEPTED
        assert [box.source for box in again.boxes] == [box.source for box in original.boxes]
        for label in original.labels:
            assert np.array_equal(again.mask(pixels, label), original.mask(pixels, label))


def test_yolo_labels_give_the_rois_back(store: ProjectStore, tmp_path: Path) -> None:
    records = fill(store)
    report = export_project(store, tmp_path / "out", ["yolo"])
    root = tmp_path / "out" / "yolo"
    assert report.train + report.val == 3
    assert report.val >= 1
    found = {path.stem: path for path in root.glob("labels/*/*.txt")}
    assert set(found) == {"image0", "image1", "image2"}
    assert found["image2"].read_text() == ""
    height, width = SHAPE
    for entry in list(store.entries())[:2]:
        path = found[Path(entry.path).stem]
        assert (root / "images" / path.parent.name / f"{path.stem}.png").is_file()
        lines = [line.split() for line in path.read_text().splitlines()]
        for line, roi in zip(lines, records[entry.id].rois, strict=True):
            number, cx, cy, w, h = int(line[0]), *map(float, line[1:])
            assert store.classes[number] == roi.label
            edges = ((cx - w / 2) * width, (cy - h / 2) * height)
            edges += ((cx + w / 2) * width, (cy + h / 2) * height)
            assert edges == pytest.approx((roi.x0, roi.y0, roi.x1, roi.y1), abs=1e-5)


def test_yolo_images_are_windowed_to_8_bit(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    export_project(store, tmp_path / "out", ["yolo"])
    entry = store.entries()[1]  # 16 bit
    (path,) = (tmp_path / "out" / "yolo" / "images").glob("*/image1.png")
    picture = Image.open(path)
    assert picture.mode == "L"
    assert np.array_equal(np.asarray(picture), read_entry(store, entry).display8())
    assert np.asarray(picture).std() > 50  # the high byte alone of a dark image would be flat


def test_ultralytics_reads_the_data_set(
    store: ProjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YOLO_OFFLINE", "1")
    monkeypatch.setenv("YOLO_AUTOINSTALL", "0")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    fill(store)
    export_project(store, tmp_path / "out", ["yolo"])
    moved = tmp_path / "elsewhere"
    (tmp_path / "out" / "yolo").rename(moved)  # no path in it may be absolute
    from napari_graydet.models.roi.yolo import ultralytics

    checked = ultralytics("ultralytics.data.utils").check_det_dataset(
        str(moved / "data.yaml"), autodownload=False
    )
    assert checked["names"] == {0: "bone", 1: "lung"}
    assert Path(checked["train"]) == moved / "images" / "train"
    dataset = ultralytics("ultralytics.data.dataset").YOLODataset(
        img_path=checked["train"], data=checked, task="detect", augment=False, imgsz=64
    )
    boxes = sum(len(label["cls"]) for label in dataset.labels)
    lines = [path.read_text().splitlines() for path in moved.glob("labels/train/*.txt")]
    assert boxes == sum(map(len, lines))
    assert len(dataset) == len(lines)


def test_a_second_export_replaces_the_first(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "out"
    export_project(store, out)
    first = files_of(out)
    (out / "yolo" / "labels" / "train.cache").write_bytes(b"left by a training")
    export_project(store, out)
    assert files_of(out) == first
    export_project(store, out, ["masks"])
    assert not (out / "yolo").exists()


def test_the_manifest_lists_every_file(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    export_project(store, tmp_path / "out")
    present = set(files_of(tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert set(manifest["files"]) | {MANIFEST} == present
    assert manifest["classes"] == {"0": "bone", "1": "lung"}


def test_class_ids_stay_when_classes_are_added(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    export_project(store, tmp_path / "out")
    before = files_of(tmp_path / "out")
    store.add_class("metal")
    export_project(store, tmp_path / "out")
    after = files_of(tmp_path / "out")
    for name, content in before.items():
        if name.startswith(("masks/", "yolo/labels/")):
            assert after[name] == content
    assert '  2: "metal"' in after["yolo/data.yaml"].decode()


def nothing_left(folder: Path) -> bool:
    return not [path for path in folder.iterdir() if path.name.startswith(".graydet")]


def test_nothing_accepted(store: ProjectStore, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="accepted"):
        export_project(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_folders_are_refused_untouched(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"thesis\.txt"):
        export_project(store, out)
    assert files_of(out) == {"thesis.txt": b"years of work"}
    with pytest.raises(ExportError):
        export_project(store, store.folder)
    assert nothing_left(tmp_path)


def test_a_file_that_somebody_put_into_an_export_is_not_deleted(
    store: ProjectStore, tmp_path: Path
) -> None:
    fill(store)
    out = tmp_path / "out"
    export_project(store, out)
    (out / "yolo" / "best.pt").write_bytes(b"trained for days")
    with pytest.raises(ExportError, match=r"best\.pt"):
        export_project(store, out)
    assert (out / "yolo" / "best.pt").read_bytes() == b"trained for days"


def test_an_empty_folder_and_missing_parents_are_fine(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    (tmp_path / "empty").mkdir()
    export_project(store, tmp_path / "empty", ["masks"])
    export_project(store, tmp_path / "a" / "b" / "c", ["masks"])
    assert files_of(tmp_path / "empty") == files_of(tmp_path / "a" / "b" / "c")


def test_the_folder_that_one_stands_in(
    store: ProjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / ".graydet-0123.part").mkdir()  # left by an export that was killed
    (tmp_path / "here" / ".graydet-0123.part" / "x").touch()
    export_project(store, tmp_path / "there", ["masks"])
    for formats in (["json"], ["masks"]):
        export_project(store, Path(), formats)
        assert (tmp_path / "here").samefile(Path.cwd()), "it is the same folder as before"
    shutil.rmtree(tmp_path / "here" / ".graydet-0123.part")
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


def test_an_export_into_here_that_fails_puts_the_old_one_back(
    store: ProjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    here, real = tmp_path / "here", Path.rename
    here.mkdir()
    monkeypatch.chdir(here)
    export_project(store, Path(), ["masks"])
    old = files_of(here)

    def fails_late(self: Path, target: Path) -> Path:
        if ".part" in str(self) and self.name == "records":
            raise OSError(5, "Input/output error")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fails_late)
        with pytest.raises(ExportError, match="Input/output"):
            export_project(store, Path(), ["masks", "json"])
    assert files_of(here) == old


def test_an_empty_folder_that_cannot_be_renamed_is_filled_or_left_empty(
    store: ProjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drive's own folder: nothing can take its name."""
    fill(store)
    drive, real, allowed = tmp_path / "drive", Path.rename, [9]
    drive.mkdir()

    def busy(self: Path, target: Path) -> Path:
        if drive in (self, Path(target)) or not allowed[0]:
            raise OSError(16, "Device or resource busy")
        allowed[0] -= 1 if drive not in self.parents or ".part" in str(self) else 0
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", busy)
        export_project(store, drive, ["masks", "json"])
    export_project(store, tmp_path / "there", ["masks", "json"])
    assert files_of(drive) == files_of(tmp_path / "there")

    second = tmp_path / "second"
    second.mkdir()

    def fails_late(self: Path, target: Path) -> Path:
        if self.name == "records":
            raise OSError(5, "Input/output error")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fails_late)
        with pytest.raises(ExportError, match="Input/output"):
            export_project(store, second, ["masks", "json"])
    assert not list(second.iterdir())


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("fail_at", [1, 2, 3])
def test_a_failure_in_the_middle_leaves_the_old_state(
    store: ProjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
    fail_at: int,
) -> None:
    fill(store)
    out = tmp_path / "out"
    if before:
        export_project(store, out, ["masks"])
    old = files_of(out) if before else None
    calls, real = [], export_module.write_mask

    def full_disk(path: Path, mask: np.ndarray) -> None:
        calls.append(path)
        if len(calls) == fail_at:
            raise OSError(28, "No space left on device")
        real(path, mask)

    monkeypatch.setattr(export_module, "write_mask", full_disk)
    with pytest.raises(ExportError, match="No space left"):
        export_project(store, out, ["masks"])
    assert (files_of(out) if before else out.exists()) == (old if before else False)
    assert nothing_left(tmp_path)


def test_a_failed_swap_puts_the_old_export_back(
    store: ProjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    out = tmp_path / "out"
    export_project(store, out, ["masks"])
    old, real = files_of(out), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ExportError, match="Permission denied"):
        export_project(store, out, ["json"])
    assert files_of(out) == old
    assert nothing_left(tmp_path)


def test_what_is_edited_meanwhile_is_exported_as_it_was_accepted(
    store: ProjectStore, tmp_path: Path
) -> None:
    fill(store)
    accepted = [entry for entry in store.entries() if entry.state is State.ACCEPTED]
    last = accepted[-1]
    before, revision = store.annotation(last.id)

    def edits(_at: Progress) -> None:
        if store.entry(last.id).revision == revision:
            changed = before.model_copy(update={"state": State.IN_WORK, "rois": (), "boxes": ()})
            store.save(last.id, changed, expected_revision=revision, source="human", action="edit")

    export_project(store, tmp_path / "out", ["json"], on_progress=edits)
    name = f"{Path(last.path).stem}.json"
    assert read_record(tmp_path / "out" / "records" / name).annotation() == before


def test_an_image_that_is_gone_fails_the_export(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    store.image_path(store.entries()[1].id).unlink()
    with pytest.raises(ExportError, match=r"image1\.png"):
        export_project(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_stopping_leaves_nothing(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    events: list[Progress] = []
    with pytest.raises(CancelledError):
        export_project(
            store, tmp_path / "out", on_progress=events.append, should_cancel=lambda: bool(events)
        )
    assert not (tmp_path / "out").exists()
    assert nothing_left(tmp_path)


def test_unknown_format(store: ProjectStore, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="masks, yolo, json"):
        export_project(store, tmp_path / "out", ["coco"])


def test_no_folder_and_no_user_in_an_export(tmp_path: Path) -> None:
    canary = "canary-folder"
    store = make_project(tmp_path / canary)
    store.who = "canary-person"
    fill(store)
    export_project(store, tmp_path / "out")
    for name, content in files_of(tmp_path / "out").items():
        assert b"canary" not in content, name
        assert str(tmp_path).encode() not in content, name


def test_yolos_sides_are_split_by_patient(tmp_path: Path) -> None:
    store = make_project(tmp_path / "study", 12)
    for entry in store.entries():
        save(store, entry.id, annotated(read_entry(store, entry), State.ACCEPTED))
    table = tmp_path / "who.csv"
    lines = [f"{e.path},canary-{e.id % 4}\n" for e in store.entries()]
    table.write_text("".join(lines))
    store.set_patients(str(table))
    whose = {Path(e.path).stem: e.id % 4 for e in store.entries()}
    report = export_project(store, tmp_path / "out", ["yolo"], val_fraction=0.5)
    assert (report.train, report.val) == (6, 6)
    sides = [
        {whose[path.stem] for path in (tmp_path / "out" / "yolo" / "images" / side).iterdir()}
        for side in ("train", "val")
    ]
    assert len(sides[0]) == len(sides[1]) == 2 and not sides[0] & sides[1]
    for name, content in files_of(tmp_path / "out").items():
        assert b"canary" not in content, name
    (store.folder / "patients.csv").write_text("".join(lines[1:]))
    with ProjectStore.open(store.folder) as again:
        with pytest.raises(ExportError, match=r"split by patient.*none for 1"):
            export_project(again, tmp_path / "more", ["yolo"])
        export_project(again, tmp_path / "more", ["masks"])  # has no sides


def test_no_patient_in_an_anonymous_export(tmp_path: Path) -> None:
    """Canaries in a tag, the file's name and its folder: none may be found in any file or name."""
    folder = tmp_path / "canary-study"
    path = folder / "canary-ward" / "canary-anna.dcm"
    path.parent.mkdir(parents=True)
    pixels = np.random.default_rng(4).integers(0, 4096, SHAPE).astype(np.uint16)
    write_dicom(path, pixels, "MONOCHROME1")  # its PatientName is CANARY^PATIENT
    assert b"canary" in path.read_bytes().lower()
    store = ProjectStore.create(folder, ["bone", "lung"], [path])
    (entry,) = store.entries()
    save(store, entry.id, annotated(read_entry(store, entry), State.ACCEPTED))
    export_project(store, tmp_path / "out", anonymous=True)
    exported = files_of(tmp_path / "out")
    assert "masks/image000001.png" in exported
    for name, content in exported.items():
        assert "canary" not in name.lower()
        assert b"canary" not in content.lower(), name
    record = tmp_path / "out" / "records" / "image000001.json"
    again = render_record(record, tmp_path / "again", images=path)
    assert np.array_equal(
        read_png(again.path), read_png(tmp_path / "out" / "masks" / "image000001.png")
    )


def test_images_of_one_name_get_distinct_files(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    paths = [folder / "a" / "hand.png", folder / "b" / "hand.png", folder / "hand.tif"]
    rng = np.random.default_rng(3)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, SHAPE).astype(np.uint8)).save(path)
    store = ProjectStore.create(folder, ["bone", "lung"], paths)
    for entry in store.entries():
        save(store, entry.id, annotated(read_entry(store, entry), State.ACCEPTED))
    export_project(store, tmp_path / "out", ["masks", "json"])
    names = sorted(path.name for path in (tmp_path / "out" / "masks").iterdir())
    assert names == ["hand_png.png", "hand_png_2.png", "hand_tif.png"]


@given(st.lists(st.sampled_from(["a.png", "A.png", "a.dcm", "x/a.png", "a_png.tif", "b", ".h"])))
def test_names_are_distinct_also_ignoring_case(paths: list[str]) -> None:
    names = distinct_names(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    assert all(names)


@given(
    st.dictionaries(st.integers(0, 99).map(str), st.integers(0, 20).map(str), min_size=1),
    st.integers(0, 5),
    st.floats(0.05, 0.95),
)
def test_a_group_is_never_on_both_sides(groups: dict[str, str], seed: int, share: float) -> None:
    sides = split_names(groups, seed, share)
    val = {groups[name] for name, side in sides.items() if side == "val"}
    train = {groups[name] for name, side in sides.items() if side == "train"}
    assert not val & train
    assert train
    assert val or len(set(groups.values())) == 1
    assert sides == split_names(dict(reversed(groups.items())), seed, share)


def test_few_images_change_sides_when_images_are_added() -> None:
    old = split_names({str(i): str(i) for i in range(200)}, 0, 0.2)
    new = split_names({str(i): str(i) for i in range(210)}, 0, 0.2)
    assert sum(new[name] != side for name, side in old.items()) < 10


def test_objects_without_a_roi_still_get_a_detection_box(store: ProjectStore) -> None:
    image = read_entry(store, store.entries()[0])
    record = annotated(image, State.ACCEPTED)
    no_rois = record.model_copy(update={"rois": ()})
    assert [label for label, _ in detection_boxes(image, no_rois)] == ["bone", "lung"]
    painted = Annotation(
        width=image.width,
        height=image.height,
        residual={"lung": ResidualRecord(added=((60 * 5 + 7, 3), (60 * 6 + 7, 3)))},
    )
    ((label, box),) = detection_boxes(image, painted)
    assert (label, box.xyxy) == ("lung", (7, 5, 10, 7))
    outside = RoiRecord(x0=100, y0=100, x1=120, y1=120, label="bone")
    assert not list(
        detection_boxes(image, painted.model_copy(update={"rois": (outside,), "residual": {}}))
    )
