from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import Residual, encode_runs
from napari_graydet.errors import GeometryError
from napari_graydet.gui.control import edits
from napari_graydet.gui.control.mask_model import MaskModel
from napari_graydet.project.schema import (
    Annotation,
    BoxRecord,
    CleanUpRecord,
    ResidualRecord,
    RoiRecord,
    Source,
    State,
)
from tests.gui.test_mask_model import CLASSES, PIXELS, SHAPE, records

EMPTY = Annotation(width=SHAPE[1], height=SHAPE[0])


def proposed(x: float, label: str = "bone", source: str = "model") -> Annotation:
    roi = RoiRecord(x0=x, y0=2, x1=x + 8, y1=12, label=label, score=0.9, source=source, model="m")
    box = BoxRecord(
        x0=x, y0=2, x1=x + 8, y1=12, roi_id=roi.id, low=9, high=40, label=label, score=0.8,
        source=source, model="m",
    )  # fmt: skip
    return EMPTY.model_copy(update={"rois": (roi,), "boxes": (box,), "state": State.PROPOSED})


@given(records(), st.integers(0, 99))
def test_what_was_painted_is_what_is_shown(record: Annotation, seed: int) -> None:
    masks = MaskModel(PIXELS, CLASSES)
    masks.show(record)
    rng = np.random.default_rng(seed)
    painted = masks.map.copy()
    brush = rng.random(SHAPE) < 0.1
    painted[brush] = rng.integers(0, len(CLASSES) + 1)
    after = edits.paint(record, masks, painted)
    np.testing.assert_array_equal(after.label_map(PIXELS, list(CLASSES)), painted)
    assert after.boxes == record.boxes and after.state is State.IN_WORK


def test_a_stroke_stays_when_the_box_covers_it_for_a_while() -> None:
    record = proposed(0)
    masks = MaskModel(np.full(SHAPE, 50, np.uint8), CLASSES)  # nothing lies in 9..40
    masks.show(record)
    painted = masks.map.copy()
    painted[5, 5] = 1
    record = edits.paint(record, masks, painted)
    wide = edits.put_box(record, edits.with_range(record.boxes[0], 9, 60))
    masks.show(wide)
    painted = masks.map.copy()
    painted[20, 20] = 1
    record = edits.paint(wide, masks, painted)
    narrow = edits.put_box(record, edits.with_range(record.boxes[0], 9, 40))
    mask = narrow.mask(masks.pixels, "bone")
    assert mask[5, 5] and mask[20, 20] and mask.sum() == 2


def test_boxes_go_along_with_their_roi_and_become_human() -> None:
    record = proposed(0)
    moved = edits.move_roi(record, record.rois[0].id, RoiBox(3.123, 1, 40, 20))
    assert moved.rois[0].roi_box == moved.boxes[0].roi_box == RoiBox(3.12, 1, SHAPE[1], 20)
    for part in (*moved.rois, *moved.boxes):
        assert (part.source, part.score, part.model) == ("human", None, "m")
    assert moved.state is State.IN_WORK
    with pytest.raises(GeometryError):
        edits.move_roi(record, record.rois[0].id, RoiBox(500, 500, 600, 600))


def test_relabel_and_delete_take_the_boxes_along() -> None:
    record = proposed(0)
    roi_id = record.rois[0].id
    named = edits.relabel_roi(record, roi_id, "lung")
    assert {part.label for part in (*named.rois, *named.boxes)} == {"lung"}
    gone = edits.delete_rois(record, [roi_id])
    assert not gone.rois and not gone.boxes


def two_refined(source: str = "model") -> Annotation:
    """Two bones, of which a refiner has added a pixel each, and erased one."""
    one, two = proposed(0), proposed(18)
    added = np.zeros(SHAPE, bool)
    added[1, 4], added[1, 22] = True, True  # just above the ROIs: a refiner sees around them
    erased = np.zeros(SHAPE, bool)
    erased[5, 20] = True
    residual = ResidualRecord.of(Residual(encode_runs(added), encode_runs(erased)), source, "m")
    assert residual is not None
    return one.model_copy(
        update={
            "rois": (*one.rois, *two.rois),
            "boxes": (*one.boxes, *two.boxes),
            "residual": {"bone": residual},
        }
    )


def pixels_of(record: Annotation, label: str = "bone") -> tuple[set[int], set[int]]:
    residual = record.residual.get(label)
    runs = ((), ()) if residual is None else (residual.added, residual.erased)
    return tuple({s for start, length in r for s in range(start, start + length)} for r in runs)


def test_what_a_refiner_painted_goes_with_its_roi() -> None:
    record = two_refined()
    first, second = (roi.id for roi in record.rois)
    width = SHAPE[1]
    of_first, of_second = {width + 4}, {width + 22}
    assert pixels_of(record) == (of_first | of_second, {5 * width + 20})
    assert pixels_of(edits.delete_rois(record, [first])) == (of_second, {5 * width + 20})
    assert pixels_of(edits.delete_rois(record, [second])) == (of_first, set())
    assert "bone" not in edits.delete_rois(record, [first, second]).residual
    named = edits.relabel_roi(record, second, "lung")
    assert pixels_of(named) == (of_first, set()) and "lung" not in named.residual
    moved = edits.move_roi(record, second, RoiBox(18, 14, 26, 24))
    assert pixels_of(moved) == (of_first, set())
    larger = edits.move_roi(record, second, RoiBox(17, 2, 26, 13))
    assert larger.residual == record.residual
    by_hand = two_refined("human")
    assert edits.delete_rois(by_hand, [first, second]).residual == by_hand.residual


def test_a_tilted_box_keeps_its_tilt_when_the_range_moves() -> None:
    geometry = GrayBox(RoiBox(0, 0, 10, 10), np.array([[0, 10], [0, 10.0]]), np.full((2, 2), 60.0))
    box = BoxRecord(x0=0, y0=0, x1=10, y1=10, low=1, high=2, label="bone").with_box(geometry)
    new = edits.with_range(box, 5, 50).gray_box()
    np.testing.assert_array_equal(new.low, [[5, 15], [5, 15]])
    np.testing.assert_array_equal(new.high, np.full((2, 2), 50))
    assert (new.gray.low, new.gray.high) == (5, 50)


def test_a_prediction_replaces_predictions_and_leaves_human_work() -> None:
    old, new = proposed(0), proposed(15)
    replaced = edits.merge_prediction(old, new)
    assert replaced.rois == new.rois and replaced.boxes == new.boxes
    assert replaced.state is State.PROPOSED

    mine = proposed(0, source="human").model_copy(update={"state": State.IN_WORK})
    both = edits.merge_prediction(mine, new)
    assert both.rois == (*mine.rois, *new.rois) and both.boxes == (*mine.boxes, *new.boxes)
    assert both.state is State.IN_WORK

    same_place = edits.merge_prediction(mine, proposed(1))
    assert same_place.rois == mine.rois and same_place.boxes == mine.boxes


def test_a_box_set_by_hand_keeps_its_proposed_roi() -> None:
    record = proposed(0)
    edited = edits.put_box(record, edits.with_range(record.boxes[0], 1, 2))
    merged = edits.merge_prediction(edited, proposed(20))
    assert record.rois[0] in merged.rois and edited.boxes[0] in merged.boxes


def refined(record: Annotation, source: Source = "model") -> Annotation:
    residual = ResidualRecord(added=((0, 3),), erased=((7, 2),), source=source, model="r")
    return record.model_copy(update={"residual": {"bone": residual}})


def test_a_refiners_residual_comes_with_its_boxes_and_goes_with_them() -> None:
    old, new = refined(proposed(0)), refined(proposed(15))
    merged = edits.merge_prediction(old, new)
    assert merged.residual == new.residual and merged.state is State.PROPOSED
    assert not edits.merge_prediction(old, proposed(15)).residual, "it was that of other boxes"


def test_what_a_person_painted_is_never_replaced_by_a_refiner() -> None:
    mine = refined(proposed(0), "human").model_copy(update={"state": State.IN_WORK})
    merged = edits.merge_prediction(mine, refined(proposed(15)))
    assert merged.residual == mine.residual and merged.state is State.IN_WORK


def test_a_residual_is_left_out_where_it_would_lie_on_another_mask() -> None:
    mine = proposed(0, source="human").model_copy(update={"state": State.IN_WORK})
    assert not edits.merge_prediction(mine, refined(proposed(15))).residual
    cleaned = proposed(0).model_copy(update={"cleanup": {"bone": CleanUpRecord(opening=2)}})
    assert not edits.merge_prediction(cleaned, refined(proposed(15))).residual
