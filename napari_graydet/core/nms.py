"""Greedy non-maximum suppression: of 3D boxes, and of ROIs that vote.

Sources: the paper, "NMS with 3D IoU"; for ROIs Gidaris and Komodakis, "Object detection via a
multi-region and semantic segmentation-aware CNN model", ICCV 2015, section 4 (box voting), here
over several views of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import pairwise_iou_3d
from napari_graydet.core.roi import iou_of_corners


def nms_3d(
    solids: npt.NDArray[np.float64],
    scores: npt.NDArray[np.floating],
    iou_threshold: float,
    classes: npt.NDArray[np.integer] | None = None,
) -> npt.NDArray[np.intp]:
    """Keep the best of every group of overlapping boxes.

    Parameters
    ----------
    solids
        (N, 6) x0, y0, z0, x1, y1, z1.
    scores
        (N,); NaN counts as the worst.
    iou_threshold
        A box that overlaps a kept one by more than this is dropped.
    classes
        (N,) class ids; boxes of different classes do not suppress each other. None: one class.

    Returns
    -------
    (M,) indices of the kept boxes, best first; ties keep the lower index.
    """
    scores = np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=-np.inf)
    suppresses = pairwise_iou_3d(solids, solids) > iou_threshold
    if classes is not None:
        suppresses &= classes[:, None] == classes[None]
    alive = np.ones(len(scores), dtype=np.bool_)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if alive[index]:
            kept.append(int(index))
            alive &= ~suppresses[index]
    return np.array(kept, dtype=np.intp)


@dataclass(frozen=True, eq=False)
class RoiCandidates:
    """What a network saw in one or more views of an image, in the image's own coordinates.

    Parameters
    ----------
    corners
        (N, 4) x0, y0, x1, y1.
    scores, classes, views
        (N,) scores 0..1, class ids, and places of the views that each was seen in.
    """

    corners: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    classes: npt.NDArray[np.intp]
    views: npt.NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.scores)


def vote_rois(
    candidates: RoiCandidates, n_views: int, *, nms_iou: float, voting_iou: float, min_score: float
) -> RoiCandidates:
    """Keep the best of every group of overlapping ROIs, where its group says that it is.

    The edges of a kept ROI are the mean of the edges of the candidates near it, weighted with
    their squared scores; its score is the mean over the views of the best that each saw there.

    Parameters
    ----------
    candidates
        Also those of low scores: they vote.
    n_views
        Number of views, those that saw nothing included.
    nms_iou
        A candidate of the same class that overlaps a kept one by more than this is dropped.
    voting_iou
        Candidates that overlap by at least this vote on the edges; 1 lets nobody else vote.
    min_score
        ROIs below this are dropped.

    Returns
    -------
    RoiCandidates
        The ROIs, best first; `views` is where the best candidate of each was seen.
    """
    corners, scores = candidates.corners, candidates.scores
    overlap = iou_of_corners(corners, corners)
    overlap[candidates.classes[:, None] != candidates.classes[None]] = 0.0
    alive = np.ones(len(scores), dtype=np.bool_)
    kept: list[int] = []
    edges, means = [], []
    for best in np.argsort(-scores, kind="stable"):
        if scores[best] < min_score:
            break
        if not alive[best]:
            continue
        group = alive & (overlap[best] > nms_iou)
        group[best] = True
        voters = alive & (overlap[best] >= voting_iou)
        voters[best] = True
        alive &= ~group
        seen = [scores[group & (candidates.views == view)] for view in range(n_views)]
        mean = float(np.mean([values.max(initial=0.0) for values in seen]))
        if mean >= min_score:
            kept.append(int(best))
            means.append(mean)
            edges.append(np.average(corners[voters], axis=0, weights=scores[voters] ** 2))
    order = np.argsort(-np.array(means), kind="stable")
    chosen = np.array(kept, dtype=np.intp)[order]
    return RoiCandidates(
        np.array(edges).reshape(-1, 4)[order],
        np.array(means, dtype=np.float64)[order],
        candidates.classes[chosen],
        candidates.views[chosen],
    )
