from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.segmentation import Residual, encode_runs
from napari_graydet.gui.control.mask_model import MaskModel
from napari_graydet.project.schema import Annotation, BoxRecord, CleanUpRecord, ResidualRecord

CLASSES = ("bone", "lung", "metal")
SHAPE = (24, 31)
PIXELS = np.random.default_rng(3).integers(0, 64, SHAPE).astype(np.uint8)


@st.composite
def boxes(draw: st.DrawFn, box_id: str | None = None) -> BoxRecord:
    x0, y0 = draw(st.floats(-3, 28)), draw(st.floats(-3, 20))
    low = draw(st.integers(0, 63))
    high = draw(st.integers(low, 63))
    net = draw(st.booleans())
    tilt = draw(st.floats(-10, 10))
    return BoxRecord(
        id=box_id or draw(st.sampled_from([f"box{i}" for i in range(40)])),
        x0=x0,
        y0=y0,
        x1=x0 + draw(st.floats(0.5, 25)),
        y1=y0 + draw(st.floats(0.5, 20)),
        low=[[low + tilt, float(low)], [float(low), low - tilt]] if net else low,
        high=[[float(high), high + tilt], [float(high), float(high)]] if net else high,
        label=draw(st.sampled_from(CLASSES)),
    )


@st.composite
def records(draw: st.DrawFn) -> Annotation:
    chosen = draw(st.lists(boxes(), max_size=5, unique_by=lambda b: b.id))
    cleanups = st.builds(
        CleanUpRecord,
        opening=st.integers(0, 2),
        fill_holes=st.booleans(),
        keep_largest=st.integers(0, 2),
        min_area=st.integers(0, 5),
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    residual = {}
    for label in draw(st.lists(st.sampled_from(CLASSES), unique=True)):
        added, erased = rng.random((2, *SHAPE)) < 0.03
        made = ResidualRecord.of(Residual(encode_runs(added), encode_runs(erased)))
        if made is not None:
            residual[label] = made
    return Annotation(
        width=SHAPE[1],
        height=SHAPE[0],
        boxes=tuple(chosen),
        cleanup=draw(st.dictionaries(st.sampled_from(CLASSES), cleanups)),
        residual=residual,
    )


@given(st.lists(records(), min_size=1, max_size=4))
def test_the_map_is_the_records_after_any_sequence_of_records(sequence: list[Annotation]) -> None:
    model = MaskModel(PIXELS, CLASSES)
    for record in sequence:
        model.show(record)
        np.testing.assert_array_equal(model.map, record.label_map(PIXELS, list(CLASSES)))
        for label in CLASSES:
            np.testing.assert_array_equal(model.final(label), record.mask(PIXELS, label))


@given(records(), st.data())
def test_a_preview_shows_the_changed_box_and_ending_it_the_record(
    record: Annotation, data: st.DataObject
) -> None:
    model = MaskModel(PIXELS, CLASSES)
    model.show(record)
    shown = model.map.copy()
    known = data.draw(st.sampled_from([b.id for b in record.boxes] + ["new"]))
    label = next((b.label for b in record.boxes if b.id == known), "bone")
    for _ in range(data.draw(st.integers(1, 3))):
        box = data.draw(boxes(known)).model_copy(update={"label": label})
        before = model.map.copy()
        window = model.preview(box)
        outside = np.ones(SHAPE, dtype=bool)
        outside[window] = False
        np.testing.assert_array_equal(model.map[outside], before[outside])
        if not record.cleanup.get(label):  # during a drag the label's clean-up waits
            others = tuple(b for b in record.boxes if b.id != known)
            changed = record.model_copy(update={"boxes": (*others, box)})
            expected = changed.label_map(PIXELS, list(CLASSES))
            np.testing.assert_array_equal(model.map, expected)
    model.end_preview()
    np.testing.assert_array_equal(model.map, shown)


def test_explained_is_the_iou_of_boxes_and_mask() -> None:
    painted = np.zeros(SHAPE, dtype=bool)
    painted[20:24, :10] = True
    record = Annotation(
        width=SHAPE[1],
        height=SHAPE[0],
        boxes=(BoxRecord(x0=0, y0=0, x1=10, y1=6, low=0, high=63, label="bone"),),
        residual={"bone": ResidualRecord(added=encode_runs(painted))},
    )
    model = MaskModel(PIXELS, CLASSES)
    model.show(record)
    assert model.explained("bone") == pytest.approx(60 / 100)
    assert model.explained("lung") == 1.0
