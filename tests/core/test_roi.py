from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.roi import RoiBox, pairwise_iou_2d
from napari_graydet.errors import GeometryError

from .strategies import rois

shapes = st.tuples(st.integers(1, 50), st.integers(1, 50))


@given(rois(), shapes)
def test_a_pixel_belongs_when_its_centre_lies_inside(roi: RoiBox, shape: tuple[int, int]) -> None:
    rows, cols = roi.slices(shape)
    got = np.zeros(shape, bool)
    got[rows, cols] = True
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    expected = (x >= roi.x0) & (x < roi.x1) & (y >= roi.y0) & (y < roi.y1)
    np.testing.assert_array_equal(got, expected)


@given(rois(), shapes)
def test_conversions_go_back(roi: RoiBox, shape: tuple[int, int]) -> None:
    assert RoiBox.from_cxcywh(*roi.to_cxcywh(shape), shape).xyxy == pytest.approx(roi.xyxy)
    assert RoiBox.from_napari(roi.to_napari()).xyxy == pytest.approx(roi.xyxy)


@given(rois(), rois())
def test_iou_agrees_with_a_fine_raster(a: RoiBox, b: RoiBox) -> None:
    value = a.iou(b)
    assert 0 <= value <= 1 and value == pytest.approx(b.iou(a)) and a.iou(a) == pytest.approx(1)
    grid = np.linspace(-21, 101, 1200)
    inside = [
        ((grid >= r.y0) & (grid < r.y1))[:, None] & ((grid >= r.x0) & (grid < r.x1)) for r in (a, b)
    ]
    union = (inside[0] | inside[1]).sum()
    if union > 20000:  # large enough for the raster to be a fair judge
        assert value == pytest.approx((inside[0] & inside[1]).sum() / union, abs=0.05)


@given(st.integers(0, 2**32 - 1), shapes)
def test_box_of_a_mask_is_tight(seed: int, shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(seed).random(shape) < 0.1
    if not mask.any():
        with pytest.raises(GeometryError):
            RoiBox.of_mask(mask)
        return
    rows, cols = RoiBox.of_mask(mask).slices(shape)
    window = mask[rows, cols]
    assert window.sum() == mask.sum()
    assert window[0].any() and window[-1].any() and window[:, 0].any() and window[:, -1].any()


@pytest.mark.parametrize("bad", [(0, 0, 0, 5), (5, 0, 1, 5), (0, 0, float("nan"), 1)])
def test_boxes_need_area(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(GeometryError):
        RoiBox(*bad)


def test_a_roi_beside_the_image_is_refused() -> None:
    with pytest.raises(GeometryError, match="covers no pixel"):
        RoiBox(100, 0, 110, 10).clip((50, 50))
    with pytest.raises(GeometryError, match="covers no pixel"):
        RoiBox(0.6, 0.6, 1.4, 1.4).clip((50, 50))
    assert RoiBox(-5, 40, 500, 70).clip((50, 60)).xyxy == (0, 40, 60, 50)


@given(
    st.floats(0, 99), st.floats(0, 39), st.floats(0.01, 30), st.floats(0.01, 30), st.floats(1, 40)
)
def test_a_roi_of_an_image_that_was_made_smaller_covers_a_pixel(
    x: float, y: float, width: float, height: float, factor: float
) -> None:
    shape = (max(1, int(40 / factor)), max(1, int(100 / factor)))
    small = RoiBox(*(v / factor for v in (x, y, x + width, y + height)))
    rows, cols = small.at_least_a_pixel(shape).slices(shape)
    assert rows.stop > rows.start and cols.stop > cols.start
    if not small._slices_empty(shape):
        assert small.at_least_a_pixel(shape) == small.clip(shape)


def test_empty_lists_have_an_empty_matrix() -> None:
    assert pairwise_iou_2d([], [RoiBox(0, 0, 1, 1)]).shape == (0, 1)
