"""The ceiling: the best mask that any single gray range can give.

Exact and cheap, also at 16 bit: with the histograms of true and of other pixels, the IoU of a range
is in / (T + out). Dinkelbach's method maximises that ratio by maximising ``in - q * out`` for
rising q; each step is a maximum subarray over the gray levels (Kadane), done here with running
minima of a cumulative sum, O(levels) a step, and a handful of steps suffice (METHOD.md, section 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.grayscale import GrayImage, GrayRange
from napari_graydet.core.metrics import dice_of_iou
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import MaskError

Counts = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ceiling:
    """The best single gray range of an ROI, in stored units, and what it reaches."""

    range: GrayRange
    iou: float

    @property
    def dice(self) -> float:
        """DSC of the same mask."""
        return dice_of_iou(self.iou)


def best_range_of_counts(
    inside: Counts, outside: Counts, missed: int = 0
) -> tuple[int, int, float]:
    """Return first level, last level and IoU of the closed range of levels with the best IoU.

    Parameters
    ----------
    inside, outside
        (levels,) numbers of true and of other pixels at each gray level.
    missed
        True pixels that no range can reach (outside the ROI); they count in the union.

    Raises
    ------
    MaskError
        If there is no true pixel.
    """
    hits, false = np.asarray(inside, dtype=np.int64), np.asarray(outside, dtype=np.int64)
    total = int(hits.sum()) + missed
    if int(hits.sum()) == 0:
        raise MaskError("The best gray range needs at least one true pixel inside the ROI.")
    occupied = np.flatnonzero(hits)
    low, high = int(occupied[0]), int(occupied[-1])
    ratio = _ratio(hits, false, total, low, high)
    while True:
        candidate = _best_subarray(hits - ratio * false)
        better = _ratio(hits, false, total, *candidate)
        if better <= ratio:
            return low, high, ratio
        (low, high), ratio = candidate, better


def iou_of_levels(inside: Counts, outside: Counts, low: int, high: int) -> float:
    """Return the IoU that the closed range of levels gives; arguments as above."""
    return _ratio(inside, outside, int(inside.sum()), low, high)


def _ratio(hits: Counts, false: Counts, total: int, low: int, high: int) -> float:
    return float(hits[low : high + 1].sum() / (total + false[low : high + 1].sum()))


def _best_subarray(gain: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Return first and last index of the non-empty run with the largest sum."""
    before = np.concatenate([[0.0], np.cumsum(gain)])
    lowest = np.minimum.accumulate(before[:-1])
    last = int(np.argmax(before[1:] - lowest))
    first = int(np.argmin(before[: last + 1]))
    return first, last


def best_range(image: GrayImage, mask: npt.NDArray[np.bool_], roi: RoiBox) -> Ceiling:
    """Return the gray range whose pixels in the ROI match the mask best, by IoU.

    Every pixel of the mask that is not 0 is true; those outside the ROI count as missed.

    Raises
    ------
    MaskError
        If the mask has another size than the image, or no pixel inside the ROI.
    GeometryError
        If the ROI covers no pixel.
    """
    if mask.shape != image.shape:
        raise MaskError(
            f"The mask is {mask.shape[1]} x {mask.shape[0]} but the image is "
            f"{image.width} x {image.height}; they must be the same size."
        )
    mask = np.asarray(mask) != 0  # as an index, numbers would mean something else
    window = roi.clip(image.shape).slices(image.shape)
    values, inside = image.pixels[window], mask[window]
    first = int(values.min())
    shifted = values.astype(np.int64) - first
    levels = int(shifted.max()) + 1
    true = np.bincount(shifted[inside], minlength=levels)
    other = np.bincount(shifted[~inside], minlength=levels)
    missed = int(np.count_nonzero(mask)) - int(np.count_nonzero(inside))
    low, high, iou = best_range_of_counts(true, other, missed)
    return Ceiling(GrayRange(low + first, high + first), iou)


def best_range_inside(image: GrayImage, truth: Mask, roi: RoiBox) -> GrayRange | None:
    """Return the best range for the true pixels inside an ROI alone, None if there are none.

    Parameters
    ----------
    image
        The radiograph.
    truth
        (H, W) bool; what lies outside the ROI is another ROI's business and counts for nothing.
    roi
        Where the range is to hold.
    """
    window = roi.clip(image.shape).slices(image.shape)
    inside = np.zeros_like(truth)
    inside[window] = truth[window]
    return best_range(image, inside, roi).range if inside.any() else None


def ceiling_mask(image: GrayImage, truth: Mask, rois: Iterable[RoiBox]) -> Mask:
    """Return the (H, W) union of the best ranges of all ROIs: what flat boxes in them can reach."""
    ranges = [(roi, best_range_inside(image, truth, roi)) for roi in rois]
    return box_mask(image.pixels, [GrayBox.flat(roi, best) for roi, best in ranges if best])


def interval_iou(image: GrayImage, truth: Mask, roi: RoiBox, found: GrayRange) -> float | None:
    """Compare a gray range with the best one of the same ROI, within the gray values there.

    Returns
    -------
    float
        IoU of the two ranges as closed intervals of integers, 0..1; None if the ROI has no true
        pixel, so that no range is best.
    """
    best = best_range_inside(image, truth, roi)
    if best is None:
        return None
    values = image.pixels[roi.clip(image.shape).slices(image.shape)]
    ends = int(values.min()), int(values.max())
    return found.clip(*ends).iou(best.clip(*ends))
