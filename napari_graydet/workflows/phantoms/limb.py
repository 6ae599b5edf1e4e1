"""Forearm, elbow and wrist, and the leg crops that look alike: shin and knee."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graydet.workflows.phantoms.build import (
    Build,
    Subject,
    dress,
    limb_exposure,
    random_build,
)
from napari_graydet.workflows.phantoms.solids import Blob, LongBone, Scene, trabecular_texture

Array = NDArray[Any]
VIEWS = ("whole", "shafts", "wrist", "elbow", "shin", "knee")

_RADIUS = (10.5, 7.0, 8.5, 8, 7.5, 7.2, 7.2, 7.2, 7.2, 7.2, 7.3, 7.6, 8, 9, 11, 14.5, 15.5)
_ULNA = (8.0, 12, 11.5, 9.5, 8, 7.2, 7, 6.8, 6.5, 6.3, 6, 5.8, 5.6, 5.5, 5.8, 7.2, 7.5)


def radius_bone(rng: np.random.Generator) -> LongBone:
    """Adult radius, head at (0, 0), distal end downwards, thumb at negative x."""
    length = rng.uniform(225, 245)
    return LongBone(
        (0, 0), (-6, length), _RADIUS, _RADIUS, bow=float(rng.uniform(4, 9)),
        depth=(0.95, 0.95, 0.9, 0.9, 0.8, 0.7),
        cortex=(0.8, 2.2, 2.9, 3.1, 3.0, 2.6, 1.6, 0.7),
        spongy=(0.26, 0.12, 0.03, 0.02, 0.02, 0.04, 0.12, 0.26),
        cap_start=(-1.5, -0.2, -0.8, -0.2, -1.5),
        cap_end=(-2, -1.5, -1.2, 0.2, 3, 6, 4),
    )


def ulna_bone(rng: np.random.Generator) -> LongBone:
    """Adult ulna beside the radius; the olecranon reaches above the head of the radius."""
    gap = rng.uniform(0, 6)
    return LongBone(
        (20 + gap * 0.3, -22), (21, 232 + rng.uniform(-4, 3)), _ULNA, _ULNA,
        bow=float(rng.uniform(-5, 0)), depth=(1.0, 1.1, 1, 1, 0.95),
        cortex=(0.9, 2.0, 2.6, 2.8, 2.7, 2.4, 1.6, 0.8),
        spongy=(0.26, 0.14, 0.04, 0.02, 0.02, 0.04, 0.12, 0.24),
        cap_start=(-7, -2, 0, -2, -7), cap_end=(4.5, 3, -0.5, 0, 0, -0.8, -3),
    )


def humerus_bone() -> LongBone:
    """Distal humerus above the joint line y = -4, medial epicondyle at positive x."""
    return LongBone(
        (8, -130), (10, -5),
        (11, 10.5, 10.5, 10.5, 11, 12, 15, 24, 31, 25),
        (11, 10.5, 10.5, 10.5, 11, 12, 14, 20, 25, 21),
        depth=(1, 1, 1, 1, 1, 0.9, 0.65, 0.4, 0.36, 0.4),
        cortex=(3.4, 3.4, 3.2, 2.8, 2.2, 1.3, 0.8),
        spongy=(0.02, 0.02, 0.03, 0.06, 0.16, 0.28),
        cap_end=(-9, 0, 3, 2, -1, 1.5, 2, -1, -9),
    )


def shin_bones(rng: np.random.Generator) -> dict[str, LongBone]:
    """Tibia and fibula below a joint line at y = 0, outer side at positive x."""
    tibia = LongBone(
        (0, 4.5), (4, 350),
        (36, 30, 20, 16.5, 15, 14, 13.5, 13, 12.5, 12, 12, 12.5, 14),
        (38, 29, 19, 16, 14.5, 14, 13.5, 13, 12.5, 12, 12, 12.5, 14),
        bow=float(rng.uniform(-4, 4)), depth=(0.62, 0.75, 0.95, 1.1, 1.1, 1.05, 1),
        cortex=(0.8, 1.6, 3.6, 4.8, 5.2, 5.2, 4.8, 4.2, 3.4),
        spongy=(0.24, 0.15, 0.05, 0.02, 0.02, 0.02, 0.02, 0.03, 0.06),
        cap_start=(-3, -0.3, -1.3, -1, 4, 2.5, 4, -1, -1.3, -0.3, -3),
    )
    near = rng.uniform(-6, 4)
    fibula = LongBone(
        (37 + near, 16), (33 + near, 345),
        (7, 7.5, 5.5, 5.2, 5.5, 5.8, 5.5, 5.5, 6), (7, 8, 5.5, 5.2, 5.5, 5.8, 5.5, 5.5, 6),
        bow=float(rng.uniform(-3, 6)), depth=(1.0,),
        cortex=(0.7, 1.6, 2.2, 2.5, 2.5, 2.4), spongy=(0.22, 0.08, 0.02, 0.02, 0.02, 0.03),
        cap_start=(-5, 0, 1, 0, -5),
    )
    return {"fibula": fibula, "tibia": tibia}


def femur_bone() -> LongBone:
    """Distal femur above a joint line at y = 0."""
    return LongBone(
        (-4, -180), (0, 0),
        (15, 15, 15, 15.5, 16.5, 18.5, 22, 29, 38, 40, 35),
        (15, 15, 15, 15.5, 16.5, 18.5, 22, 28, 37, 40, 36),
        depth=(1.05, 1.05, 1.0, 1, 1, 1, 0.95, 0.85, 0.75, 0.72, 0.72),
        cortex=(5, 5, 4.6, 3.8, 2.8, 1.8, 1.0, 0.8, 0.8),
        spongy=(0.02, 0.02, 0.03, 0.05, 0.1, 0.17, 0.22, 0.22),
        cap_end=(-9, -1.5, 0.5, 0, -3, -11, -3, 0, 0.5, -1.5, -9),
    )


def _sleeve(scene: Scene, ends: tuple[float, float, float, float], left: tuple[float, ...],
            right: tuple[float, ...], depth: float, build: Build) -> None:
    """Soft tissue around a straight axis from (x0, y0) to (x1, y1)."""
    x0, y0, x1, y1 = ends
    limb = build.bone(LongBone((x0, y0), (x1, y1), left, right, depth=(depth,), cap_start=(60,),
                               cap_end=(60,)))
    full = (slice(0, scene.shape[0]), slice(0, scene.shape[1]))
    scene.add_soft(limb.project(scene, full)[0] * build.stout)


def _frame(view: str, rng: np.random.Generator) -> tuple[float, float, float, float, float]:
    """Centre (x, y) in mm, field height in mm, aspect width / height, spread of the turn."""
    u = rng.uniform
    table = {
        "whole": (10, 100, u(300, 400), u(0.36, 0.6), 0.08),
        "shafts": (8, u(70, 150), u(110, 190), u(0.6, 1.05), 0.2),
        "wrist": (6, u(205, 232), u(95, 150), u(0.7, 1.1), 0.2),
        "elbow": (9, u(-15, 20), u(110, 180), u(0.7, 1.1), 0.2),
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
    angle = float(rng.normal(0, turn)) + (float(rng.choice([0, np.pi])) if rng.random() < 0.3 else 0)
    if rng.random() < 0.06:
        angle += np.pi / 2
    scene = Scene(
        (rows, max(cols, 32)), height_mm / rows, (x * build.scale, y * build.scale), angle,
        bool(rng.random() < 0.5), trabecular_texture(rng),
    )
    if view in ("shin", "knee"):
        _leg(scene, build, rng)
    else:
        _arm(scene, build, rng)
    collimated = 0.12 if rng.random() < 0.35 else 0.0
    return Subject(scene, limb_exposure(rng), "bone", collimated)


def _arm(scene: Scene, build: Build, rng: np.random.Generator) -> None:
    left = (38, 42, 44, 43, 42, 38, 33, 29, 28, 34, 38)
    _sleeve(scene, (10, -110, 8, 290), left, left, 0.75, build)
    dress(scene, 30 * build.scale, float(rng.uniform(2, 6)) * build.scale, rng)
    radius, ulna = build.bone(radius_bone(rng)), build.bone(ulna_bone(rng))
    scene.add_bone(build.bone(humerus_bone()), "humerus")
    for name, bone in (("ulna", ulna), ("radius", radius)):
        if build.growing and not (name == "ulna" and build.age < 6):
            shaft, cap = bone.split(float(rng.uniform(4, 8)) * build.scale,
                                    float(rng.uniform(1, 2.5)))
            scene.add_bone(shaft, name)
            scene.add_bone(cap, f"{name} distal epiphysis")
        elif build.growing:
            scene.add_bone(bone.split(9 * build.scale, 0.0)[0], name)
        else:
            scene.add_bone(bone, name)


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
    scene.add_bone(Blob((float(rng.uniform(-4, 4)) * k, -34 * k), (20 * k, 21 * k), 9 * k,
                        spongy=0.22 * build.spongy, cortex=1.0))
