"""Boxes and a painted residual -> mask.

    mask = (pixels inside any box of the label), cleaned as the record says,
           + added pixels - erased pixels

Source: the paper, "Obtaining segmentation results"; clean-up and residual: METHOD.md, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage import measure, morphology

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.metrics import iou
from napari_graydet.errors import MaskError

Mask = npt.NDArray[np.bool_]
Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class CleanUp:
    """Morphological clean-up of a box mask; a setting of the record, never silent.

    Parameters
    ----------
    opening
        Radius in pixels of a disk opening; 0 for none.
    fill_holes
        Whether holes are filled.
    keep_largest
        Keep so many of the largest 8-connected parts; 0 keeps all.
    min_area
        Drop parts with fewer pixels.
    """

    opening: int = 0
    fill_holes: bool = False
    keep_largest: int = 0
    min_area: int = 0

    def __call__(self, mask: Mask) -> Mask:
        """Return the cleaned mask, same shape."""
        out = mask
        if self.opening > 0:
            out = morphology.opening(out, morphology.disk(self.opening))
        if self.fill_holes:
            out = ndimage.binary_fill_holes(out)
        if self.keep_largest > 0 or self.min_area > 1:
            out = self._keep_parts(out)
        return np.asarray(out, dtype=np.bool_)

    def _keep_parts(self, mask: Mask) -> Mask:
        labels = measure.label(mask, connectivity=2)
        areas = np.bincount(labels.ravel())
        areas[0] = 0
        keep = areas >= max(self.min_area, 1)
        if self.keep_largest > 0:
            largest = np.argsort(areas, kind="stable")[::-1][: self.keep_largest]
            keep &= np.isin(np.arange(len(areas)), largest)
        return np.asarray(keep[labels], dtype=np.bool_)


@dataclass(frozen=True)
class Residual:
    """Pixels that a brush (or a refiner) added to or erased from the box mask.

    Runs are (start, length) pairs over the row-major flattened image, ascending, not touching.
    """

    added: Runs = ()
    erased: Runs = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.erased)

    @classmethod
    def between(cls, base: Mask, target: Mask) -> Residual:
        """Return the residual that turns `base` into `target`, both (H, W)."""
        _same_shape(base, target)
        return cls(encode_runs(target & ~base), encode_runs(base & ~target))

    def apply(self, base: Mask) -> Mask:
        """Return base + added - erased; idempotent.

        Raises
        ------
        MaskError
            If a run lies outside the mask.
        """
        if not self:
            return base
        out = base.copy()
        out |= decode_runs(self.added, base.shape)
        out &= ~decode_runs(self.erased, base.shape)
        return out


def encode_runs(mask: Mask) -> Runs:
    """Return the (start, length) runs of true pixels of a mask, row-major."""
    flat = np.concatenate([[False], mask.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    starts, stops = edges[::2], edges[1::2]
    return tuple((int(a), int(b - a)) for a, b in zip(starts, stops, strict=True))


def decode_runs(runs: Runs, shape: tuple[int, ...]) -> Mask:
    """Return the (H, W) mask of runs; inverse of `encode_runs`.

    Raises
    ------
    MaskError
        If a run is not positive or leaves the mask.
    """
    size = int(np.prod(shape))
    out = np.zeros(size, dtype=np.bool_)
    for start, length in runs:
        if start < 0 or length < 1 or start + length > size:
            raise MaskError(
                f"A residual run ({start}, {length}) leaves the {shape[1]} x {shape[0]} image; "
                "the record is damaged or belongs to another image."
            )
        out[start : start + length] = True
    return out.reshape(shape)


def box_mask(pixels: npt.NDArray[np.integer], boxes: Iterable[GrayBox]) -> Mask:
    """Return the (H, W) union of the pixels inside any of the boxes."""
    out = np.zeros(pixels.shape, dtype=np.bool_)
    for box in boxes:
        window, inside = box.inside(pixels)
        out[window] |= inside
    return out


def segment_mask(
    pixels: npt.NDArray[np.integer],
    boxes: Iterable[GrayBox],
    clean_up: CleanUp | None = None,
) -> Mask:
    """Return the mask of one label before its residual: boxes, then clean-up; (H, W) bool."""
    mask = box_mask(pixels, boxes)
    return mask if clean_up is None else clean_up(mask)


def explained_share(base: Mask, mask: Mask) -> float:
    """Return which share of the final mask's pixels the boxes alone explain (their IoU).

    Two empty masks explain each other fully.
    """
    return iou(base, mask)


def _same_shape(a: Mask, b: Mask) -> None:
    if a.shape != b.shape:
        raise MaskError(f"Expected two masks of the same size, got {a.shape} and {b.shape}.")
