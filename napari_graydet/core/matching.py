"""Detected regions against true ones: which belongs to which, and average precision.

Source: average precision as in Everingham et al., "The Pascal Visual Object Classes Challenge: A
Retrospective", IJCV 111 (2015), section 2.2: the area under the precision envelope, over all
recalls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox, pairwise_iou_2d

Match = tuple[int | None, float]


def match_rois(truth: Sequence[RoiBox], found: Sequence[RoiBox]) -> list[Match]:
    """Match each true ROI with one found ROI at most, and each found one once, for the most IoU.

    Returns
    -------
    list
        For every true ROI the place of its found one and their IoU; (None, 0.0) where it is missed.
    """
    matches: list[Match] = [(None, 0.0)] * len(truth)
    if truth and found:
        overlap = pairwise_iou_2d(truth, found)
        for row, col in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
            if overlap[row, col] > 0:
                matches[row] = (int(col), float(overlap[row, col]))
    return matches


def average_precision(
    images: Iterable[tuple[Sequence[RoiBox], Sequence[RoiProposal]]], min_iou: float = 0.5
) -> float | None:
    """Return the average precision of the ROIs found in several images, 0..1.

    In the order of their scores, proposals take the true ROI of their image that they overlap
    most, if it is still free and their IoU is at least `min_iou`; else they are wrong.

    Parameters
    ----------
    images
        True ROIs and proposals of each image, of one class.
    min_iou
        0.5 for AP50.

    Returns
    -------
    float
        None if there is no true ROI.
    """
    total, ranked = 0, []
    for number, (truth, proposals) in enumerate(images):
        total += len(truth)
        overlaps = pairwise_iou_2d([p.roi for p in proposals], truth)
        ranked += [(p.score, number, row) for p, row in zip(proposals, overlaps, strict=True)]
    if total == 0:
        return None
    ranked.sort(key=lambda item: -item[0])
    taken: set[tuple[int, int]] = set()
    hits = np.zeros(len(ranked))
    for place, (_, number, overlap) in enumerate(ranked):
        best = int(np.argmax(overlap)) if overlap.size else -1
        if best >= 0 and overlap[best] >= min_iou and (number, best) not in taken:
            taken.add((number, best))
            hits[place] = 1
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * hits).sum() / total)
