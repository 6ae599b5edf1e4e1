"""Regions of interest, and the only conversions between the field's box conventions.

An `RoiBox` has continuous pixel coordinates: pixel (r, c) covers ``[c, c+1) x [r, r+1)`` and
belongs to the box when its centre lies in it. Arrays are (H, W), napari speaks (y, x) with pixel
*centres* on integers, YOLO speaks normalised centre and size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.errors import GeometryError

Float = npt.NDArray[np.float64]

_NAPARI_OFFSET = 0.5
"""napari draws pixel (r, c) centred on (r, c); our pixel (r, c) starts there."""


@dataclass(frozen=True)
class RoiBox:
    """An axis-parallel rectangle in continuous pixel coordinates.

    Raises
    ------
    GeometryError
        If a coordinate is not finite or the box has no area.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in self.xyxy):
            raise GeometryError(f"ROI coordinates must be finite numbers, got {self.xyxy}.")
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise GeometryError(
                f"An ROI needs x0 < x1 and y0 < y1, got {self.xyxy}; draw a larger rectangle."
            )

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Edges as (x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def width(self) -> float:
        """Extent in x, pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """Extent in y, pixels."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    def clip(self, shape: tuple[int, int]) -> RoiBox:
        """Return the part inside an (H, W) image.

        Raises
        ------
        GeometryError
            If no pixel of the image lies in the box.
        """
        height, width = shape
        try:
            box = RoiBox(
                max(self.x0, 0.0),
                max(self.y0, 0.0),
                min(self.x1, float(width)),
                min(self.y1, float(height)),
            )
        except GeometryError:
            box = None
        if box is None or box._slices_empty(shape):
            raise GeometryError(
                f"The ROI {self.xyxy} covers no pixel of the {width} x {height} image; "
                "move it onto the image."
            )
        return box

    def at_least_a_pixel(self, shape: tuple[int, int]) -> RoiBox:
        """Return the part inside an (H, W) image, widened to a pixel where it covers none.

        For an image that was made smaller: there a thin ROI may lie between the pixels' centres.
        """
        rows, cols = self.slices(shape)
        (x0, x1), (y0, y1) = (
            (low, high) if covered.stop > covered.start else _pixel_at((low + high) / 2, size)
            for low, high, covered, size in (
                (self.x0, self.x1, cols, shape[1]),
                (self.y0, self.y1, rows, shape[0]),
            )
        )
        return RoiBox(x0, y0, x1, y1).clip(shape)

    def _slices_empty(self, shape: tuple[int, int]) -> bool:
        rows, cols = self.slices(shape)
        return bool(rows.stop <= rows.start or cols.stop <= cols.start)

    def slices(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return (row, column) slices of the pixels whose centres lie in the box."""
        height, width = shape
        r0, r1 = (min(max(math.ceil(v - 0.5), 0), height) for v in (self.y0, self.y1))
        c0, c1 = (min(max(math.ceil(v - 0.5), 0), width) for v in (self.x0, self.x1))
        return slice(r0, max(r0, r1)), slice(c0, max(c0, c1))

    def grow(self, fraction: float, shape: tuple[int, int]) -> RoiBox:
        """Return the box grown by a fraction of its size on each side, clipped to the image."""
        dx, dy = self.width * fraction, self.height * fraction
        return RoiBox(self.x0 - dx, self.y0 - dy, self.x1 + dx, self.y1 + dy).clip(shape)

    def to_cxcywh(self, shape: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return YOLO's centre x, centre y, width, height, each divided by the image's size."""
        height, width = shape
        return (
            (self.x0 + self.x1) / 2 / width,
            (self.y0 + self.y1) / 2 / height,
            self.width / width,
            self.height / height,
        )

    @classmethod
    def from_cxcywh(
        cls, cx: float, cy: float, w: float, h: float, shape: tuple[int, int]
    ) -> RoiBox:
        """Make a box from YOLO's normalised centre and size (inverse of `to_cxcywh`)."""
        height, width = shape
        return cls(
            (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height
        )

    def to_napari(self) -> npt.NDArray[np.float64]:
        """Return the (4, 2) corners of a napari rectangle, (y, x), clockwise from top left."""
        x0, y0, x1, y1 = (v - _NAPARI_OFFSET for v in self.xyxy)
        return np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]])

    @classmethod
    def from_napari(cls, corners: npt.ArrayLike) -> RoiBox:
        """Make the bounding box of napari corners (N, >=2), the last two columns being (y, x)."""
        points = np.asarray(corners, dtype=np.float64)[:, -2:] + _NAPARI_OFFSET
        (y0, x0), (y1, x1) = points.min(axis=0), points.max(axis=0)
        return cls(float(x0), float(y0), float(x1), float(y1))

    @classmethod
    def of_image(cls, shape: tuple[int, int]) -> RoiBox:
        """Return the box of the whole (H, W) image."""
        return cls(0.0, 0.0, float(shape[1]), float(shape[0]))

    @classmethod
    def of_mask(cls, mask: npt.NDArray[np.bool_]) -> RoiBox:
        """Return the bounding box of the true pixels of an (H, W) mask.

        Raises
        ------
        GeometryError
            If the mask is empty.
        """
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            raise GeometryError("An empty mask has no bounding box.")
        return cls(float(cols[0]), float(rows[0]), float(cols[-1] + 1), float(rows[-1] + 1))

    def iou(self, other: RoiBox) -> float:
        """Intersection over union of the areas."""
        return float(pairwise_iou_2d([self], [other])[0, 0])


def _pixel_at(position: float, size: int) -> tuple[float, float]:
    """Return the edges of the pixel at a position along an axis, of the nearest one outside."""
    first = float(min(max(int(position), 0), size - 1))
    return first, first + 1.0


def pairwise_iou_2d(a: Iterable[RoiBox], b: Iterable[RoiBox]) -> npt.NDArray[np.float64]:
    """Return the (len(a), len(b)) matrix of area IoU."""
    corners = (np.array([box.xyxy for box in boxes]).reshape(-1, 4) for boxes in (a, b))
    return iou_of_corners(*corners)


def iou_of_corners(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> Float:
    """Return the (N, M) area IoU of (N, 4) and (M, 4) boxes x0, y0, x1, y1 with an area."""
    first, second = a[:, None].astype(np.float64), b[None].astype(np.float64)
    start, stop = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., 2:], second[..., 2:]),
    )
    common = np.prod(np.clip(stop - start, 0, None), axis=-1)
    areas = [np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (first, second)]
    return np.asarray(common / (areas[0] + areas[1] - common))
