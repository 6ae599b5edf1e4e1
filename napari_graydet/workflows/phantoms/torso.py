"""Measures of a chest: ribcage, mediastinal borders, diaphragm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graydet.workflows.phantoms.solids import smooth_curve

Array = NDArray[Any]
SIDES = (("right lung", -1), ("left lung", 1))


@dataclass(frozen=True)
class Torso:
    """Adult-sized measures in mm; y = 0 lies in mid-thorax, x > 0 is the patient's left.

    Attributes
    ----------
    width : float
        Inner half-width of the ribcage.
    top : float
        Height of the apices (negative).
    dome : (right, left)
        Heights of the diaphragm domes.
    sulcus : float
        Depth of the costophrenic angle below the dome.
    heart : float
        Size of the heart, 1 for a cardiothoracic ratio of about 0.45.
    stout : float
        Thickness of the body, relative.
    wall : float
        Thickness of the chest wall at the side in mm.
    shift : float
        Sideways place of the mediastinum in mm (a turned patient).
    waves : tuple of (amplitude, period, phase)
        Unevenness of the borders in mm.
    """

    width: float
    top: float
    dome: tuple[float, float]
    sulcus: float
    heart: float
    stout: float
    wall: float
    shift: float
    waves: tuple[tuple[float, float, float], ...]


def random_torso(rng: np.random.Generator) -> Torso:
    """Measures of an adult, drawn at random."""
    right = float(rng.uniform(42, 100))
    return Torso(
        width=float(rng.uniform(118, 152)),
        top=float(rng.uniform(-132, -112)),
        dome=(right, right + float(rng.uniform(-4, 18))),
        sulcus=float(rng.uniform(26, 50)),
        heart=float(np.clip(rng.normal(1, 0.13), 0.75, 1.4)),
        stout=float(rng.uniform(0.82, 1.2)),
        wall=float(rng.uniform(20, 42)),
        shift=float(rng.normal(0, 5)),
        waves=tuple(
            (float(rng.uniform(0.1, 0.8) * period / 50), period, float(rng.uniform(0, 6.3)))
            for period in (90.0, 61.0, 37.0, 23.0)
        ),
    )


def lateral_wall(torso: Torso, y: Array) -> Array:
    """Inner half-width of the ribcage at height y."""
    w = torso.width
    knots = (0, 1.5, 5, 12, 25, 50, 95, 150, 200, 260, 330)
    shape = (0.34, 0.42, 0.49, 0.565, 0.65, 0.775, 0.90, 0.97, 1.0, 1.01, 0.99)
    return smooth_curve(knots, [v * w for v in shape], y - torso.top)


def medial_border(torso: Torso, side: int, y: Array) -> Array:
    """Distance of the mediastinal border from the midline at height y."""
    h = torso.heart
    apex = 0.36 * torso.width
    # Heights are relative to the apex; the heart hangs on the dome below it.
    span = torso.dome[0 if side < 0 else 1] - torso.top
    at: tuple[float, ...]
    shape: tuple[float, ...]
    if side < 0:
        at = (0, 1.5, 5, 12, 22, 45, 0.40, 0.50, 0.60, 0.76, 0.92, 1.05)
        shape = (apex, apex - 9, apex - 16, apex - 21, 24, 21, 22, 30, 31 * h, 42 * h, 37 * h, 26)
    else:
        at = (0, 1.5, 5, 12, 22, 40, 0.29, 0.39, 0.47, 0.60, 0.76, 0.90, 0.99, 1.10)
        low = (33, 50 * h, 76 * h, 89 * h, 87 * h, 76 * h)
        shape = (apex, apex - 9, apex - 15, apex - 20, 25, 24, 33, 28, *low)
    knots = [v if v >= 2 or i < 2 else v * span for i, v in enumerate(at)]
    wave = _wave(torso, y + 500 * side) * np.clip((y - torso.top - 20) / 30, 0, 1)
    out: Array = smooth_curve(knots, shape, y - torso.top) + wave
    return out + np.float32(side * torso.shift)


def _wave(torso: Torso, at: Array) -> Array:
    """Unevenness in mm of a border along its course."""
    out = np.zeros_like(at)
    for amplitude, period, phase in torso.waves:
        out += np.float32(amplitude) * np.sin(at * np.float32(2 * np.pi / period) + phase)
    return out


def diaphragm(torso: Torso, side: int, x: Array) -> Array:
    """Height of the diaphragm at the distance x from the midline."""
    w, s = torso.width, torso.sulcus
    knots = (0.0, 0.2 * w, 0.45 * w, 0.65 * w, 0.82 * w, 0.95 * w, 1.03 * w)
    shape = (12.0, 5.0, 0.0, 4.0, 0.32 * s, 0.78 * s, 1.05 * s)
    level = torso.dome[0 if side < 0 else 1]
    return smooth_curve(knots, shape, x) + np.float32(level) + _wave(torso, x + 300 * side)
