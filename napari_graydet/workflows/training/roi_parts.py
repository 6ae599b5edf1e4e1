"""Samples whose ROIs a person has drawn, and the parts of a mask that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import MARGIN, LabelMap, Sample


@dataclass(frozen=True, eq=False)
class AnnotatedSample(Sample):
    """A sample whose ROIs a person has drawn: they are the true ones, as they are.

    Parameters
    ----------
    drawn
        ROI of each part, by its id in `parts`.
    """

    drawn: Mapping[int, RoiBox]

    def part_rois(self, margin: float = MARGIN) -> dict[int, RoiBox]:
        """Return the drawn ROIs by part id; `margin` is for ROIs that are made of masks."""
        return dict(self.drawn)


def parts_of_rois(mask: npt.NDArray[np.bool_], rois: Sequence[RoiBox]) -> LabelMap:
    """Divide a mask among ROIs, so that every ROI holds one part.

    A pixel belongs to the smallest ROI that it lies in, or else to the nearest one.

    Parameters
    ----------
    mask
        (H, W) bool.
    rois
        At least one.

    Returns
    -------
    (H, W) uint16
        0 outside the mask, else 1 + place of the ROI.
    """
    shape = (mask.shape[0], mask.shape[1])
    parts = np.zeros(shape, dtype=np.uint16)
    for place in sorted(range(len(rois)), key=lambda i: -rois[i].area):
        parts[rois[place].slices(shape)] = place + 1
    parts[~mask] = 0
    rows, cols = np.nonzero(mask & (parts == 0))
    if rows.size:
        away = np.stack([_distance(roi, cols + 0.5, rows + 0.5) for roi in rois])
        parts[rows, cols] = np.argmin(away, axis=0) + 1
    return parts


def _distance(
    roi: RoiBox, x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return the distance of points from an ROI, 0 inside, pixels."""
    dx = np.maximum(np.maximum(roi.x0 - x, x - roi.x1), 0.0)
    dy = np.maximum(np.maximum(roi.y0 - y, y - roi.y1), 0.0)
    return np.asarray(np.hypot(dx, dy))
