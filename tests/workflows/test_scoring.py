"""The figures of one image: against their definitions, at the edges, and that the losses add up."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.proposals import BoxProposal, RoiProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import Sample, connected_parts
from napari_graydet.workflows.evaluation.methods import Result
from napari_graydet.workflows.evaluation.scoring import LabelResult, Row, counted_label, score
from tests.workflows.folders import SHAPE, picture, truth

Mask = npt.NDArray[np.bool_]
IMAGE = GrayImage(picture(), GrayScale.of_bits(8), name="a.png")
NOTHING = np.zeros(SHAPE, dtype=bool)
EVERYTHING = ~NOTHING


def sample(mask: Mask, label: str = "bone", image: GrayImage = IMAGE) -> Sample:
    return Sample(image, label, connected_parts(mask), "folders", "a")


def boxes(*items: tuple[RoiBox, int, int]) -> list[BoxProposal]:
    return [
        BoxProposal(GrayBox.flat(roi, GrayRange(low, high)), "bone", 0.5)
        for roi, low, high in items
    ]


def said(
    mask: Mask, found: list[BoxProposal] | None = None, share: float | None = 1.0
) -> LabelResult:
    found = found or []
    return LabelResult(
        mask, [RoiProposal(b.box.roi, b.label, b.score) for b in found], found, share
    )


def score_of(truth_: Mask, mask: Mask, found: list[BoxProposal] | None = None) -> Row:
    ideal = said(NOTHING)
    return score("a", sample(truth_), said(mask, found), ideal, true_rois=False)


def losses(row: Row) -> list[float]:
    values = [row.loss_roi, row.loss_range, row.loss_representation, row.loss_refinement]
    return [value for value in values if value is not None]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_figures_are_what_they_say_and_the_losses_add_up(
    seed: int, clean: bool, one_range: bool
) -> None:
    """Against sets of pixels, and a search through all ranges for the ceiling."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 6, (14, 18)).astype(np.uint8)
    image = GrayImage(pixels, GrayScale.of_bits(8))
    mask = np.zeros(pixels.shape, dtype=bool)
    mask[1:9, 1:8] = pixels[1:9, 1:8] > 2
    mask[6:13, 10:17] = True if one_range else pixels[6:13, 10:17] < 2
    one = sample(mask, image=image)
    shift = rng.integers(-2, 3, 2)
    ranges = [sorted(int(v) for v in rng.integers(0, 6, 2)) for _ in one.rois]
    found, ideal = (
        boxes(
            *(
                (RoiBox(r.x0 + dx, r.y0 + dy, r.x1 + dx, r.y1 + dy).clip(image.shape), low, high)
                for r, (low, high) in zip(one.rois, ranges, strict=True)
            )
        )
        for dx, dy in (shift, (0, 0))
    )
    raw, in_true = (_inside(pixels, these) for these in (found, ideal))
    final = raw & (rng.random(raw.shape) < 0.9) if clean else raw
    row = score(
        "a", one, said(final, found, 0.5), said(in_true, ideal), true_rois=False, seconds=2.0
    )
    t, m = ({tuple(p) for p in np.argwhere(x).tolist()} for x in (mask, final))
    assert row.iou == pytest.approx(len(t & m) / len(t | m) if t | m else 1.0)
    assert row.dice == pytest.approx(2 * len(t & m) / (len(t) + len(m)) if t or m else 1.0)
    assert row.fn == pytest.approx(len(t - m) / len(t) if t else 0.0)
    assert row.fp == pytest.approx(len(m - t) / len(m) if m else 0.0)
    assert (row.parts, row.rois, row.explained, row.seconds) == (
        len(one.rois), len(found), 0.5 if m else None, 2.0
    )  # fmt: skip
    assert row.ceiling is not None and row.iou is not None
    if len(one.rois) == 1:  # of several parts, each has its range for its own pixels
        every = itertools.combinations_with_replacement(range(6), 2)
        best = max(_iou(_inside(pixels, boxes((one.rois[0], *r))), mask) for r in every)
        assert row.ceiling == pytest.approx(best)
    assert sum(losses(row)) == pytest.approx(1 - row.iou)
    assert row.loss_roi == pytest.approx(_iou(in_true, mask) - _iou(raw, mask))
    assert row.loss_range == pytest.approx(row.ceiling - _iou(in_true, mask))
    assert row.loss_representation == pytest.approx(1 - row.ceiling)
    if not clean:
        assert row.loss_refinement == 0


def _inside(pixels: npt.NDArray[np.uint8], found: list[BoxProposal]) -> Mask:
    """The pixels of boxes, one by one."""
    out = np.zeros(pixels.shape, dtype=bool)
    for (row, col), value in np.ndenumerate(pixels):
        for item in found:
            x0, y0, x1, y1 = item.box.roi.xyxy
            there = x0 <= col + 0.5 < x1 and y0 <= row + 0.5 < y1
            out[row, col] |= there and item.box.low[0, 0] <= value <= item.box.high[0, 0]
    return out


def _iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0


def test_a_perfect_mask() -> None:
    (roi,) = sample(truth()).rois
    found = boxes((roi, 100, 255))
    row = score("a", sample(truth()), said(truth(), found), said(truth(), found), true_rois=False)
    assert (row.iou, row.dice, row.fn, row.fp, row.hd95, row.ceiling) == (1, 1, 0, 0, 0, 1)
    assert (row.roi_iou, row.missed, row.iou_over_ceiling) == (1.0, 0, 1.0)
    assert losses(row) == [0, 0, 0, 0]
    assert row.interval_iou is not None and 0.4 < row.interval_iou < 1  # 100 to 149 do not occur


def test_nothing_there_and_nothing_found() -> None:
    row = score("a", sample(NOTHING), said(NOTHING), said(NOTHING), true_rois=False)
    assert (row.iou, row.dice, row.fn, row.fp, row.hd95, row.ceiling) == (1, 1, 0, 0, 0, 1)
    assert (row.roi_iou, row.interval_iou, row.parts) == (None, None, 0)
    assert losses(row) == [0, 0, 0, 0]


def test_nothing_there_but_something_found() -> None:
    found = boxes((RoiBox(0, 0, 20, 20), 0, 255))
    mask = _inside(IMAGE.pixels, found)
    row = score("a", sample(NOTHING), said(mask, found), said(NOTHING), true_rois=False)
    assert (row.iou, row.dice, row.fn, row.fp, row.hd95, row.ceiling) == (0, 0, 0, 1, None, 1)
    assert losses(row) == [1, 0, 0, 0]  # with the true ROIs, none, nothing would have been found
    assert (row.rois, row.interval_iou) == (1, None)


def test_something_there_but_nothing_found() -> None:
    (roi,) = sample(truth()).rois
    ideal = said(truth(), boxes((roi, 100, 255)))
    row = score("a", sample(truth()), said(NOTHING), ideal, true_rois=False)
    assert (row.iou, row.dice, row.fn, row.fp, row.hd95, row.ceiling) == (0, 0, 1, 0, None, 1)
    assert (row.roi_iou, row.missed, row.interval_iou) == (0, 1, None)
    assert losses(row) == [1, 0, 0, 0]


def test_everything_there() -> None:
    whole = boxes((RoiBox.of_image(SHAPE), 0, 255))
    row = score(
        "a", sample(EVERYTHING), said(EVERYTHING, whole), said(EVERYTHING, whole), true_rois=False
    )
    assert (row.iou, row.ceiling, row.roi_iou, row.interval_iou) == (1, 1, 1, 1)


def test_parts_too_small_for_an_roi_are_beyond_any_range() -> None:
    speck = NOTHING.copy()
    speck[3, 3] = True
    row = score_of(speck, NOTHING)
    assert (row.parts, row.ceiling, row.iou_over_ceiling, row.loss_representation) == (
        0,
        0,
        None,
        1,
    )


def test_true_rois_leave_nothing_to_say_about_found_ones() -> None:
    (roi,) = sample(truth()).rois
    result = said(truth(), boxes((roi, 100, 255)))
    row = score("a", sample(truth()), result, result, true_rois=True)
    assert (row.rois, row.roi_iou, row.missed, row.loss_roi) == (None, None, None, 0)
    assert row.interval_iou is not None


def test_a_method_without_boxes_has_no_shares_of_the_loss() -> None:
    result = said(truth(), share=None)
    row = score("a", sample(truth()), result, None, true_rois=False)
    assert (row.iou, row.ceiling) == (1, 1)
    assert (row.rois, row.roi_iou, row.explained, losses(row)) == (None, None, None, [])


def test_a_refiner_that_beats_the_ceiling_shows_as_a_gain() -> None:
    rng = np.random.default_rng(0)
    noise = GrayImage(rng.integers(0, 256, SHAPE).astype(np.uint8), GrayScale.of_bits(8))
    one = sample(truth(), image=noise)
    found = boxes((one.rois[0], 0, 255))
    row = score("a", one, said(truth(), found, 0.6), said(truth(), found, 0.6), true_rois=False)
    assert row.iou == 1 and row.ceiling is not None and row.ceiling < 1
    assert row.loss_refinement is not None and row.loss_refinement < 0
    assert sum(losses(row)) == pytest.approx(0)


def test_labels_of_a_method_that_count() -> None:
    masks = {"bone": truth(), "lung": EVERYTHING & ~truth()}
    result = Result(
        masks,
        rois=[RoiProposal(RoiBox(0, 0, 9, 9), name, 0.5) for name in masks],
        explained={"bone": 0.5, "lung": 1.0},
    )
    bone = LabelResult.of(result, "bone", SHAPE)
    np.testing.assert_array_equal(bone.mask, truth())
    assert (len(bone.rois), bone.explained) == (1, 0.5)
    anything = LabelResult.of(result, None, SHAPE)
    assert anything.mask.all() and len(anything.rois) == 2
    share = truth().mean()
    assert anything.explained == pytest.approx(0.5 * share + 1.0 * (1 - share))
    absent = LabelResult.of(result, "tooth", SHAPE)
    assert (absent.mask.any(), absent.rois, absent.explained) == (False, [], 1.0)
    assert LabelResult.of(Result(masks), "bone", SHAPE).explained is None
    assert counted_label("object", ["bone"]) is None
    assert counted_label("object", ["bone", "object"]) == "object"
    assert counted_label("bone", ["bone"]) == "bone"
