"""From the cloud's world to canvas pixels and back: napari's 3D camera as a few lines of numpy.

World coordinates are napari's, (gray, y, x). The camera looks at `center` from such a distance
that one world unit there takes `zoom` pixels. Knowing the projection, handles can be drawn and
grabbed in pixels, and a mouse ray can be followed along the gray axis exactly, in any perspective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

UP = (1.0, 0.0, 0.0)
"""The gray axis always points up."""

_FITTED = 1e-3
"""A camera fits when another step would change its zoom by less than this share, and its centre
by less than a hundred times as many pixels."""

STEEPEST = 85.0
"""Largest elevation in degrees: from straight above, the gray axis has no length to drag along."""


def view_direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """Return the unit direction (gray, y, x) of a camera that stands at two angles in degrees.

    At azimuth 0 the camera stands at large y and looks along -y, so x runs to the right; positive
    elevation looks down on the cloud.
    """
    a, e = math.radians(azimuth), math.radians(elevation)
    return -math.sin(e), -math.cos(e) * math.cos(a), math.cos(e) * math.sin(a)


@dataclass(frozen=True)
class Projection:
    """A perspective camera.

    Parameters
    ----------
    center
        World point in the middle of the canvas.
    view, up
        Unit vectors: where the camera looks, and what is up on the canvas.
    zoom
        Pixels per world unit at `center`.
    fov
        Vertical field of view in degrees.
    size
        Canvas width and height in logical pixels.
    """

    center: tuple[float, ...]
    view: tuple[float, ...]
    up: tuple[float, ...]
    zoom: float
    fov: float
    size: tuple[int, int]

    @property
    def right(self) -> Float:
        """Unit vector that points right on the canvas."""
        return np.cross(self.view, self.up)

    @property
    def distance(self) -> float:
        """World distance from the eye to `center`."""
        return self.size[1] / self.zoom / (2 * math.tan(math.radians(self.fov) / 2))

    def to_canvas(self, points: npt.ArrayLike) -> Float:
        """Project (N, 3) world points to (N, 2) canvas pixels x, y."""
        p = np.asarray(points, dtype=np.float64).reshape(-1, 3) - self.center
        shrink = self.distance / np.maximum(self.distance + p @ np.asarray(self.view), 1e-6)
        x = self.size[0] / 2 + self.zoom * shrink * (p @ self.right)
        y = self.size[1] / 2 - self.zoom * shrink * (p @ np.asarray(self.up))
        return np.stack([x, y], axis=1)

    def ray(self, pixel: npt.ArrayLike) -> tuple[Float, Float]:
        """Return the eye and the (not normalised) direction of the ray through a canvas pixel."""
        x, y = np.asarray(pixel, dtype=np.float64)
        view = np.asarray(self.view, dtype=np.float64)
        eye = np.asarray(self.center, dtype=np.float64) - view * self.distance
        across = self.right * (x - self.size[0] / 2) - np.asarray(self.up) * (y - self.size[1] / 2)
        return eye, view * self.distance + across / self.zoom

    def height_at(self, pixel: npt.ArrayLike, y: float, x: float) -> float:
        """Return the gray-axis coordinate where the pixel's ray comes nearest to a vertical line.

        Parameters
        ----------
        pixel
            Canvas x, y.
        y, x
            Where the line stands, world units.
        """
        eye, direction = self.ray(pixel)
        across, to_line = direction[1:], np.array([y, x]) - eye[1:]
        along = float(across @ to_line) / max(float(across @ across), 1e-12)
        return float(eye[0] + along * direction[0])

    def fitted(self, points: Float, margins: tuple[float, float]) -> Projection:
        """Return the camera zoomed and centred so that all points lie inside the canvas.

        Parameters
        ----------
        points
            (N, 3) world points.
        margins
            Pixels to keep free at each side in x and y.
        """
        out = self
        room = np.maximum(np.asarray(self.size, dtype=np.float64) - 2 * np.asarray(margins), 20.0)
        for _ in range(60):  # perspective makes centre and zoom depend on each other, weakly
            at = out.to_canvas(points)
            low, high = at.min(axis=0), at.max(axis=0)
            shift = (low + high) / 2 - np.asarray(self.size) / 2
            center = (
                np.asarray(out.center)
                + out.right * shift[0] / out.zoom
                - np.asarray(out.up) * shift[1] / out.zoom
            )
            grow = float(np.min(room / np.maximum(high - low, 1e-9)))
            out = Projection(
                tuple(float(v) for v in center),
                self.view,
                self.up,
                out.zoom * grow,
                self.fov,
                self.size,
            )
            if abs(grow - 1) < _FITTED and float(np.abs(shift).max()) < _FITTED * 100:
                break
        return out
