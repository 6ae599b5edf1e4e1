"""Greedy non-maximum suppression with 3D IoU (the paper, "NMS with 3D IoU")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import pairwise_iou_3d


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
