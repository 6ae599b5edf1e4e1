from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_graydet.core.grayscale import GrayScale
from napari_graydet.gui.histogram.bins import MAX_BINS, GrayBins

DEEP = GrayScale(0, 65535, 1200.0, 9000.0)
DEEP_INVERTED = GrayScale(0, 65535, 9000.0, 1200.0)
SIGNED = GrayScale(-32768, 32767, -1024.0, 3071.0)
SCALES = [GrayScale.of_bits(8), GrayScale.of_bits(8, inverted=True), DEEP, DEEP_INVERTED, SIGNED]

scales = st.sampled_from(SCALES)
values16 = hnp.arrays(np.uint16, hnp.array_shapes(max_dims=2, max_side=30))


@given(values16)
def test_every_pixel_is_counted_once(values: np.ndarray) -> None:
    bins = GrayBins.of_values(values, DEEP)
    assert bins.total == values.size
    assert len(bins.counts) <= MAX_BINS


@given(hnp.arrays(np.uint8, st.integers(1, 200)))
def test_counts_of_an_8_bit_image_agree_with_numpy(values: np.ndarray) -> None:
    bins = GrayBins.of_values(values, GrayScale.of_bits(8))
    expected, _ = np.histogram(values, bins=np.arange(257))
    assert (bins.low, bins.high, bins.step) == (0, 255, 1)
    assert np.array_equal(bins.counts, expected)


@given(hnp.arrays(np.int16, st.integers(1, 200), elements=st.integers(-1024, 3071)))
def test_counts_of_a_deep_image_agree_with_numpy(values: np.ndarray) -> None:
    bins = GrayBins.of_values(values, SIGNED)
    edges = np.arange(bins.low, bins.high + 1 + bins.step, bins.step)
    expected, _ = np.histogram(values, bins=edges)
    assert np.array_equal(bins.counts, expected[: len(bins.counts)])


@given(values16)
def test_values_and_their_counts_give_the_same_bins(values: np.ndarray) -> None:
    counts = np.bincount(values.ravel(), minlength=65536)
    by_value, by_count = GrayBins.of_values(values, DEEP), GrayBins.of_counts(counts, 0, DEEP)
    assert np.array_equal(by_value.counts, by_count.counts)


@given(scales, st.floats(0, 1))
def test_the_axis_can_be_walked_both_ways(scale: GrayScale, share: float) -> None:
    bins = GrayBins.of_values(np.zeros(0, dtype=np.int64), scale)
    assert bins.to_axis(bins.from_axis(share)) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_black_is_left_and_white_is_right(scale: GrayScale) -> None:
    bins = GrayBins.of_values(np.zeros(0, dtype=np.int64), scale)
    assert bins.to_axis(scale.black) < 0.01 < 0.99 < bins.to_axis(scale.white)


def test_values_beyond_the_window_are_counted_at_its_ends() -> None:
    bins = GrayBins.of_values(np.array([0, 5000, 65535]), DEEP)
    assert (bins.low, bins.high) == (1200, 9000)
    assert bins.counts[0] == bins.counts[-1] == 1
    assert bins.count_at(5000) == 1


@given(values16)
def test_heights_are_shares_and_keep_the_order(values: np.ndarray) -> None:
    bins = GrayBins.of_values(values, DEEP)
    heights = bins.heights()
    assert heights.min() >= 0 and heights.max() == 1
    order = np.argsort(bins.counts, kind="stable")
    assert (np.diff(heights[order]) >= 0).all()
    assert (heights[bins.counts == 0] == 0).all()


def test_a_padded_border_does_not_flatten_the_rest() -> None:
    rng = np.random.default_rng(0)
    tissue = rng.integers(60, 200, 20_000)
    padded = np.concatenate([tissue, np.zeros(500_000, dtype=np.int64)])
    heights = GrayBins.of_values(padded, GrayScale.of_bits(8)).heights()
    assert heights[0] == 1
    assert heights[100] > 0.2


@given(scales, st.integers(1, 12))
def test_ticks_are_round_few_and_on_the_axis(scale: GrayScale, wanted: int) -> None:
    bins = GrayBins.of_values(np.zeros(0, dtype=np.int64), scale)
    ticks = bins.ticks(wanted)
    assert len(ticks) <= wanted + 1
    assert all(bins.low <= tick <= bins.high for tick in ticks)
    steps = set(np.diff(ticks))
    assert len(steps) <= 1
    assert all(str(step).rstrip("0") in {"1", "2", "5"} for step in steps)
