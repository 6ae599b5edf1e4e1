"""Parametric solids, projected onto a detector grid as path lengths in millimetres.

A ray runs perpendicular to the detector. Every solid knows the length of the ray inside its outer
surface and inside its marrow, in closed form per pixel centre, so the outline of a solid, and with
it the mask, is exact to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.signal import oaconvolve

Array = NDArray[Any]
Point = tuple[float, float]
_LUT = 257


def smooth_curve(knots: Sequence[float], values: Sequence[float], at: Array) -> Array:
    """Values of the monotone cubic through ``knots``/``values``, constant beyond the ends."""
    table_x = np.linspace(knots[0], knots[-1], _LUT)
    table_y = PchipInterpolator(knots, values)(table_x)
    out: Array = np.interp(at, table_x, table_y).astype(np.float32)
    return out


def _round_end(depth: Array) -> Array:
    """Chord factor of a quarter circle: 0 at the surface, 1 from depth 1 on."""
    rest = 1 - np.clip(depth, 0, 1)
    out: Array = np.sqrt(1 - rest * rest)
    return out


@dataclass
class Scene:
    """Detector grid in world millimetres with the path lengths gathered so far.

    Attributes
    ----------
    soft, bone, metal : (H, W) float32
        Path lengths in mm. ``bone`` is the equivalent length of compact bone (spongy bone counts
        with its mineral fraction); ``soft`` includes the room that bone and metal take.
    parts : (H, W) uint16
        Id of the part drawn last at each pixel centre, 0 for none.
    """

    shape: tuple[int, int]
    spacing: float
    centre: Point
    angle: float = 0.0
    mirror: bool = False
    texture: Array = field(default_factory=lambda: np.zeros((2, 2), np.float32))
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        height, width = self.shape
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) * self.spacing
        y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) * self.spacing
        if self.mirror:
            x = -x
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        self.x = x[None, :] * cos - y[:, None] * sin + np.float32(self.centre[0])
        self.y = x[None, :] * sin + y[:, None] * cos + np.float32(self.centre[1])
        self.soft = np.zeros(self.shape, np.float32)
        self.bone = np.zeros(self.shape, np.float32)
        self.metal = np.zeros(self.shape, np.float32)
        self.parts = np.zeros(self.shape, np.uint16)

    def to_pixels(self, points: Array) -> Array:
        """World points (N, 2) in mm as continuous pixel coordinates (column, row)."""
        offset = np.asarray(points, float) - np.asarray(self.centre)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = offset[:, 0] * cos + offset[:, 1] * sin
        y = -offset[:, 0] * sin + offset[:, 1] * cos
        if self.mirror:
            x = -x
        return np.stack(
            [x / self.spacing + self.shape[1] / 2, y / self.spacing + self.shape[0] / 2], axis=1
        )

    def window(self, points: Array, margin: float) -> tuple[slice, slice]:
        """The rows and columns that hold ``points`` (N, 2) in mm with ``margin`` mm around."""
        pixels = self.to_pixels(points)
        low = np.floor(pixels.min(0) - margin / self.spacing).astype(int)
        high = np.ceil(pixels.max(0) + margin / self.spacing).astype(int)
        cols = np.clip([low[0], high[0]], 0, self.shape[1])
        rows = np.clip([low[1], high[1]], 0, self.shape[0])
        return slice(int(rows[0]), int(rows[1])), slice(int(cols[0]), int(cols[1]))

    def grain(self, along: Array, across: Array, pitch: float) -> Array:
        """Trabecular texture at local coordinates in mm; ``pitch`` is the mm of one texel."""
        rows = along / pitch
        cols = across / pitch
        out: Array = map_coordinates(self.texture, [rows, cols], order=1, mode="grid-wrap")
        return out

    def add_bone(self, solid: LongBone | Blob, name: str | None = None) -> None:
        """Put a bone into the scene; with a name it becomes a part of the mask."""
        where = solid.window(self)
        if where[0].start >= where[0].stop or where[1].start >= where[1].stop:
            return
        outer, mineral = solid.project(self, where)
        self.bone[where] += mineral
        # Bone reaches the skin nowhere, but a thin outline must not become thinner than its bone.
        np.maximum(self.soft[where], outer + 1.0 * (outer > 0), out=self.soft[where])
        if name is not None:
            self.names.append(name)
            self.parts[where][outer > 0] = len(self.names)

    def add_soft(self, thickness: Array) -> None:
        """Union with soft tissue of this thickness (H, W) in mm, rounded where the two meet."""
        self.soft = (self.soft**4 + np.maximum(thickness, 0) ** 4) ** 0.25


def trabecular_texture(rng: np.random.Generator, size: int = 256) -> Array:
    """Periodic fibrous noise (size, size), mean 0, standard deviation 1, fibres along axis 0."""
    out = np.zeros((size, size))
    for along, across, weight in ((3.0, 0.6, 1.0), (1.0, 1.0, 0.5), (0.7, 2.5, 0.35), (9, 3, 0.35)):
        noise = gaussian_filter(rng.standard_normal((size, size)), (along, across), mode="wrap")
        out += weight * noise / noise.std()
    result: Array = ((out - out.mean()) / out.std()).astype(np.float32)
    return result


@dataclass(frozen=True)
class LongBone:
    """Generalised cylinder with elliptic cross-section, cortical shell and two joint surfaces.

    Parameters
    ----------
    start, end : (x, y) in mm
        Centres of the two joint surfaces.
    left, right : sequence of float
        Half-widths in mm at equally spaced stations from start to end; left is the side of
        negative offset (counter-clockwise of the axis as seen in the image).
    depth : sequence of float
        Thickness along the ray as a fraction of the width, at equally spaced stations.
    bow : float
        Sideways displacement of the middle in mm.
    cortex : sequence of float
        Thickness of the shell in mm at equally spaced stations.
    spongy : sequence of float
        Mineral fraction of the marrow room at equally spaced stations.
    cap_start, cap_end : sequence of float
        Joint surface: outward offset in mm at equally spaced places across the width.
    rims : (start, end)
        Radius in mm with which the joint surfaces are rounded along the ray; small for a flat
        surface seen edge on, which shows as a bright line.
    plate : float
        Thickness of the compact bone under the joint surfaces in mm.
    grain, pitch : float
        Standard deviation of the mineral fraction, relative, and mm per texel of its texture.
    """

    start: Point
    end: Point
    left: Sequence[float]
    right: Sequence[float]
    depth: Sequence[float] = (0.9,)
    bow: float = 0.0
    cortex: Sequence[float] = (0.5, 1.5, 0.5)
    spongy: Sequence[float] = (0.25, 0.05, 0.25)
    cap_start: Sequence[float] = (-1.0, 0.0, -1.0)
    cap_end: Sequence[float] = (-1.0, 0.0, -1.0)
    rims: tuple[float, float] = (2.0, 4.0)
    plate: float = 0.6
    grain: float = 0.24
    pitch: float = 0.25

    def window(self, scene: Scene) -> tuple[slice, slice]:
        """Rows and columns of the scene that this bone can touch."""
        margin = max(*self.left, *self.right) + abs(self.bow)
        margin += max(0.0, *self.cap_start, *self.cap_end) + 1
        return scene.window(np.array([self.start, self.end]), margin)

    def project(self, scene: Scene, where: tuple[slice, slice]) -> tuple[Array, Array]:
        """Path length inside the bone and its equivalent of compact bone, both in mm."""
        axis = np.subtract(self.end, self.start)
        length = float(np.hypot(*axis))
        dx, dy = axis / length
        x = scene.x[where] - np.float32(self.start[0])
        y = scene.y[where] - np.float32(self.start[1])
        s = x * np.float32(dx) + y * np.float32(dy)
        t = np.clip(s / length, 0, 1)
        u = y * np.float32(dx) - x * np.float32(dy) - np.float32(self.bow) * 4 * t * (1 - t)

        left = _stations(self.left, t)
        right = _stations(self.right, t)
        half = (left + right) / 2
        middle = (right - left) / 2
        v = (u - middle) / half
        to_start = s + _stations(self.cap_start, (v + 1) / 2)
        to_end = length - s + _stations(self.cap_end, (v + 1) / 2)
        cortex = _stations(self.cortex, t)

        deep = _stations(self.depth, t) * half
        outer = 2 * deep * np.sqrt(np.clip(1 - v * v, 0, None))
        outer = outer * self._ends(to_start, to_end)
        room = np.maximum(half - cortex, 0.05)
        vi = (u - middle) / room
        inner = 2 * np.maximum(deep - cortex, 0)
        inner = inner * np.sqrt(np.clip(1 - vi * vi, 0, None))
        inner = inner * self._ends(to_start - self.plate, to_end - self.plate)
        inner = np.minimum(inner, outer)
        fraction = _stations(self.spongy, t)
        fraction = fraction * (1 + self.grain * scene.grain(s, u, self.pitch))
        return outer, outer - inner + inner * np.clip(fraction, 0, 0.9)

    def _ends(self, to_start: Array, to_end: Array) -> Array:
        """Chord factor of the joint surfaces at these distances in mm, 0 beyond them."""
        start, end = (np.maximum(rim, 0.05) for rim in self.rims)
        return _round_end(to_start / start) * _round_end(to_end / end)

    def split(self, at_end: float, gap: float) -> tuple[LongBone, LongBone]:
        """Shaft and end piece of a growing bone: a growth plate ``gap`` mm wide.

        Parameters
        ----------
        at_end : float
            Thickness in mm of the end piece (the epiphysis).
        """
        length = float(np.hypot(*np.subtract(self.end, self.start)))
        shaft = self._piece(0, 1 - (at_end + gap) / length)
        end = self._piece(1 - at_end / length, 1)
        return (
            replace(shaft, cap_end=(-0.6, 0.3, -0.2, 0.3, -0.6), rims=(self.rims[0], 0.8)),
            replace(end, cap_start=(-1.2, -0.2, 0, -0.2, -1.2), rims=(1.0, self.rims[1]), bow=0.0),
        )

    def _piece(self, t0: float, t1: float) -> LongBone:
        start, axis = np.asarray(self.start), np.subtract(self.end, self.start)
        a, b = start + t0 * axis, start + t1 * axis

        def cut(values: Sequence[float]) -> tuple[float, ...]:
            at = np.linspace(t0, t1, max(len(values), 2))
            return tuple(float(v) for v in _stations(values, at))

        return replace(
            self,
            start=(float(a[0]), float(a[1])),
            end=(float(b[0]), float(b[1])),
            left=cut(self.left),
            right=cut(self.right),
            depth=cut(self.depth),
            cortex=cut(self.cortex),
            spongy=cut(self.spongy),
        )


def _stations(values: Sequence[float], t: Array) -> Array:
    """Smooth curve through equally spaced values, at ``t`` in 0..1."""
    if len(values) == 1:
        return np.full_like(t, values[0])
    return smooth_curve(np.linspace(0, 1, len(values)).tolist(), values, t)


@dataclass(frozen=True)
class Blob:
    """Closed solid with a wavy elliptic outline, for short bones and epiphyses.

    Parameters
    ----------
    centre : (x, y) in mm
    radii : (a, b) in mm
        Half-axes before rotation by ``angle`` (radians).
    depth : float
        Half thickness along the ray in mm.
    waves : sequence of (order, amplitude, phase)
        Relative radial modulation of the outline.
    power : float
        2 is an ellipsoid; more is boxier.
    """

    centre: Point
    radii: Point
    depth: float
    angle: float = 0.0
    waves: Sequence[tuple[int, float, float]] = ()
    power: float = 2.0
    cortex: float = 0.7
    spongy: float = 0.25
    grain: float = 0.24
    pitch: float = 0.25

    def window(self, scene: Scene) -> tuple[slice, slice]:
        """Rows and columns of the scene that this solid can touch."""
        swell = 1 + sum(abs(a) for _, a, _ in self.waves)
        return scene.window(np.array([self.centre]), max(self.radii) * swell * 1.42 + 1)

    def project(self, scene: Scene, where: tuple[slice, slice]) -> tuple[Array, Array]:
        """Path length inside the solid and its equivalent of compact bone, both in mm."""
        x = scene.x[where] - np.float32(self.centre[0])
        y = scene.y[where] - np.float32(self.centre[1])
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u, v = x * cos + y * sin, -x * sin + y * cos
        a, b = self.radii
        theta = np.arctan2(v / b, u / a)
        radius = np.ones_like(u)
        for order, amplitude, phase in self.waves:
            radius += np.float32(amplitude) * np.cos(order * theta + np.float32(phase))
        p = self.power
        rho = (np.abs(u / a) ** p + np.abs(v / b) ** p) ** np.float32(1 / p) / radius
        outer = 2 * self.depth * np.sqrt(np.clip(1 - rho**p, 0, None))
        shrink = max(1 - self.cortex / min(a, b), 0.05)
        room = np.sqrt(np.clip(1 - (rho / shrink) ** p, 0, None))
        inner = np.minimum(2 * max(self.depth - self.cortex, 0) * room, outer)
        fraction = self.spongy * np.clip(1 + self.grain * scene.grain(v, u, self.pitch), 0, 3)
        return outer, outer - inner + inner * np.minimum(fraction, 0.9)


def capsule(scene: Scene, a: Point, b: Point, ra: float, rb: float, depth: float = 1.0) -> Array:
    """Thickness (H, W) in mm of a round-ended limb from ``a`` to ``b`` with radii in mm."""
    out = np.zeros(scene.shape, np.float32)
    where = scene.window(np.array([a, b]), max(ra, rb) + 1)
    x, y = scene.x[where] - np.float32(a[0]), scene.y[where] - np.float32(a[1])
    dx, dy = b[0] - a[0], b[1] - a[1]
    t = np.clip((x * np.float32(dx) + y * np.float32(dy)) / (dx * dx + dy * dy + 1e-9), 0, 1)
    r = ra + (rb - ra) * t
    off2 = (x - t * np.float32(dx)) ** 2 + (y - t * np.float32(dy)) ** 2
    out[where] = 2 * depth * np.sqrt(np.clip(r * r - off2, 0, None))
    return out


def ellipse(scene: Scene, centre: Point, radii: Point, angle: float = 0.0) -> Array:
    """Squared normalised radius (H, W) about an ellipse: below 1 inside."""
    x, y = scene.x - np.float32(centre[0]), scene.y - np.float32(centre[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    out: Array = ((x * cos + y * sin) / radii[0]) ** 2 + ((-x * sin + y * cos) / radii[1]) ** 2
    return out


def tubes(scene: Scene, curves: Sequence[Array], radius: float) -> Array:
    """Thickness (H, W) in mm of thin round tubes along curves, all of one radius.

    A tube at offset u has the chord 2 sqrt(r^2 - u^2). That is the line integral of a flat disc
    along the projected centre line, so all tubes together are one convolution of their centre
    lines, and a tube that runs along the ray gets its longer path by itself.

    Parameters
    ----------
    curves : sequence of (N, 3) arrays
        Centre lines in mm: x, y, and depth along the ray.
    """
    points, weights = [], []
    for curve in curves:
        step = np.sqrt((np.diff(curve, axis=0) ** 2).sum(1))
        arc = np.concatenate([[0], np.cumsum(step)])
        count = max(int(arc[-1] / (0.5 * scene.spacing)), 2)
        at = (np.arange(count) + 0.5) * arc[-1] / count
        points.append(np.stack([np.interp(at, arc, curve[:, i]) for i in (0, 1)], axis=1))
        weights.append(np.full(count, arc[-1] / count))
    pixels = scene.to_pixels(np.concatenate(points)) - 0.5
    lines = _splat(scene.shape, pixels, np.concatenate(weights))
    pixel = radius / scene.spacing
    reach = int(np.ceil(pixel)) + 1
    grid = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1])
    disc = np.clip(pixel + 0.5 - grid, 0, 1)
    disc *= np.pi * pixel**2 / disc.sum()
    out: Array = np.maximum(oaconvolve(lines, disc, mode="same"), 0).astype(np.float32)
    return out


def _splat(shape: tuple[int, int], pixels: Array, weights: Array) -> Array:
    """Image (H, W) of weights at continuous (column, row) places, shared bilinearly."""
    base = np.floor(pixels).astype(int)
    part = pixels - base
    out = np.zeros(shape[0] * shape[1])
    for dc in (0, 1):
        for dr in (0, 1):
            col, row = base[:, 0] + dc, base[:, 1] + dr
            share = weights * np.abs(1 - dc - part[:, 0]) * np.abs(1 - dr - part[:, 1])
            inside = (col >= 0) & (col < shape[1]) & (row >= 0) & (row < shape[0])
            index = row[inside] * shape[1] + col[inside]
            out += np.bincount(index, share[inside], minlength=out.size)
    image: Array = out.reshape(shape)
    return image
