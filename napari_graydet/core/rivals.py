"""The simple rivals of the box detector: gray ranges from an ROI's histogram alone.

- Otsu: the two sides of Otsu's threshold; which side shows the object is learned per class.
- Multi-Otsu: the bands between several thresholds, and runs of neighbouring bands.
- Constant: the mean best range of the training ROIs, whatever the ROI looks like.
- Ridge: a linear map from the histogram to the edges of the best range, in unit gray or in
  quantiles of the ROI, whichever was better on training ROIs left out of it.

They are strong (METHOD.md, section 3), so they stand in every table, and a network is only worth
its weight where it beats them. Ranges are closed ranges of the gray levels 0..255, black first.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_multiotsu

from napari_graydet.core.ceiling import best_range_of_counts, iou_of_levels
from napari_graydet.core.grayscale import LEVELS, GrayRange
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import ModelError

Counts = npt.NDArray[np.integer]
Float = npt.NDArray[np.float64]

ALPHAS = (3.0, 30.0, 300.0)
"""Lambdas of the ridge regression that are tried, on standardised features."""

FOLDS = 4
"""Training ROIs are left out by quarters to choose between the variants of the ridge regression."""

_CDF_STEP = 8
_QUANTILES = (np.arange(32) + 0.5) / 32


class CountedRoi(Protocol):
    """An ROI to learn from."""

    @property
    def inside(self) -> Counts:
        """(LEVELS,) numbers of true pixels at each gray level."""

    @property
    def outside(self) -> Counts:
        """(LEVELS,) numbers of other pixels at each gray level."""

    @property
    def class_id(self) -> int:
        """What the ROI shows."""


class IntervalMethod(Protocol):
    """What finds ranges of gray levels in the histogram of an ROI."""

    def ranges_of(self, counts: Counts, class_id: int = 0) -> list[GrayRange]:
        """Return the ranges of a class, the best one first.

        Parameters
        ----------
        counts
            (LEVELS,) numbers of pixels at each gray level.
        class_id
            What to look for.
        """


def range_of(method: IntervalMethod, counts: Counts, class_id: int = 0) -> GrayRange:
    """Return the best range of a method."""
    return method.ranges_of(counts, class_id)[0]


def separability(counts: Counts, gray: GrayRange) -> float:
    """Return which share of the gray variance of an ROI the split by a range explains, 0..1.

    It is what Otsu's threshold maximises (Otsu 1979, eta), here with a range as one side.
    """
    levels = np.arange(len(counts))
    total, (mean, variance) = counts.sum(), _moments(counts, levels)
    part = counts * gray.contains(levels)
    share = part.sum() / total
    if share in (0.0, 1.0) or variance == 0:
        return 0.0
    between = (_moments(part, levels)[0] - mean) ** 2 * share / (1 - share)
    return float(min(between / variance, 1.0))


def _moments(counts: Counts, levels: Counts) -> tuple[float, float]:
    mean = float(np.average(levels, weights=counts))
    return mean, float(np.average((levels - mean) ** 2, weights=counts))


def share_of_ceiling(roi: CountedRoi, gray: GrayRange) -> float:
    """Return the IoU of a range as a share of the best that any range of the ROI gives."""
    best = best_range_of_counts(roi.inside, roi.outside)[2]
    return iou_of_levels(roi.inside, roi.outside, gray.low, gray.high) / best


# --- Otsu and multi-Otsu --------------------------------------------------------------------


@dataclass(frozen=True)
class Otsu:
    """The bands between the thresholds of (multi-)Otsu.

    Parameters
    ----------
    bands
        2 for Otsu, 3 or more for multi-Otsu (Liao et al. 2001).
    ranking
        Per class the runs of neighbouring bands, (first, last), best first.
    """

    bands: int
    ranking: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def untrained(cls, bands: int = 2, n_classes: int = 1) -> Otsu:
        """Take the brightest band first: bone is bright."""
        return cls(bands, (tuple(sorted(_runs(bands), reverse=True)),) * n_classes)

    @classmethod
    def fit(cls, rois: Sequence[CountedRoi], n_classes: int, bands: int = 2) -> Otsu:
        """Learn per class in which bands the object lies.

        Raises
        ------
        ModelError
            If a class has no ROI.
        """
        ranking = []
        for members in _by_class(rois, n_classes):
            starts = [_band_starts(_all(roi), bands) for roi in members]
            reached = {
                run: np.mean(
                    [
                        share_of_ceiling(r, _run(s, run))
                        for r, s in zip(members, starts, strict=True)
                    ]
                )
                for run in _runs(bands)
            }
            ranking.append(tuple(sorted(reached, key=lambda run: -reached[run])))
        return cls(bands, tuple(ranking))

    def ranges_of(self, counts: Counts, class_id: int = 0) -> list[GrayRange]:
        """Return the ranges of a class, the best one first."""
        starts = _band_starts(counts, self.bands)
        return [_run(starts, run) for run in self.ranking[class_id]]


def _runs(bands: int) -> list[tuple[int, int]]:
    """Return the runs of neighbouring bands, but not all of them together."""
    pairs = itertools.combinations_with_replacement(range(bands), 2)
    return [run for run in pairs if run != (0, bands - 1)]


def _run(starts: list[int], run: tuple[int, int]) -> GrayRange:
    return GrayRange(starts[run[0]], starts[run[1] + 1] - 1)


def _band_starts(counts: Counts, bands: int) -> list[int]:
    """Return the first level of every band, and the number of levels behind the last one.

    With fewer gray levels than bands, empty levels from black on make up for what is missing.
    """
    occupied = np.flatnonzero(counts)
    if len(occupied) < bands:
        empty = np.flatnonzero(counts == 0)[: bands - len(occupied)]
        last = np.union1d(occupied, empty)[:-1]
    else:
        last = threshold_multiotsu(  # type: ignore[no-untyped-call]
            hist=(counts, np.arange(len(counts))), classes=bands
        )
    return [0, *(int(level) + 1 for level in last), len(counts)]


# --- Constant -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ConstantRange:
    """The same range for every ROI of a class.

    Parameters
    ----------
    edges
        (classes, 2) bottom and top in unit gray.
    """

    edges: Float

    @classmethod
    def fit(cls, rois: Sequence[CountedRoi], n_classes: int) -> ConstantRange:
        """Take the mean of the best ranges; errors as for `Otsu.fit`."""
        grouped = _by_class(rois, n_classes)
        return cls(np.array([np.mean([best_edges(r) for r in group], 0) for group in grouped]))

    def ranges_of(self, counts: Counts, class_id: int = 0) -> list[GrayRange]:
        """Return the range of a class."""
        return [levels_between(*self.edges[class_id])]


def best_edges(roi: CountedRoi) -> Float:
    """Return bottom and top of the best range of an ROI in unit gray."""
    low, high, _ = best_range_of_counts(roi.inside, roi.outside)
    return np.array(GrayRange(low, high).edges) / LEVELS


def levels_between(bottom: float, top: float) -> GrayRange:
    """Return the closed range of levels between two edges in unit gray, at least one level."""
    low = min(max(round(bottom * LEVELS), 0), LEVELS - 1)
    return GrayRange(low, min(max(round(top * LEVELS) - 1, low), LEVELS - 1))


# --- Ridge ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class HistogramRidge:
    """A linear map from the histogram of an ROI to the edges of its best range.

    Parameters
    ----------
    regressor
        Class-specific map from `histogram_features` to two edges.
    in_quantiles
        Per class, whether the edges are quantiles of the ROI's grays rather than unit grays.
    """

    regressor: RidgeRegressor
    in_quantiles: tuple[bool, ...]

    @classmethod
    def fit(cls, rois: Sequence[CountedRoi], n_classes: int) -> HistogramRidge:
        """Solve per class; unit gray or quantiles, and lambda, are chosen on ROIs left out.

        The ROIs of one image should follow one another, for they are left out by blocks.

        Raises
        ------
        ModelError
            If a class has no ROI.
        """
        coefs, in_quantiles = [], []
        for members in _by_class(rois, n_classes):
            variants = list(itertools.product((False, True), ALPHAS))
            chosen = max(variants, key=lambda variant: _left_out_share(members, *variant))
            coefs.append(_solved(members, *chosen).regressor.coef[0])
            in_quantiles.append(chosen[0])
        return cls(RidgeRegressor(np.stack(coefs)), tuple(in_quantiles))

    def ranges_of(self, counts: Counts, class_id: int = 0) -> list[GrayRange]:
        """Return the range of a class."""
        features = histogram_features(counts)[None]
        edges = np.sort(self.regressor.predict(features, np.array([class_id]))[0])
        if self.in_quantiles[class_id]:
            edges = _quantiles_to_unit(counts, edges)
        return [levels_between(*edges)]


def histogram_features(counts: Counts) -> Float:
    """Return the CDF at every eighth level and 32 quantiles in unit gray, (63,) float64."""
    cdf = np.cumsum(counts) / counts.sum()
    return np.concatenate(
        [cdf[_CDF_STEP - 1 : -1 : _CDF_STEP], _quantiles_to_unit(counts, _QUANTILES)]
    )


def _cdf_at_edges(counts: Counts) -> Float:
    """Return the share of pixels below each of the LEVELS + 1 edges between levels."""
    return np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])


def _quantiles_to_unit(counts: Counts, quantiles: Float) -> Float:
    """Return where the CDF, linear within a level, takes given values."""
    cdf = _cdf_at_edges(counts)
    rises = np.concatenate([[True], np.diff(cdf) > 0])
    return np.asarray(np.interp(quantiles, cdf[rises], np.arange(LEVELS + 1)[rises] / LEVELS))


def _solved(rois: Sequence[CountedRoi], in_quantiles: bool, alpha: float) -> HistogramRidge:
    features = np.stack([histogram_features(_all(roi)) for roi in rois])
    targets = np.stack([best_edges(roi) for roi in rois])
    if in_quantiles:
        targets = np.stack(
            [
                _cdf_at_edges(_all(roi))[np.rint(edges * LEVELS).astype(np.intp)]
                for roi, edges in zip(rois, targets, strict=True)
            ]
        )
    one_class = np.zeros(len(rois), dtype=np.intp)
    fitted = RidgeRegressor.fit_standardised(features, one_class, targets, 1, alpha)
    return HistogramRidge(fitted, (in_quantiles,))


def _left_out_share(rois: Sequence[CountedRoi], in_quantiles: bool, alpha: float) -> float:
    """Return the mean share of the ceiling on ROIs that were left out block by block."""
    shares = []
    for left_out in np.array_split(np.arange(len(rois)), min(FOLDS, len(rois))):
        others = np.setdiff1d(np.arange(len(rois)), left_out)
        if len(others) == 0:  # a single ROI
            others = left_out
        fitted = _solved([rois[i] for i in others], in_quantiles, alpha)
        shares += [share_of_ceiling(rois[i], range_of(fitted, _all(rois[i]))) for i in left_out]
    return float(np.mean(shares))


# --- Helpers --------------------------------------------------------------------------------


def _all(roi: CountedRoi) -> Counts:
    return np.asarray(roi.inside + roi.outside)


def _by_class(rois: Sequence[CountedRoi], n_classes: int) -> list[list[CountedRoi]]:
    grouped = [[roi for roi in rois if roi.class_id == k] for k in range(n_classes)]
    absent = [str(k) for k, members in enumerate(grouped) if not members]
    if absent:
        raise ModelError(
            f"Expected ROIs of {n_classes} classes to learn from, got none of class "
            f"{', '.join(absent)}; label some, or leave the class out."
        )
    return grouped
