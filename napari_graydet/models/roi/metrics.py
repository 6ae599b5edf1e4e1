"""How well ROIs are found: each true one matched with one found one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import RoiDetector
from napari_graydet.core.roi import RoiBox, pairwise_iou_2d

FOUND = 0.5
"""IoU with a true ROI from which it counts as found."""


class RoiSample(Protocol):
    """What training needs to know about an image.

    Samples that share an image object, one after the other, are one picture with several classes.
    """

    @property
    def image(self) -> GrayImage:
        """The image."""
        ...

    @property
    def label(self) -> str:
        """Class of all its ROIs."""
        ...

    @property
    def kind(self) -> str:
        """Where it comes from; kinds are drawn more evenly than they are numerous."""
        ...

    @property
    def rois(self) -> list[RoiBox]:
        """The true ROIs."""
        ...


def matched_ious(truth: Sequence[RoiBox], found: Sequence[RoiBox]) -> npt.NDArray[np.float64]:
    """Return for every true ROI the IoU with the found one that is matched to it, 0 if missed.

    Every found ROI is matched once at most; of all matchings the one with the largest sum counts.
    """
    ious = np.zeros(len(truth))
    if truth and found:
        overlap = pairwise_iou_2d(truth, found)
        rows, cols = linear_sum_assignment(overlap, maximize=True)
        ious[rows] = overlap[rows, cols]
    return ious


def roi_metrics(detector: RoiDetector, samples: Iterable[RoiSample]) -> dict[str, float]:
    """Return per kind ``roi_iou_<kind>`` (mean over true parts, missed = 0) and
    ``roi_extra_<kind>`` (ROIs per image beyond the number of true ones)."""
    ious: dict[str, list[float]] = {}
    extra: dict[str, list[int]] = {}
    for sample in samples:
        found = [p.roi for p in detector.detect(sample.image) if p.label == sample.label]
        truth = sample.rois
        ious.setdefault(sample.kind, []).extend(matched_ious(truth, found))
        extra.setdefault(sample.kind, []).append(max(0, len(found) - len(truth)))
    metrics = {f"roi_iou_{k}": round(float(np.mean(v)), 4) for k, v in ious.items()}
    return metrics | {f"roi_extra_{k}": round(float(np.mean(v)), 3) for k, v in extra.items()}


def roi_quality(cases: Iterable[tuple[Sequence[RoiBox], Sequence[RoiBox]]]) -> float:
    """Return the sum of matched IoUs over the number of true and of extra ROIs, 0..1.

    Parameters
    ----------
    cases
        True and found ROIs of each image.
    """
    total, count = 0.0, 0
    for truth, found in cases:
        total += float(matched_ious(truth, found).sum())
        count += max(len(truth), len(found))
    return total / max(count, 1)


def roi_scores(detector: RoiDetector, samples: Iterable[RoiSample]) -> dict[str, float]:
    """Return the figures by which weights are chosen.

    Returns
    -------
    dict
        ``ROI quality``: see `roi_quality`;
        ``ROI IoU``: their mean over true ROIs; ``missed ROIs``: share of true ones found with an
        IoU below `FOUND`; ``extra ROIs``: number per image.
    """
    cases = [
        (s.rois, [p.roi for p in detector.detect(s.image) if p.label == s.label]) for s in samples
    ]
    true = np.concatenate([np.zeros(0), *(matched_ious(*case) for case in cases)])
    extra = sum(max(0, len(found) - len(truth)) for truth, found in cases)
    return {
        "ROI quality": roi_quality(cases),
        "ROI IoU": float(true.mean()) if true.size else 0.0,
        "missed ROIs": float((true < FOUND).mean()) if true.size else 0.0,
        "extra ROIs": extra / max(len(cases), 1),
    }
