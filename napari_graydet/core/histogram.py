"""The histogram of an ROI over the gray levels that networks and interval methods distinguish."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import LEVELS, GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError


def level_counts(image: GrayImage, roi: RoiBox) -> npt.NDArray[np.int64]:
    """Return how many pixels of an ROI have each gray level, black first.

    Parameters
    ----------
    image, roi
        Where; the ROI is clipped to the image.

    Returns
    -------
    (LEVELS,) int64

    Raises
    ------
    GeometryError
        If the ROI covers no pixel.
    ModelError
        If all its pixels have the same gray: nothing can be told apart there.
    """
    window = image.pixels[roi.clip(image.shape).slices(image.shape)]
    first = int(window.min())
    counts = np.bincount(window.ravel().astype(np.int64) - first)
    if len(counts) < 2:
        raise ModelError(
            f"Expected an ROI with different grays, got {first} in all its {window.size} "
            "pixels; draw it around an object."
        )
    levels = image.scale.to_levels(np.arange(first, first + len(counts)))
    return np.bincount(levels, weights=counts, minlength=LEVELS).astype(np.int64)
