"""The points of a cloud that are shown, and their colours; numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.cloud import PixelCloud
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.gui.cloud.cuboid import CloudSpace
from napari_graydet.gui.cloud.projection import Float

_ON_DARK, _ON_LIGHT = (0.30, 0.88), (0.12, 0.72)
"""Shades of the blackest and the whitest gray: away from the ground, so that every point shows."""

_SIZES = 0.9, 4.0
"""Smallest and largest diameter of a point in world units."""

_DIMMEST = 0.55
"""How much of the tint the blackest points inside the box get; shading shows the cloud's form."""


@dataclass(frozen=True, eq=False)
class ShownCloud:
    """A cloud as it is shown.

    Parameters
    ----------
    image, roi
        Where it comes from.
    space
        The world it stands in.
    points
        (N, 3) world positions.
    values
        (N,) stored values.
    rows, cols
        (N,) pixels of the image.
    """

    image: GrayImage
    roi: RoiBox
    space: CloudSpace
    points: Float
    values: npt.NDArray[np.integer]
    rows: npt.NDArray[np.intp]
    cols: npt.NDArray[np.intp]

    @classmethod
    def of(cls, image: GrayImage, roi: RoiBox, limit: int) -> ShownCloud:
        """Choose at most `limit` points of an ROI, a regular grid of pixels.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        """
        space = CloudSpace.of(image, roi)
        cloud = PixelCloud.of_roi(image, roi, limit=limit)
        rows, cols, _ = cloud.frame.to_pixels(cloud.points)
        points = space.place(cloud.values, rows + 0.5, cols + 0.5)
        return cls(image, roi, space, points, cloud.values, rows, cols)

    @property
    def spacing(self) -> float:
        """Diameter of a point in world units: few points are drawn larger."""
        _, height, width = self.space.size
        apart = float(np.sqrt(height * width / max(len(self.points), 1)))
        return min(max(apart / 2, _SIZES[0]), _SIZES[1])

    def inside(self, box: GrayBox) -> npt.NDArray[np.bool_]:
        """Tell which points lie in a box, (N,)."""
        window, inside = box.inside(self.image.pixels)
        mask = np.zeros(self.image.shape, dtype=np.bool_)
        mask[window] = inside
        return np.asarray(mask[self.rows, self.cols])

    def colours(
        self, box: GrayBox | None, tint: tuple[float, float, float], *, on_dark: bool
    ) -> Float:
        """Return (N, 4) colours 0..1: shades of gray, and of the tint inside the box."""
        height = self.points[:, :1] / self.space.size[0] + 0.5
        gray = np.clip(height, 0.0, 1.0)  # of the ROI's own range: a flat ROI shows its form too
        first, last = _ON_DARK if on_dark else _ON_LIGHT
        painted = np.repeat(first + gray * (last - first), 3, axis=1)
        if box is not None:
            chosen = self.inside(box)
            painted[chosen] = np.array(tint) * (_DIMMEST + (1 - _DIMMEST) * gray[chosen])
        return np.concatenate([painted, np.ones_like(gray)], axis=1)
