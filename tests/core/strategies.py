"""Hypothesis strategies for core types."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox

coordinates = st.floats(-20, 60, allow_nan=False).map(lambda v: round(v, 3))


@st.composite
def rois(draw: st.DrawFn) -> RoiBox:
    x0, y0 = draw(coordinates), draw(coordinates)
    w, h = draw(st.floats(0.5, 40)), draw(st.floats(0.5, 40))
    return RoiBox(x0, y0, x0 + w, y0 + h)


@st.composite
def gray_ranges(draw: st.DrawFn, lowest: int = 0, highest: int = 255) -> GrayRange:
    low, high = sorted((draw(st.integers(lowest, highest)), draw(st.integers(lowest, highest))))
    return GrayRange(low, high)


@st.composite
def images(draw: st.DrawFn) -> GrayImage:
    bits = draw(st.sampled_from([8, 12, 16]))
    shape = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels = rng.integers(0, 2**bits, shape, dtype=dtype)
    return GrayImage(pixels, GrayScale.of_bits(bits, inverted=draw(st.booleans())))


@st.composite
def gray_boxes(draw: st.DrawFn, k: int | None = None, highest: int = 255) -> GrayBox:
    roi = draw(rois())
    size = draw(st.integers(1, 4)) if k is None else k
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = rng.integers(0, highest // 2 + 1, (size, size))
    high = low + rng.integers(0, highest // 2, (size, size))
    return GrayBox(roi, low, high)
