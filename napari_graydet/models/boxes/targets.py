"""What anchors are asked for: scores from the mask IoU of their range, and smallest corrections."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_graydet.core.anchors import AnchorGrid, centre_width_of
from napari_graydet.core.ceiling import best_range_of_counts
from napari_graydet.core.coder import encode
from napari_graydet.core.grayscale import LEVELS
from napari_graydet.models.boxes.detector import level_ranges
from napari_graydet.models.boxes.samples import DrawnRoi

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ANCHORS, NEAR_BEST = 24, 16
"""Ranges of an ROI that a training step looks at: anchors, and ranges around the best one."""

_SPREADS = (0.02, 0.06, 0.15)
"""Standard deviations, unit gray, of edges around the best ones."""

SHARPNESS = 8
"""Power of the share of the ceiling: .99, .97, .9, .5 become scores of .92, .78, .43, 0."""

GOOD = 0.99
"""A range that reaches this share of the ceiling needs no further correction."""

_TARGET_STEP = 4
"""Levels between the edges that the regressor's targets may have."""


def range_ious(inside: Ints, outside: Ints, ranges: Ints) -> Float:
    """Return the mask IoU that each range of levels gives; (A, 2) -> (A,)."""
    true, other = (np.concatenate([[0], np.cumsum(counts)]) for counts in (inside, outside))
    hits = true[ranges[:, 1]] - true[ranges[:, 0]]
    false = other[ranges[:, 1]] - other[ranges[:, 0]]
    return np.asarray(hits / (true[-1] + false))


def best_edges(roi: DrawnRoi) -> tuple[Float, float]:
    """Return bottom and top of the best range in unit gray, and its IoU (the ceiling)."""
    low, high, iou = best_range_of_counts(roi.inside, roi.outside)
    return np.array([low, high + 1]) / LEVELS, iou


def shares_of_ceiling(roi: DrawnRoi, ranges: Ints) -> Float:
    """Return each range's mask IoU as a share of the best that any range gives, 0..1."""
    return range_ious(roi.inside, roi.outside, ranges) / best_edges(roi)[1]


def training_ranges(roi: DrawnRoi, grid: AnchorGrid, rng: np.random.Generator) -> Ints:
    """Choose what to learn from in an ROI: some anchors, and ranges around the best one.

    The latter are what the regressor makes of anchors, which are scored again.
    """
    anchors = grid.edges[rng.choice(len(grid), size=min(ANCHORS, len(grid)), replace=False)]
    best, _ = best_edges(roi)
    spread = rng.choice(_SPREADS, size=(NEAR_BEST, 1))
    near = np.sort(np.clip(best + rng.normal(0, 1, (NEAR_BEST, 2)) * spread, 0, 1), axis=1)
    return level_ranges(np.concatenate([anchors, near]))


def target_scores(shares: Float, class_id: int, n_classes: int) -> npt.NDArray[np.float32]:
    """Return (A, k + 1) class probabilities to learn: the share of the ceiling, sharpened."""
    target = np.zeros((len(shares), n_classes + 1), dtype=np.float32)
    target[:, class_id] = shares**SHARPNESS
    target[:, -1] = 1 - target[:, class_id]
    return target


def smallest_corrections(roi: DrawnRoi, anchors: Float) -> Float:
    """Return for each anchor the smallest t that leads to a range (nearly) as good as the best.

    Where hardly any pixel has a gray, an edge may lie anywhere; asking for the one best range
    would teach the regressor noise. A corrected anchor within `GOOD` of the ceiling is good.
    """
    grays = np.arange(0, LEVELS + 1, _TARGET_STEP)
    first, stop = (grays[i] for i in np.triu_indices(len(grays), k=1))
    ranges = np.stack([first, stop], axis=1)
    shares = shares_of_ceiling(roi, ranges)
    good = centre_width_of(ranges[shares >= min(GOOD, shares.max())] / LEVELS)
    deltas = encode(anchors[:, None], good[None])
    smallest = (deltas**2).sum(axis=2).argmin(axis=1)
    return np.asarray(deltas[np.arange(len(anchors)), smallest])
