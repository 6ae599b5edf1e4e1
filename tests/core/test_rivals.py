"""The simple rivals: against independent implementations, and on histograms made to be easy."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from napari_graydet.core.grayscale import LEVELS, GrayRange
from napari_graydet.core.rivals import (
    ConstantRange,
    HistogramRidge,
    Otsu,
    histogram_features,
    levels_between,
    range_of,
    separability,
    share_of_ceiling,
)
from napari_graydet.errors import ModelError

Ints = npt.NDArray[np.int64]
seeds = st.integers(0, 2**32 - 1)


@dataclass
class Roi:
    inside: Ints
    outside: Ints
    class_id: int = 0


def counts_of(seed: int) -> Ints:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 90, LEVELS) * (rng.random(LEVELS) < rng.choice([0.02, 0.3, 1.0]))
    counts[rng.choice(LEVELS, 3, replace=False)] += 1
    return counts.astype(np.int64)


def between_variance(counts: Ints, threshold: int) -> float:
    levels = np.arange(LEVELS)
    low, high = counts[: threshold + 1], counts[threshold + 1 :]
    if low.sum() == 0 or high.sum() == 0:
        return 0.0
    means = (
        np.average(levels[: threshold + 1], weights=low),
        np.average(levels[threshold + 1 :], weights=high),
    )
    return float(low.sum() * high.sum() * (means[0] - means[1]) ** 2)


@settings(max_examples=20)
@given(seeds)
def test_otsu_is_as_good_as_any_threshold(seed: int) -> None:
    counts = counts_of(seed)
    bright, dark = Otsu.untrained().ranges_of(counts)
    assert (dark.low, dark.high + 1, bright.high) == (0, bright.low, LEVELS - 1)
    best = max(between_variance(counts, t) for t in range(LEVELS - 1))
    assert between_variance(counts, dark.high) == pytest.approx(best, rel=1e-4)
    reference = threshold_otsu(hist=(counts, np.arange(LEVELS)))
    assert between_variance(counts, dark.high) == pytest.approx(
        between_variance(counts, int(reference)), rel=1e-4
    )


@settings(max_examples=40)
@given(seeds)
def test_separability_is_what_otsu_maximises(seed: int) -> None:
    counts = counts_of(seed)
    values = np.repeat(np.arange(LEVELS), counts)
    bright = range_of(Otsu.untrained(), counts)
    inside = bright.contains(values)
    means = np.where(inside, values[inside].mean(), values[~inside].mean())
    assert separability(counts, bright) == pytest.approx(means.var() / values.var())
    for other in range(0, LEVELS, 7):
        assert separability(counts, GrayRange(0, other)) <= separability(counts, bright) + 1e-5
    assert separability(counts, GrayRange(0, LEVELS - 1)) == 0.0


@settings(max_examples=40)
@given(seeds, st.integers(2, 4), st.integers(1, 5))
def test_bands_part_the_levels_however_few_are_used(seed: int, bands: int, used: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.zeros(LEVELS, dtype=np.int64)
    counts[rng.choice(LEVELS, used, replace=False)] = rng.integers(1, 9, used)
    single = [
        r
        for r, run in zip(
            Otsu.untrained(bands).ranges_of(counts), Otsu.untrained(bands).ranking[0], strict=True
        )
        if run[0] == run[1]
    ]
    assert len(single) == bands
    covered = sorted((r.low, r.high) for r in single)
    assert covered[0][0] == 0 and covered[-1][1] == LEVELS - 1
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(covered))
    if used >= bands:
        assert all(counts[low : high + 1].any() for low, high in covered)


def bump(centre: float, width: float, mass: int, rng: np.random.Generator) -> Ints:
    levels = np.clip(np.rint(rng.normal(centre, width, mass)), 0, LEVELS - 1).astype(int)
    return np.bincount(levels, minlength=LEVELS)


def dark_object(rng: np.random.Generator, exposure: float = 0.0, class_id: int = 0) -> Roi:
    """An object darker than what is around it, in an ROI whose exposure varies."""
    return Roi(bump(70 + exposure, 8, 1500, rng), bump(170 + exposure, 12, 900, rng), class_id)


def test_otsu_learns_which_side_is_the_object() -> None:
    rng = np.random.default_rng(0)
    rois = [dark_object(rng) for _ in range(5)]
    rois += [Roi(roi.outside, roi.inside, 1) for roi in rois]
    fitted = Otsu.fit(rois, 2)
    for roi in rois:
        assert (
            share_of_ceiling(roi, range_of(fitted, roi.inside + roi.outside, roi.class_id)) > 0.99
        )


def test_multi_otsu_finds_a_middle_band() -> None:
    rng = np.random.default_rng(1)
    rois = [
        Roi(bump(120, 6, 900, rng), bump(40, 6, 900, rng) + bump(210, 6, 900, rng))
        for _ in range(4)
    ]
    fitted = Otsu.fit(rois, 1, bands=3)
    assert fitted.ranking[0][0] == (1, 1)
    assert share_of_ceiling(rois[0], range_of(fitted, rois[0].inside + rois[0].outside)) > 0.99


def test_the_constant_range_is_the_mean_of_the_best_ones() -> None:
    def block(low: int, high: int) -> Roi:
        inside = np.zeros(LEVELS, dtype=np.int64)
        inside[low : high + 1] = 5
        return Roi(inside, 5 - inside)

    fitted = ConstantRange.fit([block(10, 59), block(30, 99)], 1)
    assert fitted.ranges_of(np.ones(LEVELS, dtype=np.int64)) == [GrayRange(20, 79)]


def test_ridge_follows_the_exposure_where_a_constant_cannot() -> None:
    rng = np.random.default_rng(2)
    rois = [dark_object(rng, exposure) for exposure in rng.uniform(-60, 60, 40)]
    tests = [dark_object(rng, exposure) for exposure in rng.uniform(-60, 60, 20)]
    shares = {}
    for name, fitted in {
        "ridge": HistogramRidge.fit(rois, 1),
        "constant": ConstantRange.fit(rois, 1),
    }.items():
        shares[name] = np.mean(
            [share_of_ceiling(t, range_of(fitted, t.inside + t.outside)) for t in tests]
        )
    assert shares["ridge"] > 0.97 > shares["constant"] + 0.05


def test_features_are_the_cdf_and_quantiles() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 30, LEVELS)
    values = np.repeat((np.arange(LEVELS) + 0.5) / LEVELS, counts)
    features = histogram_features(counts)
    for i in range(31):
        assert features[i] == pytest.approx(np.mean(values < (8 * (i + 1)) / LEVELS))
    expected = np.quantile(values, (np.arange(32) + 0.5) / 32)
    np.testing.assert_allclose(features[31:], expected, atol=1 / LEVELS)


@given(st.floats(-1, 2), st.floats(-1, 2))
def test_levels_between_any_edges_form_a_range(bottom: float, top: float) -> None:
    gray = levels_between(bottom, top)
    assert 0 <= gray.low <= gray.high < LEVELS
    if 0 <= bottom < top <= 1 and top - bottom > 1 / LEVELS:
        np.testing.assert_allclose(np.array(gray.edges) / LEVELS, [bottom, top], atol=0.51 / LEVELS)


def test_a_class_without_rois_is_refused() -> None:
    rois = [dark_object(np.random.default_rng(4))]
    for fit in (Otsu.fit, ConstantRange.fit, HistogramRidge.fit):
        with pytest.raises(ModelError, match="none of class 1"):
            fit(rois, 2)
