"""Ceiling and fit for scripts: the core's, of files, arrays and tuples as well."""

from __future__ import annotations

from napari_graydet.core import ceiling, fit
from napari_graydet.core.ceiling import Ceiling
from napari_graydet.core.fit import SMOOTHNESS, Fit
from napari_graydet.workflows.given import Picture, Roi, TrueMask, mask_of, picture_of, roi_of


def best_range(image: Picture, mask: TrueMask, roi: Roi, *, frame: int | None = None) -> Ceiling:
    """Return the gray range whose pixels in the ROI match the mask best, by IoU.

    Parameters
    ----------
    image
        A file (PNG, JPEG, TIFF, DICOM), an image in memory, or its (H, W) stored values.
    mask
        (H, W) bool, or the path of a mask file (PNG, TIFF): every pixel that is not 0 is true,
        those outside the ROI count as missed.
    roi
        x0, y0, x1, y1 in pixels.
    frame
        Which frame of a multi-frame DICOM file.

    Returns
    -------
    Ceiling
        The range in stored values, and its IoU.

    Raises
    ------
    ImageError, LimitError
        If the image cannot be read or is none.
    MaskError
        If the mask cannot be read, has another size than the image, or no pixel inside the ROI.
    GeometryError
        If the ROI is not four numbers or covers no pixel.

    Examples
    --------
    >>> import numpy as np
    >>> pixels = np.array([[0, 80, 90]], dtype=np.uint8)
    >>> best_range(pixels, pixels > 50, (0, 0, 3, 1)).range
    GrayRange(low=80, high=90)
    """
    picture = picture_of(image, frame)
    return ceiling.best_range(picture, mask_of(mask, picture.shape), roi_of(roi))


def fit_box(
    image: Picture,
    mask: TrueMask,
    roi: Roi,
    k: int = 3,
    smoothness: float = SMOOTHNESS,
    *,
    frame: int | None = None,
) -> Fit:
    """Find the box over an ROI whose mask is most like a given one.

    Parameters
    ----------
    image, mask, roi, frame
        As for `best_range`.
    k
        Control grays per side, 1 to 4. 1 is the paper's box and gives the exact optimum.
    smoothness
        Weight of the nets' unevenness against IoU; 0 asks for IoU alone, a large one gives a flat
        box.

    Returns
    -------
    Fit
        A box with K x K nets and its exact IoU.

    Raises
    ------
    ImageError, LimitError, MaskError, GeometryError
        As `best_range`; GeometryError also if `k` or `smoothness` is out of range.
    """
    picture = picture_of(image, frame)
    return fit.fit_box(picture, mask_of(mask, picture.shape), roi_of(roi), k, smoothness)
