"""What lies over the anatomy: collimator, lead letters, plates, rings, screws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[Any]

# Strokes of lead letters on a 2 x 3 grid, x right, y down.
_LETTERS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "L": (((0, 0), (0, 3), (2, 3)),),
    "R": (((0, 3), (0, 0), (1.6, 0), (2, 0.7), (1.6, 1.5), (0, 1.5)), ((0.9, 1.5), (2, 3))),
    "A": (((0, 3), (1, 0), (2, 3)), ((0.4, 2), (1.6, 2))),
    "P": (((0, 3), (0, 0), (1.6, 0), (2, 0.8), (1.6, 1.6), (0, 1.6)),),
    "E": (((2, 0), (0, 0), (0, 3), (2, 3)), ((0, 1.5), (1.5, 1.5))),
    "K": (((0, 0), (0, 3)), ((2, 0), (0, 1.6), (2, 3))),
    "M": (((0, 3), (0, 0), (1, 1.8), (2, 0), (2, 3)),),
    "T": (((0, 0), (2, 0)), ((1, 0), (1, 3))),
}


def strokes(
    shape: tuple[int, int],
    text: str,
    origin: tuple[float, float],
    height: float,
    angle: float,
    bold: float,
) -> Array:
    """Coverage 0..1 (H, W) of block letters.

    Parameters
    ----------
    origin : (column, row)
        Upper left corner of the first letter.
    height, bold : float
        Letter height and stroke width in pixels.
    """
    out = np.zeros(shape, np.float32)
    unit = height / 3
    reach = height * (len(text) + 1)
    r0, r1 = (int(np.clip(origin[1] + d * reach, 0, shape[0])) for d in (-1, 1))
    c0, c1 = (int(np.clip(origin[0] + d * reach, 0, shape[1])) for d in (-1, 1))
    rows, cols = np.mgrid[r0:r1, c0:c1] + 0.5
    cos, sin = np.cos(angle), np.sin(angle)
    x = ((cols - origin[0]) * cos + (rows - origin[1]) * sin) / unit
    y = (-(cols - origin[0]) * sin + (rows - origin[1]) * cos) / unit
    nearest = np.full(x.shape, np.inf)
    for index, letter in enumerate(text):
        for line in _LETTERS[letter]:
            for (ax, ay), (bx, by) in itertools.pairwise(line):
                ax_, dx, dy = ax + 3 * index, bx - ax, by - ay
                t = np.clip(((x - ax_) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
                nearest = np.minimum(nearest, np.hypot(x - ax_ - t * dx, y - ay - t * dy))
    out[r0:r1, c0:c1] = np.clip(0.5 + bold / 2 - nearest * unit, 0, 1)
    return out


def collimator(shape: tuple[int, int], rng: np.random.Generator, inset: float) -> Array:
    """Beam 0..1 (H, W) of four slightly turned shutters, each up to ``inset`` of the image in."""
    height, width = shape
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.5
    cols = np.arange(width, dtype=np.float32)[None, :] + 0.5
    out = np.ones(shape, np.float32)
    soft = max(height, width) / 400
    for side in range(4):
        depth = rng.uniform(-0.5, 1.0) * inset
        slope = rng.normal(0, 0.012)
        if side < 2:
            depth_px = depth * width
            edge = (cols if side == 0 else width - cols) - depth_px - slope * (rows - height / 2)
        else:
            depth_px = depth * height
            edge = (rows if side == 2 else height - rows) - depth_px - slope * (cols - width / 2)
        if depth > 0:
            out *= np.clip(edge / soft + 0.5, 0, 1)
    return out


def add_grid(gray: Array, pitch: float, rng: np.random.Generator) -> Array:
    """Thin bright wires every ``pitch`` pixels, as on long-leg pictures; returns the gray."""
    out: Array = gray.copy()
    for axis, length in enumerate(gray.shape):
        start = rng.uniform(0, pitch)
        for at in np.arange(start, length - 1, pitch * rng.uniform(0.9, 1.1)):
            level = np.float32(rng.uniform(0.03, 0.16))
            place = (int(at), slice(None)) if axis == 0 else (slice(None), int(at))
            out[place] += level
    out = np.clip(gaussian_filter(out, rng.uniform(0.4, 1.2)), 0, 1)
    return out


def add_marker(gray: Array, side: str, rng: np.random.Generator) -> Array:
    """Put a side letter, sometimes with initials or on a plate, into a corner; returns the gray."""
    height, width = gray.shape
    size = rng.uniform(0.025, 0.05) * max(height, width)
    text = side + ("" if rng.random() < 0.6 else str(rng.choice(["AK", "MT", "PA", "EM"])))
    room = size * len(text)
    near, far = rng.uniform(0.03, 0.1) * width, width * rng.uniform(0.88, 0.97) - room
    col = near if rng.random() < 0.5 else far
    row = rng.uniform(0.03, 0.12) * height
    letters = strokes(
        gray.shape, text, (col, row), size, rng.normal(0, 0.12), size * rng.uniform(0.1, 0.2)
    )
    level = rng.uniform(0.75, 1.0)
    kind = rng.random()
    if kind < 0.35:
        pad = size * 0.35
        plate = np.zeros_like(gray)
        rows = slice(max(int(row - pad), 0), int(row + size + pad))
        plate[rows, max(int(col - pad), 0) : int(col + room + pad)] = 1
        plate = gaussian_filter(plate, 1)
        if kind < 0.1:  # a white sign with dark letters
            gray, level = np.maximum(gray, plate * level), 0.03
        else:
            gray = gray + plate * rng.uniform(0.03, 0.12)
    out: Array = gray * (1 - letters) + level * letters
    return out
