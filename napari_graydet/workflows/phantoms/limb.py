"""Forearm, elbow and wrist, and the leg crops that look alike: shin and knee."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graydet.workflows.phantoms.bones import femur_bone, shin_bones
from napari_graydet.workflows.phantoms.build import (
    Build,
    Subject,
    dress,
    limb_exposure,
    random_build,
)
from napari_graydet.workflows.phantoms.hand import draw_arm
from napari_graydet.workflows.phantoms.solids import (
    Blob,
    LongBone,
    Scene,
    capsule,
    trabecular_texture,
)

Array = NDArray[Any]
VIEWS = ("whole", "shafts", "wrist", "elbow", "shin", "knee")


def _sleeve(
    scene: Scene,
    ends: tuple[float, float, float, float],
    left: tuple[float, ...],
    right: tuple[float, ...],
    depth: float,
    build: Build,
) -> None:
    """Soft tissue around a straight axis from (x0, y0) to (x1, y1)."""
    x0, y0, x1, y1 = ends
    limb = build.bone(
        LongBone((x0, y0), (x1, y1), left, right, depth=(depth,), cap_start=(60,), cap_end=(60,))
    )
    full = (slice(0, scene.shape[0]), slice(0, scene.shape[1]))
    scene.add_soft(limb.project(scene, full)[0] * build.stout)


def _frame(view: str, rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Centre (x, y) in mm, field height in mm, aspect width / height, spread of the turn."""
    u = rng.uniform
    table = {
        "whole": (2, u(105, 135), u(300, 400), u(0.36, 0.6), 0.08),
        "shafts": (3, u(70, 160), u(110, 190), u(0.6, 1.05), 0.2),
        "wrist": (1, u(-5, 30), u(95, 150), u(0.7, 1.1), 0.2),
        "elbow": (3, u(215, 245), u(110, 180), u(0.7, 1.1), 0.2),
        "shin": (u(2, 22), u(110, 250), u(100, 190), u(0.6, 1.1), 0.12),
        "knee": (u(-4, 8), u(-18, 22), u(92, 190), u(0.8, 1.1), 0.1),
    }
    return tuple(float(v) for v in table[view])  # type: ignore[return-value]


def build_forearm(rng: np.random.Generator, size: int) -> Subject:
    """A forearm, elbow or wrist, or a leg crop, with each bone a part."""
    view = str(rng.choice(VIEWS, p=(0.24, 0.18, 0.16, 0.14, 0.12, 0.16)))
    build = random_build(rng, 0.25)
    x, y, height_mm, aspect, turn = _frame(view, rng)
    height_mm *= build.scale
    rows, cols = (size, int(size * aspect)) if aspect <= 1 else (int(size / aspect), size)
    angle = float(rng.normal(0, turn)) + (
        float(rng.choice([0, np.pi])) if rng.random() < 0.3 else 0
    )
    if rng.random() < 0.06:
        angle += np.pi / 2
    scene = Scene(
        (rows, max(cols, 32)),
        height_mm / rows,
        (x * build.scale, y * build.scale),
        angle,
        bool(rng.random() < 0.5),
        trabecular_texture(rng),
    )
    if view in ("shin", "knee"):
        _leg(scene, build, rng)
    else:
        draw_arm(scene, build, rng, fat=float(rng.uniform(2, 6)), radius=30)
    if view in ("whole", "shafts", "shin") and rng.random() < 0.15:
        _plate(scene, (x * build.scale, y * build.scale), build, rng)
    collimated = 0.12 if rng.random() < 0.35 else 0.0
    leg = view in ("shin", "knee")
    lines = float(rng.uniform(20, 60)) if leg and rng.random() < 0.35 else 0.0
    return Subject(scene, limb_exposure(rng, leg), "bone", collimated, lines=lines)


def _leg(scene: Scene, build: Build, rng: np.random.Generator) -> None:
    outer = (68, 62, 56, 53, 55, 60, 62, 58, 50, 44, 40)
    inner = (70, 64, 57, 52, 54, 60, 61, 56, 48, 42, 38)
    _sleeve(scene, (6, -180, 10, 350), outer, inner, 0.95, build)
    dress(scene, 55 * build.scale, float(rng.uniform(3, 10)) * build.scale, rng)
    bones = shin_bones(rng)
    femur, tibia = build.bone(femur_bone()), build.bone(bones["tibia"])
    scene.add_bone(build.bone(bones["fibula"]), "fibula")
    scene.add_bone(tibia, "tibia")
    scene.add_bone(femur, "femur")
    k = build.scale
    scene.add_bone(
        Blob(
            (float(rng.uniform(-4, 4)) * k, -34 * k),
            (20 * k, 21 * k),
            9 * k,
            spongy=0.16 * build.spongy,
            cortex=1.0,
        )
    )


def _plate(
    scene: Scene, middle: tuple[float, float], build: Build, rng: np.random.Generator
) -> None:
    """A steel plate with screws on the bone nearest to ``middle``; never a part of the mask."""
    rows, cols = np.nonzero((scene.bone > 2) & (scene.parts > 0))
    if not rows.size:
        return
    x, y = scene.x[rows, cols], scene.y[rows, cols]
    first = int(np.argmin((x - middle[0]) ** 2 + (y - middle[1]) ** 2))
    at = np.array([x[first], y[first] - 25 * build.scale])
    step = np.array([rng.normal(0, 0.5), rng.uniform(9, 12)]) * build.scale
    count = int(rng.integers(4, 8))
    end = at + step * (count - 1)
    bar = capsule(scene, (float(at[0]), float(at[1])), (float(end[0]), float(end[1])), 4.5, 4.5)
    metal = np.minimum(bar, 2.5) * 0.6
    for number in range(count):
        hole = at + step * number
        tip = hole + np.array([rng.uniform(10, 16), rng.normal(0, 1)]) * build.scale
        screw = capsule(
            scene, (float(hole[0]), float(hole[1])), (float(tip[0]), float(tip[1])), 1.7, 1.5
        )
        metal = np.maximum(metal, screw)
    scene.metal = np.maximum(scene.metal, metal * (scene.soft > 3))
