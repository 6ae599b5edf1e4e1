"""The bones of a chest, which lie over the lungs and belong to no mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.draw import polygon2mask

from napari_graydet.workflows.phantoms.solids import Blob, LongBone, Scene, capsule, tubes
from napari_graydet.workflows.phantoms.torso import SIDES, Torso, lateral_wall

Array = NDArray[Any]


def add_ribs(scene: Scene, torso: Torso, rng: np.random.Generator) -> None:
    """Eleven pairs of ribs as tilted rings around the cage."""
    curves = []
    pitch = rng.uniform(22.5, 26.5)
    slope = rng.uniform(0.85, 1.2)
    for number in range(11):
        spine_y = torso.top - (5 if number == 0 else 9) + pitch * number
        drop = slope * np.interp(number, (0, 2, 6, 10), (30, 62, 98, 108))
        phi = np.linspace(
            0.06, (2.75, 2.6, 2.5, 2.5, 2.45, 2.4, 2.3, 2.2, 2.1, 1.9, 1.6)[number], 60
        )
        lateral = float(lateral_wall(torso, np.array([spine_y + drop / 2]))[0]) + 5
        for _, side in SIDES:
            wave = 5 * np.sin(2 * phi)
            x = side * (14 + (lateral - 14) * np.sin(phi) ** 0.8) + torso.shift * 0.5 * np.cos(phi)
            y = spine_y + drop * (1 - np.cos(phi)) / 2 - wave + rng.normal(0, 1.0)
            curves.append(np.stack([x, y, -80 * np.cos(phi)], axis=1))
    radius = rng.uniform(5.6, 7.2)
    flat = 0.6
    outer = tubes(scene, curves, radius) * flat
    inner = tubes(scene, curves, radius - rng.uniform(1.0, 1.5)) * flat
    mineral = np.maximum(outer - inner * (1 - rng.uniform(0.15, 0.32)), 0)
    scene.bone += np.minimum(mineral, 9) * np.float32(rng.uniform(0.85, 1.45))


def add_shoulders(scene: Scene, torso: Torso, rng: np.random.Generator) -> None:
    """Clavicles, scapulae and proximal humeri."""
    rise = rng.uniform(-6, 22)
    spread = rng.uniform(-6, 10)
    clavicles, borders = [], []
    for _, side in SIDES:
        t = np.linspace(0, 1, 40)
        x = side * (13 + 145 * t) + torso.shift
        y = torso.top + 34 - rise * t - 14 * t - 7 * np.sin(2 * np.pi * t) + rng.normal(0, 2)
        clavicles.append(np.stack([x, y, 8 * np.sin(2 * np.pi * t)], axis=1))
        corner = np.array([[104, -2], [116, 118], [160, 30], [150, 8]], float)
        corner[:, 0] = side * (corner[:, 0] + spread + torso.width - 130)
        corner[:, 1] += torso.top + rng.normal(0, 2)
        blade: Array = polygon2mask(  # type: ignore[no-untyped-call]
            scene.shape, scene.to_pixels(corner)[:, ::-1]
        )
        scene.bone += 1.6 * gaussian_filter(blade.astype(np.float32), 1.5 / scene.spacing)
        for a, b in ((0, 1), (1, 2), (0, 3)):
            borders.append(np.column_stack([np.linspace(corner[a], corner[b], 20), np.zeros(20)]))
        head = (side * (178 + spread), torso.top + 24)
        scene.add_bone(Blob(head, (23, 24), 20, spongy=0.16, cortex=0.8))
        arm = rng.uniform(8, 60)
        scene.add_bone(
            LongBone(
                (side * (180 + spread), torso.top + 30),
                (side * (188 + spread + arm), torso.top + 230),
                (21, 14, 11.5, 11, 11),
                (21, 14, 11.5, 11, 11),
                cortex=(0.8, 2.5, 3.5, 3.5),
                rims=(14.0, 4.0),
                spongy=(0.1, 0.05, 0.02),
            )
        )
    outer, inner = tubes(scene, clavicles, 6.8), tubes(scene, clavicles, 5.2)
    scene.bone += outer - 0.58 * np.minimum(inner, outer)
    scene.bone += 0.6 * tubes(scene, borders, 2.6)


def add_spine(scene: Scene, torso: Torso, rng: np.random.Generator) -> None:
    """Vertebral bodies with pedicles and spinous processes, and the sternum."""
    pitch = rng.uniform(22, 26)
    lean = rng.normal(0, 0.012)
    for number in range(-4, 16):
        y = torso.top - 18 + pitch * number
        x = torso.shift * 0.4 + lean * y
        half = float(np.interp(number, (-4, 2, 15), (12, 15, 23)))
        scene.add_bone(
            Blob((x, y), (half, pitch / 2 - 1.8), 0.85 * half, power=3.6, cortex=0.3, spongy=0.07)
        )
        for side in (-1, 1):
            scene.add_bone(
                Blob((x + side * 0.62 * half, y - 2), (3.6, 5), 5, cortex=0.7, spongy=0.1)
            )
        scene.bone += 1.6 / pitch * capsule(scene, (x, y - pitch / 2), (x, y + pitch / 2), 19, 19)
        scene.add_bone(Blob((x + torso.shift * 0.5, y + 9), (3.2, 6.5), 8, cortex=0.5, spongy=0.08))
