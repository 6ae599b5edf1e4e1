"""The 3D box and its cloud as geometry to draw and to grab; numpy only.

`CloudSpace` places an ROI's pixels and a box in a world of about 100 units a side, axes (gray, y,
x), brighter up. `cuboid` gives the faces, edges and handles of a box there; `moved` gives the box
after a handle was dragged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import GrayBox, bilinear
from napari_graydet.core.grayscale import GrayImage, GrayRange, GrayScale
from napari_graydet.core.roi import RoiBox

Float = npt.NDArray[np.float64]

LONG, HEIGHT, SLIM = 100.0, 80.0, 0.45
"""World size of the longer side of an ROI, of the gray axis, and the slimmest ratio shown."""

_PER_CELL = 4
"""Straight pieces between two control grays of a net."""

LOW, HIGH = "low", "high"


@dataclass(frozen=True)
class CloudSpace:
    """The world in which a cloud is shown.

    Parameters
    ----------
    roi
        Extent in x and y.
    gray
        The gray values from the bottom to the top of the axis (or the other way round, if larger
        is darker): robust ends of the ROI's values.
    extremes
        Smallest and largest value of the ROI.
    scale
        The image's scale.
    """

    roi: RoiBox
    gray: GrayRange
    extremes: GrayRange
    scale: GrayScale

    @classmethod
    def of(cls, image: GrayImage, roi: RoiBox) -> CloudSpace:
        """Fit the world to an ROI of an image.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        """
        inside = roi.clip(image.shape)
        values = image.pixels[inside.slices(image.shape)]
        low, high = (int(v) for v in np.percentile(values, (0.1, 99.9)))
        pad = max(2, math.ceil(0.06 * (high - low)))
        gray = GrayRange(low - pad, high + pad).clip(image.scale.lowest, image.scale.highest)
        return cls(inside, gray, GrayRange(int(values.min()), int(values.max())), image.scale)

    @property
    def size(self) -> Float:
        """World size (gray, y, x)."""
        longest = max(self.roi.height, self.roi.width)
        y, x = (LONG * max(side / longest, SLIM) for side in (self.roi.height, self.roi.width))
        return np.array([HEIGHT, y, x])

    @property
    def up(self) -> float:
        """World units per gray value along the axis; negative if larger is darker."""
        return (-HEIGHT if self.scale.inverted else HEIGHT) / self.gray.width

    def place(self, gray: npt.ArrayLike, y: npt.ArrayLike, x: npt.ArrayLike) -> Float:
        """Place gray values at continuous image coordinates; (N, 3) world, gray clipped to axis.

        A gray value v stands in the middle of ``[v - 0.5, v + 0.5)``.
        """
        middle = (self.gray.low + self.gray.high) / 2
        ends = self.gray.low - 0.5, self.gray.high + 0.5
        z = (np.clip(np.asarray(gray, dtype=np.float64), *ends) - middle) * self.up
        _, size_y, size_x = self.size
        at_y = ((np.asarray(y) - self.roi.y0) / self.roi.height - 0.5) * size_y
        at_x = ((np.asarray(x) - self.roi.x0) / self.roi.width - 0.5) * size_x
        z, at_y, at_x = np.broadcast_arrays(z, at_y, at_x)
        return np.stack([z.ravel(), at_y.ravel(), at_x.ravel()], axis=1)

    def corners(self) -> Float:
        """Return the (8, 3) corners of the space; index bits are gray, y, x."""
        bits = np.array(list(np.ndindex(2, 2, 2)), dtype=np.float64)
        return (bits - 0.5) * self.size


@dataclass(frozen=True)
class Handle:
    """What can be grabbed: a whole face, or one of the control grays of its net.

    Parameters
    ----------
    face
        "low" or "high", by stored value.
    knot
        Row and column of the control gray, None for the whole face.
    at
        World position (gray, y, x).
    value
        The gray value there.
    """

    face: str
    knot: tuple[int, int] | None
    at: tuple[float, float, float]
    value: float


@dataclass(frozen=True, eq=False)
class Cuboid:
    """A box as geometry.

    Parameters
    ----------
    vertices, triangles
        Both faces: (V, 3) world, first half the low face, and (T, 3) indices.
    outlines
        The closed outlines of the low and of the high face, (M, 3) each.
    posts
        (4, 2, 3) the edges from the low to the high face.
    upper
        The face that is drawn above the other: "high", or "low" if larger is darker.
    handles
        Face handles first, then the control grays of nets.
    flat
        Whether each face has one gray only.
    """

    vertices: Float
    triangles: npt.NDArray[np.intp]
    outlines: dict[str, Float]
    posts: Float
    upper: str
    handles: tuple[Handle, ...]
    flat: bool


def cuboid(box: GrayBox, space: CloudSpace) -> Cuboid:
    """Return the geometry of a box in the world of a cloud."""
    n = 2 if box.is_flat else (box.k - 1) * _PER_CELL + 1
    t = np.linspace(0.0, 1.0, n)
    y = (box.roi.y0 + t * box.roi.height)[:, None]
    x = (box.roi.x0 + t * box.roi.width)[None]
    faces = {
        face: space.place(bilinear(net, t, t) + shift, y, x).reshape(n, n, 3)
        for face, net, shift in _faces(box)
    }
    outlines = {face: _outline(grid) for face, grid in faces.items()}
    triangles = _triangles(n)
    low, high = (_corners(faces[face]) for face in (LOW, HIGH))
    return Cuboid(
        vertices=np.concatenate([faces[LOW].reshape(-1, 3), faces[HIGH].reshape(-1, 3)]),
        triangles=np.concatenate([triangles, triangles + n * n]),
        outlines=outlines,
        posts=np.stack([low, high], axis=1),
        upper=HIGH if space.up > 0 else LOW,
        handles=tuple(_handles(box, space)),
        flat=box.is_flat,
    )


def _faces(box: GrayBox) -> Iterable[tuple[str, Float, float]]:
    """Yield name, control grays and half a gray value outwards: a closed range has a thickness."""
    return (LOW, box.low, -0.5), (HIGH, box.high, 0.5)


def _outline(grid: Float) -> Float:
    sides = (grid[0], grid[1:, -1], grid[-1, -2::-1], grid[-2::-1, 0])
    return np.concatenate(sides)


def _corners(grid: Float) -> Float:
    return grid[[0, 0, -1, -1], [0, -1, -1, 0]]


def _triangles(n: int) -> npt.NDArray[np.intp]:
    index = np.arange(n * n).reshape(n, n)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    halves = [np.stack([a, b, c], axis=-1), np.stack([a, c, d], axis=-1)]
    return np.concatenate(halves).reshape(-1, 3)


def _handles(box: GrayBox, space: CloudSpace) -> Iterable[Handle]:
    grip = _grip(box.k)
    for face, net, shift in _faces(box):
        value = float(bilinear(net, np.array([grip]), np.array([grip]))[0, 0])
        yield _handle(face, None, value, shift, (grip, grip), box, space)
    if box.is_flat:
        return
    for face, net, shift in _faces(box):
        for row, col in np.ndindex(box.k, box.k):
            value = float(net[row, col])
            at = (row / (box.k - 1), col / (box.k - 1))
            yield _handle(face, (row, col), value, shift, at, box, space)


def _grip(k: int) -> float:
    """Return where a face is grabbed: its middle, or beside it if a control gray lies there."""
    return 0.25 if k == 3 else 0.5


def _handle(
    face: str,
    knot: tuple[int, int] | None,
    value: float,
    shift: float,
    at: tuple[float, float],
    box: GrayBox,
    space: CloudSpace,
) -> Handle:
    y, x = box.roi.y0 + at[0] * box.roi.height, box.roi.x0 + at[1] * box.roi.width
    z, wy, wx = (float(v) for v in space.place(value + shift, y, x)[0])
    return Handle(face, knot, (z, wy, wx), value)


def moved(box: GrayBox, handle: Handle, rise: float, space: CloudSpace) -> GrayBox:
    """Return the box after a handle was dragged.

    Parameters
    ----------
    box, handle
        The box when the drag started, and its handle.
    rise
        How far the mouse went along the gray axis since then, world units.
    space
        The world of the cloud.

    Returns
    -------
    GrayBox
        The face (or control gray) moved by whole gray values. It stays on the axis, and stops
        where it would reach the other face; where a net has crossed that already, it may go on.
    """
    if round(rise / space.up) == 0:
        return box
    start = min(max(handle.value, space.gray.low), space.gray.high)
    at = round(start + rise / space.up)
    gap = np.floor(box.high - box.low)
    slack = np.clip(gap, 0.0, None)
    shift = np.zeros_like(slack)
    if handle.knot is None:
        shift[:] = _opened(at, space) - round(handle.value)
        slack[:] = gap[gap >= 0].min()  # some are not crossed, or it were no box
    else:
        on_axis = min(max(at, space.gray.low), space.gray.high)
        shift[handle.knot] = on_axis - handle.value
    if handle.face == LOW:
        return GrayBox(box.roi, box.low + np.minimum(shift, slack), box.high)
    return GrayBox(box.roi, box.low, box.high + np.maximum(shift, -slack))


def _opened(value: int, space: CloudSpace) -> int:
    """Keep a face on the axis; at an end it takes in the few extreme pixels beyond."""
    if value <= space.gray.low:
        return min(space.gray.low, space.extremes.low)
    if value >= space.gray.high:
        return max(space.gray.high, space.extremes.high)
    return value
