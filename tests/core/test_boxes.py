from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox, bilinear, pairwise_iou_3d
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError

from .strategies import gray_boxes, gray_ranges, images, rois


def interpolate(net: np.ndarray, v: float, u: float) -> float:
    """Textbook bilinear interpolation of one value."""
    k = len(net)
    if k == 1:
        return float(net[0, 0])
    i, j = min(int(v * (k - 1)), k - 2), min(int(u * (k - 1)), k - 2)
    f, g = v * (k - 1) - i, u * (k - 1) - j
    top = net[i, j] * (1 - g) + net[i, j + 1] * g
    return float(top * (1 - f) + (net[i + 1, j] * (1 - g) + net[i + 1, j + 1] * g) * f)


@given(images(), gray_boxes(highest=65535))
def test_inside_agrees_with_a_loop_over_pixels(image: GrayImage, box: GrayBox) -> None:
    window, inside = box.inside(image.pixels)
    got = np.zeros(image.shape, bool)
    got[window] = inside
    roi = box.roi
    for r, c in np.ndindex(image.shape):
        y, x = r + 0.5, c + 0.5
        expected = roi.x0 <= x < roi.x1 and roi.y0 <= y < roi.y1
        if expected:
            at = (y - roi.y0) / roi.height, (x - roi.x0) / roi.width
            value = int(image.pixels[r, c])
            expected = (
                interpolate(box.low, *at) - 1e-6 <= value <= interpolate(box.high, *at) + 1e-6
            )
        assert got[r, c] == expected


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(1, 150))
def test_a_tall_window_is_compared_as_a_whole(seed: int, k: int, rows: int) -> None:
    """Nets are compared with some rows at a time; none is left out, or compared with others'."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (rows, 9)).astype(np.uint8)
    low = rng.uniform(0, 255, (k, k))
    box = GrayBox(RoiBox(0, 0, 9, rows), low, low + rng.uniform(0, 90, (k, k)))
    v, u = (np.arange(rows) + 0.5) / rows, (np.arange(9) + 0.5) / 9
    bottom, top = bilinear(box.low, v, u), bilinear(box.high, v, u)
    expected = (pixels >= bottom - 1e-6) & (pixels <= top + 1e-6)
    np.testing.assert_array_equal(box.inside(pixels)[1], expected)


@given(images(), rois(), gray_ranges(0, 65535))
def test_flat_box_is_the_gray_range(image: GrayImage, roi: RoiBox, gray: GrayRange) -> None:
    (rows, cols), inside = GrayBox.flat(roi, gray).inside(image.pixels)
    np.testing.assert_array_equal(inside, gray.contains(image.pixels[rows, cols].astype(int)))


def test_thresholds_beyond_the_type_do_not_wrap() -> None:
    pixels = np.array([[0, 128, 255]], np.uint8)
    roi = RoiBox(0, 0, 3, 1)
    assert GrayBox.flat(roi, GrayRange(-300, 400)).inside(pixels)[1].all()
    assert not GrayBox.flat(roi, GrayRange(256, 400)).inside(pixels)[1].any()
    assert not GrayBox.flat(roi, GrayRange(-9, -1)).inside(pixels)[1].any()


def solid(roi: RoiBox, gray: GrayRange) -> np.ndarray:
    (bottom, top) = gray.edges
    return np.array([[roi.x0, roi.y0, bottom, roi.x1, roi.y1, top]], dtype=np.float64)


@given(rois(), gray_ranges(), rois(), gray_ranges())
def test_iou_is_area_times_height(ra: RoiBox, ga: GrayRange, rb: RoiBox, gb: GrayRange) -> None:
    a, b = solid(ra, ga), solid(rb, gb)
    common_roi = ra.iou(rb) * (ra.area + rb.area) / (1 + ra.iou(rb))
    common_gray = ga.intersection(gb)
    common = common_roi * (common_gray.width if common_gray else 0)
    expected = common / (ra.area * ga.width + rb.area * gb.width - common)
    assert pairwise_iou_3d(a, b)[0, 0] == pytest.approx(expected)
    assert pairwise_iou_3d(b, a)[0, 0] == pytest.approx(expected)
    assert pairwise_iou_3d(a, a)[0, 0] == pytest.approx(1)


@given(gray_boxes(k=2), st.sampled_from([3, 4]))
def test_finer_nets_keep_the_faces(box: GrayBox, k: int) -> None:
    at = np.linspace(0, 1, 13)
    finer = box.with_nets(k)
    np.testing.assert_allclose(bilinear(finer.low, at, at), bilinear(box.low, at, at), atol=1e-9)
    np.testing.assert_allclose(bilinear(finer.high, at, at), bilinear(box.high, at, at), atol=1e-9)


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ([[5]], [[4]]),
        ([[1, 2]], [[3, 4]]),
        (np.zeros((2, 2)), np.ones((3, 3))),
        (np.zeros((5, 5)), np.ones((5, 5))),
        ([[np.nan]], [[1]]),
    ],
)
def test_impossible_nets_are_refused(low: object, high: object) -> None:
    with pytest.raises(GeometryError):
        GrayBox(RoiBox(0, 0, 1, 1), low, high)  # type: ignore[arg-type]


def test_solids_without_volume_have_no_iou() -> None:
    empty = np.array([[0, 0, 0, 0, 0, 0.0]])
    assert pairwise_iou_3d(empty, empty)[0, 0] == 0
