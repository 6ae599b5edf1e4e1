"""Records -> masks, bit for bit, and how much the gray range explains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import GeometryError, NewerSchemaError, ProjectError
from napari_graydet.io.masks import read_mask
from napari_graydet.project.schema import ImageEntry, State
from napari_graydet.project.store import ProjectStore
from napari_graydet.workflows import render as render_module
from napari_graydet.workflows.events import Failure
from napari_graydet.workflows.export import export_project
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.project_images import read_entry
from napari_graydet.workflows.records import ImageRecord, read_record
from napari_graydet.workflows.render import Rendered, render, render_project, render_record
from napari_graydet.workflows.segment import segment
from tests.workflows.projects import annotated, fill, make_project


@pytest.fixture
def store(tmp_path: Path) -> ProjectStore:
    return make_project(tmp_path / "study")


def test_exported_records_render_to_the_exported_masks(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    out = tmp_path / "out"
    export_project(store, out, ["masks", "json"])
    records = sorted((out / "records").iterdir())
    assert len(records) == 3
    for record in records:
        rendered = render_record(record, tmp_path / "again", images=store.folder)
        again = np.asarray(Image.open(rendered.path))
        assert np.array_equal(again, np.asarray(Image.open(out / "masks" / rendered.path.name)))


def test_project_renders_what_has_a_mask(store: ProjectStore, tmp_path: Path) -> None:
    fill(store)
    outcomes = list(render_project(store, tmp_path / "masks"))
    names = [o.path.name for o in outcomes if isinstance(o, Rendered)]
    assert names == ["image0.png", "image1.png", "image2.png", "image3.png"]  # 4 rejected, 5 new


def test_a_missing_image_is_reported_and_the_rest_go_on(
    store: ProjectStore, tmp_path: Path
) -> None:
    fill(store)
    store.image_path(store.entries()[0].id).unlink()
    outcomes = list(render_project(store, tmp_path / "masks"))
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [True, False, False, False]


def test_shares_count_what_was_painted(store: ProjectStore) -> None:
    image = read_entry(store, store.entries()[0])
    record = annotated(image, State.ACCEPTED)
    bone, lung = render(image, record, store.classes).shares
    base, mask = record.base_mask(image.pixels, "bone"), record.mask(image.pixels, "bone")
    assert bone.explained == (base & mask).sum() / (base | mask).sum() < 1
    assert bone.added == (mask & ~base).sum() > 0
    assert bone.erased == (base & ~mask).sum() > 0
    assert bone.pixels == mask.sum()
    assert (lung.explained, lung.added, lung.erased) == (1.0, 0, 0)


# --- records that are not right -----------------------------------------------------------------


@pytest.fixture
def record_file(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    result = segment(tmp_path / "image.png", roi=(2, 3, 30, 20), gray_range=(50, 150))
    path = tmp_path / "image.json"
    path.write_text(result.record().text())
    return path


def change(path: Path, **fields: object) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


def test_an_image_beside_its_record_is_found(record_file: Path, tmp_path: Path) -> None:
    rendered = render_record(record_file, tmp_path / "out")
    assert rendered.path == tmp_path / "out" / "image.png"
    assert rendered.shares[0].explained == 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256 differs"),
        ({"width": 41}, "41 x 30"),
        ({"boxes": [{"x0": 1}]}, "boxes.0"),
        ({"boxes": 7}, "boxes"),
        ({"width": -3}, "width"),
        ({"unheard": 1}, "unheard"),
        ({"image": "elsewhere.png"}, "--images"),
        ({"image": "../../../etc/passwd"}, "--images"),
    ],
)
def test_wrong_records(
    record_file: Path, tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(ProjectError, match=message) as caught:
        render_record(change(record_file, **fields), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[1, 2]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000]
)
def test_damaged_records(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(ProjectError):
        read_record(path)
    assert path.read_bytes() == content


def test_boxes_without_volume_are_refused(record_file: Path) -> None:
    box = {"x0": 5, "y0": 5, "x1": 5, "y1": 9, "low": 1, "high": 2, "label": "a", "score": None}
    with pytest.raises(ProjectError, match="x0 < x1"):
        read_record(change(record_file, boxes=[box]))


def test_grays_beyond_all_images_are_refused(record_file: Path) -> None:
    huge = {"x0": 5, "y0": 5, "x1": 9, "y1": 9, "low": 10**400, "high": 10**400, "label": "a"}
    with pytest.raises(ProjectError, match="grays that large"):
        read_record(change(record_file, boxes=[huge | {"score": None}]))


def test_nan_is_refused(record_file: Path) -> None:
    text = record_file.read_text().replace('"x0": 2.0', '"x0": NaN', 1)
    record_file.write_text(text)
    assert "NaN" in text
    with pytest.raises(ProjectError):
        read_record(record_file)


def test_newer_records_are_refused(record_file: Path) -> None:
    with pytest.raises(NewerSchemaError, match="update"):
        read_record(change(record_file, schema=99))


# --- R17: one mask, whichever way ---------------------------------------------------------------


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_mask_by_thresholds_box_json_and_png(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Random ROI and range: thresholds = box = JSON re-read = PNG re-read, bit for bit."""
    bits = data.draw(st.sampled_from([8, 12, 16]))
    height, width = data.draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 2**bits, (height, width)).astype(np.uint8 if bits == 8 else np.uint16)
    folder = tmp_path_factory.mktemp("r17")
    Image.fromarray(pixels).save(folder / "image.png")
    x0, x1 = sorted(data.draw(st.tuples(*[st.floats(-3, width + 3)] * 2)))
    y0, y1 = sorted(data.draw(st.tuples(*[st.floats(-3, height + 3)] * 2)))
    low, high = sorted(data.draw(st.tuples(*[st.integers(0, 2**bits - 1)] * 2)))
    try:
        roi = RoiBox(x0, y0, x1, y1).clip((height, width))
    except GeometryError:
        return
    y, x = np.mgrid[:height, :width] + 0.5
    here = (roi.x0 <= x) & (x < roi.x1) & (roi.y0 <= y) & (y < roi.y1)
    thresholds = here & (low <= pixels) & (pixels <= high)
    box = box_mask(pixels, [GrayBox.flat(roi, GrayRange(low, high))])
    result = segment(
        folder / "image.png", roi=roi, gray_range=(low, high), predictor=Predictor("no", "no")
    )
    (folder / "image.json").write_text(result.record().text())
    reread = ImageRecord.model_validate_json((folder / "image.json").read_text()).annotation()
    png = render_record(folder / "image.json", folder / "out").path
    assert np.array_equal(thresholds, box)
    assert np.array_equal(thresholds, result.mask)
    assert np.array_equal(thresholds, reread.mask(pixels, "object"))
    assert np.array_equal(thresholds, read_mask(png, (height, width)))


@pytest.mark.parametrize("error", [MemoryError, OSError("gone"), ProjectError("damaged")])
def test_whatever_befalls_one_image_leaves_the_others_alone(
    store: ProjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fill(store)
    first = store.entries()[0].id

    def read(store: ProjectStore, entry: ImageEntry) -> GrayImage:
        if entry.id == first:
            raise error
        return read_entry(store, entry)

    monkeypatch.setattr(render_module, "read_entry", read)
    outcomes = list(render_project(store, tmp_path / "masks"))
    assert [isinstance(outcome, Failure) for outcome in outcomes] == [True, False, False, False]
