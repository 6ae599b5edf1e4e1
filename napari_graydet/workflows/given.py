"""What scripts give, made into what the core works with: images, ROIs and masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError, ImageError, MaskError
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask

Roi = RoiBox | tuple[float, float, float, float]
Picture = GrayImage | str | Path | npt.NDArray[np.integer]
TrueMask = npt.NDArray[np.bool_] | str | Path

_STORED = (-(2**15), 2**16 - 1)
"""Least and greatest value that the formats we read can store."""


def image_of(image: GrayImage | str | Path, frame: int | None = None) -> GrayImage:
    """Return an image that is in memory, or read it from its file.

    Raises
    ------
    ImageError, LimitError
        If the file is no grayscale image, or it is neither a file nor an image.
    """
    if isinstance(image, GrayImage):
        return image
    if not isinstance(image, str | Path):
        raise ImageError(
            f"Expected a file or a GrayImage, got {type(image).__name__}; an array becomes an "
            "image by GrayImage(pixels, GrayScale.of_bits(8))."
        )
    return read_image(Path(image), frame=frame)


def picture_of(image: Picture, frame: int | None = None) -> GrayImage:
    """Return an image as `image_of`, or make one of an array, for work on stored values alone.

    What is black and what is white nobody knows of an array, so networks must not be shown it.

    Raises
    ------
    ImageError, LimitError
        As `image_of`, and if the array is not (H, W) of integers that a radiograph can hold.
    """
    if not isinstance(image, np.ndarray):
        return image_of(image, frame)
    made = GrayImage(image, GrayScale(*_STORED, *_STORED))
    lowest, highest = int(image.min()), int(image.max())
    if lowest < _STORED[0] or highest > _STORED[1]:
        raise ImageError(
            f"Expected gray values from {_STORED[0]} to {_STORED[1]}, got {lowest} to {highest}; "
            "give the values that the image's file stores."
        )
    return made


def roi_of(roi: Roi) -> RoiBox:
    """Return an ROI of its edges x0, y0, x1, y1 in pixels.

    Raises
    ------
    GeometryError
        If these are not four finite numbers, or the ROI is empty.
    """
    if isinstance(roi, RoiBox):
        return roi
    if not isinstance(roi, Sequence | np.ndarray):
        raise GeometryError(f"An ROI is x0, y0, x1, y1; got {type(roi).__name__}.")
    if len(roi) != 4:
        raise GeometryError(f"An ROI is x0, y0, x1, y1; got {len(roi)} numbers.")
    try:
        return RoiBox(*(float(v) for v in roi))
    except (TypeError, ValueError) as error:
        if isinstance(error, GeometryError):
            raise
        raise GeometryError(f"An ROI is x0, y0, x1, y1 in pixels; got {roi!r}.") from error


def mask_of(mask: TrueMask, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the (H, W) mask of an image: an array, or read from its file; what is not 0 is in it.

    Raises
    ------
    MaskError
        If it is neither, cannot be read, or has another size than the image.
    """
    if isinstance(mask, str | Path):
        return read_mask(Path(mask), shape)
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biuf":
        raise MaskError(
            "Expected a mask as an array of bool or as the path of its file, got "
            f"{getattr(mask, 'dtype', type(mask).__name__)}."
        )
    if mask.shape != shape:
        raise MaskError(
            f"Expected a mask of shape {shape}, that of its image, got {mask.shape}; take the "
            "mask that was made on this image."
        )
    return np.asarray(mask != 0)
