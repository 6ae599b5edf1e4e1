"""Detected regions against true ones: which belongs to which, and average precision.

Source: average precision as in Everingham et al., "The Pascal Visual Object Classes Challenge: A
Retrospective", IJCV 111 (2015), section 2.2: the area under the precision envelope, over all
recalls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
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
    images: Iterable[tuple[Sequence[RoiBox], Sequence[RoiProposal]]],
) -> float | None:
    """Return the average precision of the ROIs found in several images at IoU 0.5 (AP50), 0..1.

    `right_proposals` says which of them are right.

    Parameters
    ----------
    images
        True ROIs and proposals of each image, of one class.

    Returns
    -------
    float
        None if there is no true ROI.
    """
    total, scores, hits = 0, [], []
    for truth, proposals in images:
        total += len(truth)
        scores.append(np.array([p.score for p in proposals], dtype=np.float64))
        hits.append(right_proposals(truth, proposals))
    if total == 0:
        return None
    return area_of_precision(np.concatenate(scores), np.concatenate(hits), total)


def right_proposals(
    truth: Sequence[RoiBox], proposals: Sequence[RoiProposal], min_iou: float = 0.5
) -> npt.NDArray[np.bool_]:
    """Tell which of the (n,) proposals of an image are right.

    In the order of their scores, proposals take the true ROI that they overlap most, if it is
    still free and their IoU is at least `min_iou`; else they are wrong.
    """
    right = np.zeros(len(proposals), dtype=np.bool_)
    overlaps = pairwise_iou_2d([p.roi for p in proposals], truth)
    taken: set[int] = set()
    for place in sorted(range(len(proposals)), key=lambda place: -proposals[place].score):
        best = int(np.argmax(overlaps[place])) if truth else -1
        if best >= 0 and overlaps[place, best] >= min_iou and best not in taken:
            taken.add(best)
            right[place] = True
    return right


def area_of_precision(
    scores: npt.NDArray[np.float64], hits: npt.NDArray[np.bool_], total: int
) -> float:
    """Return the average precision, 0..1.

    Parameters
    ----------
    scores, hits
        (n,) of all proposals: how sure each is, and whether it is right.
    total
        Number of true ROIs, at least 1.
    """
    right = hits[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((envelope * right).sum() / total)
