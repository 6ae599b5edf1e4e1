"""From which score on an ROI is proposed: chosen after training, on held-out images.

Scores of two trainings do not compare: one network gives true parts 0.9 and what it mistakes for
them 0.4, another 0.5 and 0.1. A fixed threshold lets the first one propose ribs' shadows as lungs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from napari_graydet.core.proposals import RoiDetector
from napari_graydet.core.roi import RoiBox
from napari_graydet.models.roi.metrics import RoiSample, roi_quality

LOWEST, HIGHEST = 0.05, 0.5
"""Where a threshold may lie; a missed part costs a person more than an ROI too many."""

THRESHOLDS = np.round(np.arange(LOWEST, 0.951, 0.01), 2)
SLACK = 0.01
"""Quality that thresholds may lack to count as just as good: a handful of images says no more."""

UPWARDS = 1 / 3
"""How far up the range of equally good thresholds to go: other images give lower scores to true
parts and higher ones to false, and of the two a missed part costs more, as a person has to draw it
and a refiner leaves a false ROI empty."""

Scored = list[tuple[float, RoiBox]]


def choose_min_score(detector: RoiDetector, samples: Iterable[RoiSample]) -> float | None:
    """Return a threshold among those that are best on held-out images, at most `HIGHEST`.

    Parameters
    ----------
    detector
        Proposes from `LOWEST` on.
    samples
        Held-out images.

    Returns
    -------
    None if there is nothing to choose on: no sample has an ROI.
    """
    cases: list[tuple[Sequence[RoiBox], Scored]] = []
    for sample in samples:
        found = [(p.score, p.roi) for p in detector.detect(sample.image) if p.label == sample.label]
        cases.append((sample.rois, [(s, roi) for s, roi in found if s is not None]))
    if not any(truth for truth, _ in cases):
        return None
    quality = np.array(
        [roi_quality((truth, _kept(of, least)) for truth, of in cases) for least in THRESHOLDS]
    )
    first, last = _plateau(quality)
    low, high = THRESHOLDS[first], THRESHOLDS[last]
    return float(min(round(low + UPWARDS * (high - low), 3), HIGHEST))


def _kept(scored: Scored, threshold: float) -> list[RoiBox]:
    return [roi for score, roi in scored if score >= threshold]


def _plateau(quality: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Return first and last place around the best one that are hardly worse than it."""
    good = quality >= quality.max() - SLACK
    first = last = int(quality.argmax())
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    return first, last
