"""The pixels of an ROI as a point cloud (x, y, gray), and the way back.

Source: the paper, "Generation of proposal bounding box in pixel-features point cloud".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox


@dataclass(frozen=True)
class CloudFrame:
    """The frame in which an ROI's pixels become coordinates in [-1, 1].

    Parameters
    ----------
    rows, cols
        Pixel window of the ROI in the image, half open.
    scale
        Maps stored values to 0..1.
    """

    rows: tuple[int, int]
    cols: tuple[int, int]
    scale: GrayScale

    def to_points(
        self, r: npt.NDArray[np.intp], c: npt.NDArray[np.intp], values: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.float32]:
        """Map pixel indices and stored values to (N, 3) float32 x, y, gray in [-1, 1]."""
        x = _normalise(c + 0.5, *self.cols)
        y = _normalise(r + 0.5, *self.rows)
        gray = self.scale.to_unit(values) * 2 - 1
        return np.stack([x, y, gray], axis=1).astype(np.float32)

    def to_pixels(
        self, points: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Map (N, 3) points back to rows, columns and (fractional) stored values."""
        p = np.asarray(points, dtype=np.float64)
        c = np.rint(_denormalise(p[:, 0], *self.cols) - 0.5).astype(np.intp)
        r = np.rint(_denormalise(p[:, 1], *self.rows) - 0.5).astype(np.intp)
        return r, c, self.scale.from_unit((p[:, 2] + 1) / 2)


def _normalise(v: npt.NDArray[np.floating], start: int, stop: int) -> npt.NDArray[np.floating]:
    return (v - start) / (stop - start) * 2 - 1


def _denormalise(v: npt.NDArray[np.float64], start: int, stop: int) -> npt.NDArray[np.float64]:
    return (v + 1) / 2 * (stop - start) + start


@dataclass(frozen=True, eq=False)
class PixelCloud:
    """A point cloud with the pixels it came from.

    Parameters
    ----------
    points
        (N, 3) float32, columns x, y, gray in [-1, 1].
    values
        (N,) stored gray values.
    frame
        The way back to pixels.
    """

    points: npt.NDArray[np.float32]
    values: npt.NDArray[np.integer]
    frame: CloudFrame

    @classmethod
    def of_roi(
        cls,
        image: GrayImage,
        roi: RoiBox,
        *,
        limit: int | None = None,
        rng: np.random.Generator | None = None,
    ) -> PixelCloud:
        """Make the cloud of an ROI's pixels.

        Parameters
        ----------
        image, roi
            Where from; the ROI is clipped to the image.
        limit
            Keep at most so many points: a regular grid of pixels, or a random choice if `rng` is
            given. None keeps all.
        rng
            Generator for the random choice.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        """
        rows, cols = roi.clip(image.shape).slices(image.shape)
        frame = CloudFrame((rows.start, rows.stop), (cols.start, cols.stop), image.scale)
        height, width = rows.stop - rows.start, cols.stop - cols.start
        flat = _choose(height, width, limit, rng)
        r, c = flat // width + rows.start, flat % width + cols.start
        values = image.pixels[r, c]
        return cls(frame.to_points(r, c, values), values, frame)

    def __len__(self) -> int:
        return len(self.points)


def _choose(
    height: int, width: int, limit: int | None, rng: np.random.Generator | None
) -> npt.NDArray[np.intp]:
    """Return flat indices of the pixels to keep, sorted."""
    total = height * width
    if limit is None or total <= limit:
        return np.arange(total, dtype=np.intp)
    if rng is not None:
        return np.sort(rng.choice(total, size=limit, replace=False)).astype(np.intp)
    shrink = np.sqrt(limit / total)
    n_rows, n_cols = max(1, int(height * shrink)), max(1, int(width * shrink))
    r = ((np.arange(n_rows) + 0.5) * height / n_rows).astype(np.intp)
    c = ((np.arange(n_cols) + 0.5) * width / n_cols).astype(np.intp)
    return (r[:, None] * width + c[None]).ravel()
