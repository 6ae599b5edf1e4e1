from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import (
    best_range,
    best_range_inside,
    best_range_of_counts,
    ceiling_mask,
    interval_iou,
)
from napari_graydet.core.fit import fit_box
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.metrics import dice, iou
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import MaskError


def brute_force(inside: np.ndarray, outside: np.ndarray, missed: int) -> float:
    total, best = inside.sum() + missed, 0.0
    for low in range(len(inside)):
        for high in range(low, len(inside)):
            hits, false = inside[low : high + 1].sum(), outside[low : high + 1].sum()
            best = max(best, hits / (total + false))
    return float(best)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 24), st.integers(0, 30))
def test_no_range_is_better(seed: int, levels: int, missed: int) -> None:
    rng = np.random.default_rng(seed)
    inside = rng.integers(0, 20, levels) * rng.integers(0, 2, levels)
    outside = rng.integers(0, 20, levels)
    inside[rng.integers(levels)] += 1
    low, high, value = best_range_of_counts(inside, outside, missed)
    hits, false = inside[low : high + 1].sum(), outside[low : high + 1].sum()
    assert value == pytest.approx(hits / (inside.sum() + missed + false))
    assert value == pytest.approx(brute_force(inside, outside, missed))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_the_mask_of_the_range_has_that_iou(dtype: type) -> None:
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    pixels = rng.integers(info.min, info.max, (60, 80), dtype=dtype, endpoint=True)
    noise = rng.normal(0, info.max / 8, pixels.shape)
    mask = (pixels + noise > info.max / 3) & (pixels < info.max * 0.9)
    image = GrayImage(pixels, GrayScale(info.min, info.max, info.min, info.max))
    roi = RoiBox(10, 5, 70, 55)
    ceiling = best_range(image, mask, roi)
    got = box_mask(pixels, [GrayBox.flat(roi, ceiling.range)])
    assert ceiling.iou == pytest.approx(iou(got, mask))
    assert ceiling.dice == pytest.approx(dice(got, mask))


def test_a_threshold_mask_is_reached_exactly() -> None:
    pixels = np.random.default_rng(1).integers(0, 65536, (50, 50), dtype=np.uint16)
    image = GrayImage(pixels, GrayScale.of_bits(16))
    truth = GrayRange(20000, 30000)
    found = best_range(image, truth.contains(pixels), RoiBox.of_image((50, 50)))
    assert found.iou == 1.0
    np.testing.assert_array_equal(found.range.contains(pixels), truth.contains(pixels))


@pytest.mark.parametrize("true", [1, 255, True, 0.5])
def test_masks_need_not_be_bool(true: float) -> None:
    rng = np.random.default_rng(3)
    image = GrayImage(rng.integers(0, 256, (30, 40)).astype(np.uint8), GrayScale.of_bits(8))
    mask = image.pixels > 100
    roi, as_numbers = RoiBox(2, 3, 35, 28), mask * np.array(true)
    assert best_range(image, as_numbers, roi) == best_range(image, mask, roi)
    assert fit_box(image, as_numbers, roi, k=2).iou == fit_box(image, mask, roi, k=2).iou


def test_bad_masks_are_refused() -> None:
    image = GrayImage(np.zeros((4, 4), np.uint8), GrayScale.of_bits(8))
    with pytest.raises(MaskError, match="same size"):
        best_range(image, np.zeros((3, 3), bool), RoiBox(0, 0, 2, 2))
    with pytest.raises(MaskError, match="true pixel"):
        best_range(image, np.zeros((4, 4), bool), RoiBox(0, 0, 2, 2))


def two_parts() -> tuple[GrayImage, np.ndarray, list[RoiBox]]:
    """Two objects of different gray, each with its ROI, whose ranges do for the own one only."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 50)).astype(np.uint8)
    mask = np.zeros(pixels.shape, dtype=bool)
    mask[2:28, 2:20], mask[5:25, 28:48] = pixels[2:28, 2:20] < 90, pixels[5:25, 28:48] > 120
    return (
        GrayImage(pixels, GrayScale.of_bits(8)),
        mask,
        [RoiBox(2, 2, 20, 28), RoiBox(28, 5, 48, 25)],
    )


def test_each_part_has_a_range_of_its_own() -> None:
    image, mask, rois = two_parts()
    np.testing.assert_array_equal(ceiling_mask(image, mask, rois), mask)
    assert best_range(image, mask, RoiBox.of_image(image.shape)).iou < 0.6
    # pixels of the other part, outside of an ROI, say nothing about its range
    left = mask.copy()
    left[:, 25:] = False
    assert best_range_inside(image, mask, rois[0]) == best_range_inside(image, left, rois[0])


def test_without_true_pixels_there_is_no_best_range() -> None:
    image, mask, rois = two_parts()
    nothing = np.zeros_like(mask)
    assert best_range_inside(image, nothing, rois[0]) is None
    assert interval_iou(image, nothing, rois[0], GrayRange(0, 9)) is None
    assert not ceiling_mask(image, nothing, rois).any()
    assert not ceiling_mask(image, mask, []).any()


@given(st.integers(-50, 300), st.integers(0, 300))
def test_intervals_are_compared_within_the_gray_values_of_the_roi(low: int, width: int) -> None:
    image, mask, rois = two_parts()
    best = best_range_inside(image, mask, rois[1])
    assert best is not None
    window = image.pixels[rois[1].slices(image.shape)]
    there = range(int(window.min()), int(window.max()) + 1)
    a = {v for v in there if low <= v <= low + width} or {there[0 if low < 0 else -1]}
    b = {v for v in there if best.low <= v <= best.high}
    found = interval_iou(image, mask, rois[1], GrayRange(low, low + width))
    assert found == pytest.approx(len(a & b) / len(a | b))
