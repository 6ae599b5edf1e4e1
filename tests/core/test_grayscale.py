from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_graydet.core.grayscale import (
    LEVELS,
    GrayImage,
    GrayRange,
    GrayScale,
    scale_for_pixels,
)
from napari_graydet.errors import GeometryError, ImageError

from .strategies import gray_ranges, images

scales = st.builds(GrayScale.of_bits, st.sampled_from([8, 10, 12, 16]), inverted=st.booleans())


@given(gray_ranges())
def test_edges_enclose_exactly_the_range(gray: GrayRange) -> None:
    values = np.arange(256, dtype=np.uint8)
    bottom, top = gray.edges
    np.testing.assert_array_equal(gray.contains(values), (values >= bottom) & (values < top))
    assert gray.contains(values).sum() == gray.width


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(GeometryError, match="low <= high"):
        GrayRange(5, 4)


@given(gray_ranges(), gray_ranges())
def test_range_iou_counts_values(a: GrayRange, b: GrayRange) -> None:
    first, second = set(range(a.low, a.high + 1)), set(range(b.low, b.high + 1))
    assert a.iou(b) == pytest.approx(len(first & second) / len(first | second))


@given(scales, st.data())
def test_range_survives_the_unit_view(scale: GrayScale, data: st.DataObject) -> None:
    gray = data.draw(gray_ranges(scale.lowest, scale.highest))
    ends = (gray.high, gray.low - 1) if scale.inverted else (gray.low, gray.high + 1)
    bottom, top = scale.to_unit(ends)
    assert 0 <= bottom <= top <= 1
    back = scale.range_from_unit(bottom, top)
    # the last stored value maps to exactly 1, so its own range has no height in unit gray
    if top > bottom:
        assert abs(back.low - gray.low) <= 1 and abs(back.high - gray.high) <= 1
        values = np.arange(gray.low, gray.high + 1)
        assert back.contains(values).mean() >= 1 - 1 / len(values)


@given(scales)
def test_full_unit_range_is_the_whole_type(scale: GrayScale) -> None:
    assert scale.range_from_unit(0.0, 1.0) == GrayRange(scale.lowest, scale.highest)


@given(images())
def test_inversion_mirrors_the_unit_view(image: GrayImage) -> None:
    s = image.scale
    other = GrayScale(s.lowest, s.highest, s.white, s.black)
    np.testing.assert_allclose(s.to_unit(image.pixels), 1 - other.to_unit(image.pixels), atol=1e-12)


@given(scales, st.floats(0, 1), st.floats(0, 1))
def test_unit_edges_select_the_same_pixels(scale: GrayScale, a: float, b: float) -> None:
    bottom, top = min(a, b), max(a, b)
    gray = scale.range_from_unit(bottom, top)
    values = np.arange(scale.lowest, scale.highest + 1, max(1, scale.highest // 997))
    unit = scale.to_unit(values)
    clear = (np.abs(unit - bottom) > 2 / scale.highest) & (np.abs(unit - top) > 2 / scale.highest)
    expected = (
        (unit > bottom) & (unit < top)
        | ((bottom <= 0) & (unit <= top))
        | ((top >= 1) & (unit >= bottom))
    )
    np.testing.assert_array_equal(gray.contains(values)[clear], expected[clear])


@given(images())
def test_levels_stay_in_range(image: GrayImage) -> None:
    out = image.scale.to_levels(image.pixels)
    assert out.min() >= 0 and out.max() < LEVELS


def test_deep_images_use_their_own_range() -> None:
    pixels = np.linspace(3000, 9000, 10000).reshape(100, 100).astype(np.uint16)
    scale = scale_for_pixels(pixels, 16, inverted=True)
    assert scale.inverted and (scale.lowest, scale.highest) == (0, 65535)
    assert 2990 < scale.white < 3010 and 8990 < scale.black < 9010
    assert scale_for_pixels(np.full((3, 3), 7, np.uint16), 16).white == 65535
    assert scale_for_pixels(np.full((3, 3), 7, np.uint8), 8) == GrayScale.of_bits(8)
    signed = scale_for_pixels(np.array([[-5, 5]], np.int16), 12, signed=True)
    assert (signed.lowest, signed.highest) == (-2048, 2047)


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 2, 3), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((2, 2))]
)
def test_images_are_two_dimensional_integers(pixels: np.ndarray) -> None:
    with pytest.raises(ImageError):
        GrayImage(pixels, GrayScale.of_bits(8))


def test_pixels_cannot_be_changed() -> None:
    image = GrayImage(np.zeros((2, 2), np.uint8), GrayScale.of_bits(8))
    with pytest.raises(ValueError, match="read-only"):
        image.pixels[0, 0] = 1
