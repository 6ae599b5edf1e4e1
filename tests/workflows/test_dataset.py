"""Images with masks from folders and projects: what is read, what is refused, what is one part."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import Sample, connected_parts
from napari_graydet.errors import DatasetError, GraydetError, ImageError, MaskError, ProjectError
from napari_graydet.project.schema import Annotation, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows import dataset as ds
from napari_graydet.workflows.dataset import from_folders, from_project
from napari_graydet.workflows.project_images import read_entry
from tests.workflows.folders import OBJECT, SHAPE, make_folders, picture, save, truth
from tests.workflows.projects import annotated, fill, make_project
from tests.workflows.projects import save as save_record


def test_folders_are_paired_by_stem(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    save(images / "alone.png", picture())
    save(masks / "lost1.png", truth())
    save(masks / "lost2.png", truth())
    data = from_folders(images, masks, label="bone")
    assert [case.name for case in data.cases] == ["a0", "a1", "a2", "a3"]
    assert data.classes == ("bone",)
    assert data.patients == {name: name for name in ("a0", "a1", "a2", "a3")}
    assert [notice.split()[0] for notice in data.notices] == ["1", "2"]
    (sample,) = data.cases[2].samples()
    np.testing.assert_array_equal(sample.image.pixels, picture(2))
    np.testing.assert_array_equal(sample.mask, truth())
    assert (sample.label, sample.stem, sample.kind) == ("bone", "a2", ds.FOLDERS)
    assert [roi.iou(RoiBox(12, 10, 40, 30)) > 0.8 for roi in sample.rois] == [True]


def test_every_connected_part_is_a_part(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 1)
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[2:10, 2:10] = mask[10:20, 10:20] = 255  # they touch at a corner: one part
    mask[25:38, 30:50] = 255
    save(masks / "a0.png", mask)
    (sample,) = from_folders(images, masks).cases[0].samples()
    assert sample.parts.max() == 2
    assert len(sample.rois) == 2


def test_label_ids_become_classes(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 1)
    ids = np.zeros(SHAPE, dtype=np.uint8)
    ids[2:20, 2:20], ids[25:38, 30:50] = 1, 3
    save(masks / "a0.png", ids)
    data = from_folders(images, masks, classes=["bone", "implant", "lung"])
    samples = data.cases[0].samples()
    assert [s.label for s in samples] == ["bone", "implant", "lung"] == list(data.classes)
    for number, sample in enumerate(samples, start=1):
        np.testing.assert_array_equal(sample.mask, ids == number)
    assert samples[0].image is samples[2].image
    too_few = from_folders(images, masks, classes=["bone", "implant"])
    with pytest.raises(MaskError, match="label id 3"):
        too_few.cases[0].samples()


@pytest.mark.parametrize("value", [0, 255])
def test_masks_of_nothing_and_of_everything_are_masks(tmp_path: Path, value: int) -> None:
    images, masks = make_folders(tmp_path, 1)
    save(masks / "a0.png", np.full(SHAPE, value, dtype=np.uint8))
    (sample,) = from_folders(images, masks).cases[0].samples()
    assert sample.rois == ([RoiBox.of_image(SHAPE)] if value else [])
    assert sample.mask.all() == bool(value)


def test_the_digest_tells_data_apart_and_not_their_order(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    data = from_folders(images, masks)
    assert from_folders(images, masks).digest == data.digest
    assert data.subset(["a3", "a0"]).digest == data.subset(["a0", "a3"]).digest != data.digest
    assert from_folders(images, masks, label="bone").digest != data.digest
    save(masks / "a0.png", ~truth())
    assert from_folders(images, masks).digest != data.digest


def test_the_same_bytes_are_one_patient(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    (images / "a3.png").write_bytes((images / "a1.png").read_bytes())
    assert from_folders(images, masks).patients["a3"] == "a1"


def test_cases_travel_to_another_process(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 2)
    case = pickle.loads(pickle.dumps(from_folders(images, masks).cases[1]))
    np.testing.assert_array_equal(case.samples()[0].mask, truth())


def test_subset_of_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="none named b"):
        from_folders(*make_folders(tmp_path)).subset(["a0", "b"])


# --- bad folders --------------------------------------------------------------------------------


def _one_line(error: pytest.ExceptionInfo[GraydetError]) -> None:
    assert len(str(error.value).splitlines()) == 1


def test_unlabelled_folders(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    for path in masks.iterdir():
        path.rename(path.with_name(f"{path.stem}_mask.png"))
    with pytest.raises(DatasetError, match="None of the 4 masks") as error:
        from_folders(images, masks)
    _one_line(error)


@pytest.mark.parametrize("what", ["images", "masks"])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_folders_without_images(tmp_path: Path, what: str, how: str) -> None:
    folders = dict(zip(("images", "masks"), make_folders(tmp_path), strict=True))
    folders[what] = tmp_path / how
    if how == "empty":
        folders[what].mkdir()
    with pytest.raises(ImageError) as error:
        from_folders(folders["images"], folders["masks"])
    _one_line(error)


def test_one_folder_for_both(tmp_path: Path) -> None:
    images, _ = make_folders(tmp_path)
    with pytest.raises(DatasetError, match="two folders"):
        from_folders(images, images / ".." / "images")


def test_files_that_changed_since_they_were_hashed_are_not_learned_from(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    for folder, error in ((images, ImageError), (masks, MaskError)):
        data = from_folders(images, masks)
        file = folder / f"{data.cases[0].name}.png"
        before = file.read_bytes()
        save(file, np.zeros(SHAPE, np.uint8))
        with pytest.raises(error, match="changed since its folder was read"):
            data.cases[0].samples()
        file.write_bytes(before)
        assert data.cases[0].samples()


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path)
    Image.fromarray(picture()).save(images / "a0.tif")
    with pytest.raises(DatasetError, match="same stem"):
        from_folders(images, masks)


def test_a_mask_of_another_size_befalls_its_case_only(tmp_path: Path) -> None:
    images, masks = make_folders(tmp_path, 2)
    save(masks / "a0.png", truth()[:, :-1])
    data = from_folders(images, masks)
    with pytest.raises(MaskError, match=r"59 x 40 pixels, its image 60 x 40") as error:
        data.cases[0].samples()
    _one_line(error)
    assert data.cases[1].samples()


@pytest.mark.parametrize("where", ["images", "masks"])
def test_floating_point_tiff_with_nan(tmp_path: Path, where: str) -> None:
    make_folders(tmp_path, 1)
    values = picture().astype(np.float32)
    values[0, 0] = np.nan
    (tmp_path / where / "a0.png").unlink()
    tifffile.imwrite(tmp_path / where / "a0.tif", values)
    data = from_folders(tmp_path / "images", tmp_path / "masks")
    with pytest.raises(ImageError if where == "images" else MaskError, match="32 bit") as error:
        data.cases[0].samples()
    _one_line(error)


# --- projects -----------------------------------------------------------------------------------


def test_a_project_gives_what_was_accepted(tmp_path: Path) -> None:
    store = make_project(tmp_path / "study", classes=["implant", "bone", "lung"])
    records = fill(store)
    data = from_project(store)
    entries = [entry for entry in store.entries() if entry.state is State.ACCEPTED]
    assert [case.name for case in data.cases] == [entry.path for entry in entries]
    assert data.classes == ("bone", "lung")
    assert data.notices == ("No accepted image has implant; left out.",)
    pixels = [read_entry(store, entry).pixels for entry in entries]
    store.close()  # a dataset is a snapshot: it needs the store no longer
    for entry, case, image in zip(entries, data.cases, pixels, strict=True):
        record = records[entry.id]
        for sample in case.samples():
            np.testing.assert_array_equal(sample.mask, record.mask(image, sample.label))
            drawn = [roi.roi_box for roi in record.rois if roi.label == sample.label]
            assert sample.rois == drawn
    assert [s.rois for s in data.cases[2].samples()] == [[], []]  # accepted as "nothing here"


def test_the_digest_of_a_project_follows_its_labels(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        records = fill(store)
        before = from_project(store).digest
        assert from_project(store).digest == before
        first = store.entries()[0]
        changed = records[first.id].model_copy(update={"residual": {}})
        save_record(store, first.id, changed)
        assert from_project(store).digest != before


def test_known_patients_count_and_others_are_one_each(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        fill(store)
        names = [entry.path for entry in store.entries()][:3]
        assert from_project(store).patients == {name: name for name in names}
        entries = store.entries()
        known = [e.model_copy(update={"patient": "p7"}) for e in entries[:2]] + entries[2:]
        store.entries = lambda: known  # type: ignore[method-assign]
        one, two, three = names
        assert from_project(store).patients == {one: one, two: one, three: three}
        known[2] = known[2].model_copy(update={"sha256": known[0].sha256})  # the same picture
        assert from_project(store).patients[three] == one


def test_a_projects_rule_says_who_is_on_which_image(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        fill(store)
        names = [entry.path for entry in store.entries()]
        table = tmp_path / "who.csv"
        whose = dict(zip(names, "abbbcc", strict=True))
        table.write_text("".join(f"{name},canary-{who}\n" for name, who in whose.items()))
        store.set_patients(str(table))
        data = from_project(store)
        assert data.patients == {names[0]: names[0], names[1]: names[1], names[2]: names[1]}
        assert data.others == {names[3]: names[1], names[4]: names[4], names[5]: names[4]}
        assert data.subset(names[:1]).others == data.others
        assert not any("canary" in repr(vars(case)) for case in data.cases)
        (store.folder / "patients.csv").write_text("".join(f"{n},x\n" for n in names[1:]))
    missing = pytest.raises(DatasetError, match=f"patients.csv gives none for 1.*{names[0]}")
    with ProjectStore.open(tmp_path / "study") as store, missing:
        from_project(store)


def test_projects_without_truth(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        with pytest.raises(DatasetError, match="accept some first"):
            from_project(store)
        entry = store.entries()[0]
        image = read_entry(store, entry)
        empty = Annotation(width=image.width, height=image.height, state=State.ACCEPTED)
        save_record(store, entry.id, empty)
        with pytest.raises(DatasetError, match="Nothing is labelled"):
            from_project(store)


def test_an_image_that_changed_befalls_its_case_only(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        fill(store)
        data = from_project(store)
        save(store.image_path(store.entries()[0].id), picture())
        with pytest.raises(ProjectError, match="changed since"):
            data.cases[0].samples()
        assert data.cases[1].samples()


def test_painted_without_any_roi(tmp_path: Path) -> None:
    with make_project(tmp_path / "study") as store:
        entry = store.entries()[0]
        record = annotated(read_entry(store, entry), State.ACCEPTED)
        painted = record.model_copy(update={"rois": (), "boxes": (), "cleanup": {}})
        save_record(store, entry.id, painted)
        (sample,) = from_project(store).cases[0].samples()
        assert type(sample) is Sample
        np.testing.assert_array_equal(sample.parts, connected_parts(sample.mask))


def test_a_region_around_nothing_is_no_object(tmp_path: Path) -> None:
    with ProjectStore.create(tmp_path, ["bone"]) as store:
        save(tmp_path / "a.png", picture())
        store.add_images([tmp_path / "a.png"])
        record = annotated(read_entry(store, store.entries()[0]), State.ACCEPTED, painted=False)
        bone = next(roi for roi in record.rois if roi.label == "bone")
        elsewhere = bone.model_copy(update={"id": "x", "x0": 40.0, "x1": 59.0})
        boxes = tuple(box for box in record.boxes if box.label == "bone")
        update = {"rois": (elsewhere, bone), "boxes": boxes, "cleanup": {}}
        save_record(store, 1, record.model_copy(update=update))
        (sample,) = from_project(store).cases[0].samples()
        assert sample.rois == [bone.roi_box]


def test_real_radiographs(shared_data: Path) -> None:
    folder = shared_data / "limb"
    data = from_folders(
        folder / "images", folder / "masks", label="bone", patients=r"^(?:knee|tibia)_[a-z]+_(\d+)"
    )
    assert len(data.cases) == 484
    people = set(data.patients.values())
    assert 242 <= len(people) < 484  # knee and tibia of one leg are one patient
    (sample,) = data.cases[0].samples()
    assert sample.mask[OBJECT].size > 0 and sample.rois
