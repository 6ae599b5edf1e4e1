"""How well a mask matches the truth: IoU, DSC, FN, FP, HD95 (the paper, "Performance assessment").

Rules for empty masks: two empty masks match perfectly (IoU = DSC = 1, HD95 = 0); an empty mask
against a non-empty one scores 0, and its HD95 is infinite.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import MaskError

Mask = npt.NDArray[np.bool_]


def _counts(mask: Mask, truth: Mask) -> tuple[int, int, int]:
    """Return true positive, false positive and false negative pixels."""
    if mask.shape != truth.shape:
        raise MaskError(f"Expected two masks of the same size, got {mask.shape}, {truth.shape}.")
    both = int(np.count_nonzero(mask & truth))
    return both, int(np.count_nonzero(mask)) - both, int(np.count_nonzero(truth)) - both


def iou(mask: Mask, truth: Mask) -> float:
    """Return intersection over union, 0..1."""
    tp, fp, fn = _counts(mask, truth)
    return 1.0 if tp + fp + fn == 0 else tp / (tp + fp + fn)


def dice(mask: Mask, truth: Mask) -> float:
    """Return the Dice similarity coefficient 2|T n G| / (|T| + |G|), 0..1."""
    tp, fp, fn = _counts(mask, truth)
    return 1.0 if tp + fp + fn == 0 else 2 * tp / (2 * tp + fp + fn)


def dice_of_iou(iou: float) -> float:
    """Return the Dice similarity coefficient of two masks with this IoU, 0..1."""
    return 2 * iou / (1 + iou)


def false_negative(mask: Mask, truth: Mask) -> float:
    """Return the share of true pixels that the mask misses, 0..1; 0 if there are none."""
    tp, _, fn = _counts(mask, truth)
    return fn / (tp + fn) if tp + fn else 0.0


def false_positive(mask: Mask, truth: Mask) -> float:
    """Return the share of the mask's pixels that are wrong, 0..1; 0 if the mask is empty."""
    tp, fp, _ = _counts(mask, truth)
    return fp / (tp + fp) if tp + fp else 0.0


def hd95(mask: Mask, truth: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> float:
    """Return the 95th percentile of the symmetric surface distance.

    Parameters
    ----------
    mask, truth
        (H, W) bool.
    spacing
        Row and column spacing; the result has its unit (pixels by default).

    Returns
    -------
    float
        The larger of the two directed 95th percentiles; 0 if both are empty, infinity if one is.
    """
    _counts(mask, truth)
    if not mask.any() or not truth.any():
        return 0.0 if mask.any() == truth.any() else float("inf")
    window = RoiBox.of_mask(mask | truth).slices(
        (mask.shape[0], mask.shape[1])
    )  # no edge lies outside, and distances need no more
    edges = [m & ~ndimage.binary_erosion(m) for m in (mask[window], truth[window])]
    distances = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return float(
        max(np.percentile(distances[1][edges[0]], 95), np.percentile(distances[0][edges[1]], 95))
    )
