"""The 3D box: an extent in x and y, and a bottom and a top in gray.

Bottom and top are *nets* of K x K control grays, bilinear in between over the box's extent. K = 1
is the flat box of the paper, K = 2 a tilt, K = 3 a bend (METHOD.md, section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import GrayRange
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError

MAX_NET = 4
"""Most control grays per side: from K = 4 on a net draws outlines and no longer reads the gray."""

TOLERANCE = 1e-6
"""Gray slack of the inside test, so that every float64 way to interpolate gives the same mask."""

_ROWS = 32
"""Rows of an image that are compared with nets at a time."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GrayBox:
    """A box in (x, y, gray).

    Parameters
    ----------
    roi
        Extent in x and y, continuous pixels.
    low, high
        (K, K) control grays of the bottom and the top, stored units, ``K`` from 1 to 4; row 0 is
        the top edge of the extent. A pixel at an interpolated ``low <= v <= high`` is inside. Flat
        boxes (K = 1) hold integers. As edges of a solid the box spans ``[low, high + 1)``.

    Raises
    ------
    GeometryError
        If the nets differ in shape, are not square, too large or not finite, or if the top lies
        below the bottom at every control point.
    """

    roi: RoiBox
    low: Float
    high: Float

    def __post_init__(self) -> None:
        low = np.atleast_2d(np.asarray(self.low, dtype=np.float64))
        high = np.atleast_2d(np.asarray(self.high, dtype=np.float64))
        if low.shape != high.shape or low.shape[0] != low.shape[1] or low.ndim != 2:
            raise GeometryError(
                f"A box needs two square nets of the same size, got {low.shape} and {high.shape}."
            )
        if low.shape[0] > MAX_NET:
            raise GeometryError(
                f"A net has at most {MAX_NET} x {MAX_NET} grays, got {low.shape[0]}."
            )
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise GeometryError("A box needs finite gray values.")
        if (high < low).all():
            raise GeometryError(
                f"The top of a box must not lie below its bottom, got {low.max()} over "
                f"{high.max()}."
            )
        for name, net in (("low", low), ("high", high)):
            net.flags.writeable = False
            object.__setattr__(self, name, net)

    @classmethod
    def flat(cls, roi: RoiBox, gray: GrayRange) -> GrayBox:
        """Make the paper's box: one closed gray range over the whole extent."""
        return cls(roi, np.array([[gray.low]]), np.array([[gray.high]]))

    @property
    def k(self) -> int:
        """Control grays per side."""
        return int(self.low.shape[0])

    @property
    def is_flat(self) -> bool:
        """Whether bottom and top are single thresholds."""
        return self.k == 1

    @property
    def gray(self) -> GrayRange:
        """The closed gray range: exact for flat boxes, the enclosing one for nets."""
        low = int(np.floor(self.low.min()))
        return GrayRange(low, max(low, int(np.ceil(self.high.max()))))

    def with_roi(self, roi: RoiBox) -> GrayBox:
        """Return the box over another extent, its nets stretched along."""
        return GrayBox(roi, self.low, self.high)

    def with_nets(self, k: int) -> GrayBox:
        """Return the box with K x K nets: exact when K - 1 is a multiple of the old K - 1.

        To one control point the mean is taken, rounded to integers.
        """
        if k == self.k:
            return self
        if k == 1:
            low = round(float(self.low.mean()))
            high = max(low, round(float(self.high.mean())))
            return GrayBox.flat(self.roi, GrayRange(low, high))
        at = np.linspace(0, 1, k)
        return GrayBox(self.roi, bilinear(self.low, at, at), bilinear(self.high, at, at))

    def inside(
        self, pixels: npt.NDArray[np.integer]
    ) -> tuple[tuple[slice, slice], npt.NDArray[np.bool_]]:
        """Tell which pixels of an image lie in the box.

        Parameters
        ----------
        pixels
            (H, W) stored values of the whole image.

        Returns
        -------
        slices
            Rows and columns of the box's extent in the image.
        inside
            Boolean mask of that window.
        """
        rows, cols = self.roi.slices((pixels.shape[0], pixels.shape[1]))
        window = pixels[rows, cols]
        if self.is_flat:
            return (rows, cols), _between(window, self.low[0, 0], self.high[0, 0])
        v = (np.arange(rows.start, rows.stop) + 0.5 - self.roi.y0) / self.roi.height
        u = (np.arange(cols.start, cols.stop) + 0.5 - self.roi.x0) / self.roi.width
        return (rows, cols), _between_nets(window, self.low, self.high, v, u)


def _between(window: npt.NDArray[np.integer], low: float, high: float) -> npt.NDArray[np.bool_]:
    """Compare in the image's own integer type: a drag must not upcast a million pixels."""
    info = np.iinfo(window.dtype)
    first, last = int(np.ceil(low - TOLERANCE)), int(np.floor(high + TOLERANCE))
    if first > info.max or last < info.min:
        return np.zeros(window.shape, dtype=np.bool_)
    first, last = max(first, info.min), min(last, info.max)
    return np.asarray((window >= window.dtype.type(first)) & (window <= window.dtype.type(last)))


def _between_nets(
    window: npt.NDArray[np.integer], low: Float, high: Float, v: Float, u: Float
) -> npt.NDArray[np.bool_]:
    """Compare with two nets at rows `v` and columns `u` (0..1), some rows at a time.

    Thresholds of a million pixels leave the processor's cache, and a drag waits for them: 12 times
    as long.
    """
    inside = np.empty(window.shape, dtype=np.bool_)
    columns = hat_weights(u, low.shape[0]).T
    by_row = [hat_weights(v, net.shape[0]) @ net for net in (low - TOLERANCE, high + TOLERANCE)]
    for start in range(0, len(v), _ROWS):
        rows = slice(start, start + _ROWS)
        bottom, top = (weights[rows] @ columns for weights in by_row)
        inside[rows] = (window[rows] >= bottom) & (window[rows] <= top)
    return inside


def bilinear(net: Float, v: Float, u: Float) -> Float:
    """Interpolate a (K, K) net at rows `v` and columns `u`, both 0..1 over the net's extent.

    Returns
    -------
    (len(v), len(u)) float64
    """
    k = net.shape[0]
    if k == 1:
        return np.full((len(v), len(u)), net[0, 0])
    weights = [hat_weights(np.asarray(t, dtype=np.float64), k) for t in (v, u)]
    return np.asarray(weights[0] @ net @ weights[1].T)


def hat_weights(t: Float, k: int) -> Float:
    """Return the (len(t), K) weights of linear interpolation between K equally spaced knots."""
    position = np.clip(t, 0.0, 1.0) * (k - 1)
    return np.clip(1.0 - np.abs(position[:, None] - np.arange(k)), 0.0, None)


def solids_of(edges: Float) -> Float:
    """Return the (N, 6) solids of (N, 2) gray ranges of one ROI, whose extent they all share."""
    solids = np.zeros((len(edges), 6))
    solids[:, 3:5] = 1.0
    solids[:, [2, 5]] = edges
    return solids


def pairwise_iou_3d(a: Float, b: Float) -> Float:
    """Return the (N, M) 3D IoU of two arrays of flat solids, (N, 6) and (M, 6).

    Source: the paper, "NMS with 3D IoU". Columns are x0, y0, z0, x1, y1, z1. Solids without volume
    have IoU 0 with everything.
    """
    first, second = np.asarray(a, dtype=np.float64)[:, None], np.asarray(b, dtype=np.float64)[None]
    extent = np.minimum(first[..., 3:], second[..., 3:]) - np.maximum(
        first[..., :3], second[..., :3]
    )
    common = np.prod(np.clip(extent, 0, None), axis=-1)
    volume_a = np.prod(np.clip(first[..., 3:] - first[..., :3], 0, None), axis=-1)
    volume_b = np.prod(np.clip(second[..., 3:] - second[..., :3], 0, None), axis=-1)
    union = volume_a + volume_b - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))
