"""A hand with wrist: phalanges, metacarpals, carpals, distal radius and ulna."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, grey_closing, zoom

from napari_graydet.workflows.phantoms.bones import (
    flip,
    humerus_bone,
    metacarpal,
    phalanx,
    radius_bone,
    reverse,
    ulna_bone,
)
from napari_graydet.workflows.phantoms.build import (
    Build,
    Subject,
    dress,
    limb_exposure,
    random_build,
)
from napari_graydet.workflows.phantoms.solids import (
    Blob,
    LongBone,
    Scene,
    capsule,
    trabecular_texture,
)

Array = NDArray[Any]

# Adult right hand, palm down, millimetres; y points to the wrist, thumb at negative x.
_DIGITS = ("thumb", "index finger", "middle finger", "ring finger", "little finger")
_BASES = ((-25, -28.5), (-12, -31.5), (-1.5, -34), (8.5, -32.5), (17, -29))
_AIM = (-0.54, -0.17, -0.01, 0.14, 0.29)
_SPLAY = (-0.04, -0.04, 0.0, 0.05, 0.12)
_LENGTHS = ((46, 32, 22), (67, 40, 23, 17), (65, 44, 27, 18), (58, 41, 26, 18), (53, 33, 18.5, 16))
_GIRTH = (1.12, 1.05, 1.08, 1.0, 0.9)

# name, centre, half-axes, half thickness, angle, age of ossification
_CARPALS = (
    ("scaphoid", (-13, -10), (6.5, 11), 6.5, 0.65, 6.0),
    ("lunate", (2, -7.5), (8, 7.5), 7, 0.1, 4.5),
    ("triquetrum", (15.5, -11), (7, 7.5), 6, 0.6, 3.0),
    ("pisiform", (19, -9), (4.6, 5.4), 5, 0.0, 10.0),
    ("trapezium", (-21, -23), (7.5, 7), 6.5, 0.5, 6.0),
    ("trapezoid", (-10.5, -25.5), (5.6, 6.4), 6.5, 0.2, 6.0),
    ("capitate", (1.5, -23.5), (7, 11.5), 8, 0.05, 0.4),
    ("hamate", (12.5, -23.5), (7.6, 9.5), 8, -0.35, 0.5),
)


def _place(bone: LongBone, start: Array, angle: float) -> tuple[LongBone, Array]:
    """The bone from ``start`` along the angle (0 is up, positive turns to the little finger)."""
    length = abs(bone.end[1])
    end = start + length * np.array([np.sin(angle), -np.cos(angle)])
    placed = replace(
        bone, start=(float(start[0]), float(start[1])), end=(float(end[0]), float(end[1]))
    )
    return placed, end


def _add(
    scene: Scene, bone: LongBone, name: str, plate: str, build: Build, rng: np.random.Generator
) -> None:
    """Add a bone, with a growth plate at its ``plate`` end while the person grows."""
    if not build.growing or plate == "none":
        scene.add_bone(bone, name)
        return
    length = float(np.hypot(*np.subtract(bone.end, bone.start)))
    gap = float(np.interp(build.age, (2, 6, 13, 16), (2.6, 1.8, 1.1, 0.5)))
    thick = float(np.interp(build.age, (2, 12), (0.06, 0.13))) * length
    turned = bone if plate == "end" else reverse(bone)
    shaft, cap = turned.split(thick, gap)
    if build.age < 7:
        k = float(np.interp(build.age, (2, 7), (0.5, 0.95)))
        cap = replace(
            cap, left=tuple(v * k for v in cap.left), right=tuple(v * k for v in cap.right)
        )
    scene.add_bone(shaft, name)
    if build.age > 3 or rng.random() < 0.5:
        scene.add_bone(cap, f"{name} epiphysis")


def _digit(
    index: int, build: Build, rng: np.random.Generator, spread: float
) -> tuple[list[tuple[Array, float]], list[tuple[LongBone, str, str]]]:
    """Skeleton of one digit: soft-tissue nodes (point, radius) and placed bones."""
    k = build.scale
    angle = _AIM[index] + float(rng.normal(0, 0.03)) + (-0.22 * (spread - 0.4) if index == 0 else 0)
    at = np.array(_BASES[index], float) * k
    girth = _GIRTH[index] * float(rng.uniform(0.93, 1.07))
    nodes: list[tuple[Array, float]] = [(at, 11.0 * k * girth)]
    bones: list[tuple[LongBone, str, str]] = []
    ossified = float(np.interp(build.age, (2, 8, 15), (0.86, 0.93, 1)))
    for number, length in enumerate(_LENGTHS[index]):
        last = number == len(_LENGTHS[index]) - 1
        bone = (
            metacarpal(length, girth)
            if number == 0
            else phalanx(
                length, girth * (1, 1, 0.88, 0.85 if last and number == 3 else 1)[number], last
            )
        )
        if last and number == 2:
            bone = phalanx(length, girth * 1.05, True)
        full = length * k
        placed, _ = _place(build.bone(bone), at, angle)
        start = np.array(placed.start) + (1 - ossified) * full * 0.5 * np.array(
            [np.sin(angle), -np.cos(angle)]
        )
        placed = replace(
            placed,
            start=(float(start[0]), float(start[1])),
            end=(
                float(start[0] + ossified * full * np.sin(angle)),
                float(start[1] - ossified * full * np.cos(angle)),
            ),
        )
        bow = float(rng.normal(0, 0.25)) * k
        plate = "start" if number or index == 0 else "end"
        kind = ("metacarpal", "proximal phalanx", "middle phalanx", "distal phalanx")[
            3 if last else number
        ]
        bones.append((replace(placed, bow=bow), f"{_DIGITS[index]} {kind}", plate))
        gap = float(rng.uniform(0.4, 1.3)) * k * (1.25 if number == 0 else 1)
        at = at + (full + gap) * np.array([np.sin(angle), -np.cos(angle)])
        radius = (
            (10.2, 9.2, 8.2, 7.4)[min(number, 3)]
            * k
            * girth
            * (1.12 if index == 0 else 1)
            * build.stout**0.7
        )
        nodes.append((at.copy(), radius))
        if number == 0:
            angle += _SPLAY[index] * spread + (0.16 if index == 0 else -0.35 * _AIM[index])
        angle += float(rng.normal(0, 0.035))
    tip = nodes[-1][0] + 2.2 * k * np.array([np.sin(angle), -np.cos(angle)])
    nodes[-1] = (
        tip - nodes[-1][1] * 0.35 * np.array([np.sin(angle), -np.cos(angle)]),
        nodes[-1][1],
    )
    return nodes, bones


def _web(scene: Scene, reach_mm: float) -> None:
    """Close the notches between fingers with skin folds."""
    step = max(int(1.2 / scene.spacing), 1)
    coarse = scene.soft[::step, ::step]
    size = 2 * int(reach_mm / (step * scene.spacing)) + 1
    disc = np.hypot(*np.mgrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1])
    closed = grey_closing(coarse, footprint=disc <= size / 2)
    closed = gaussian_filter(closed, 0.8)
    fine = zoom(
        closed,
        (scene.shape[0] / coarse.shape[0], scene.shape[1] / coarse.shape[1]),
        order=1,
        grid_mode=True,
        mode="nearest",
    )
    scene.soft = np.maximum(scene.soft, fine[: scene.shape[0], : scene.shape[1]] * 0.98)


def _soft_tissue(scene: Scene, digits: list[list[tuple[Array, float]]], build: Build) -> None:
    k = build.scale
    for index, nodes in enumerate(digits):
        for number, ((a, ra), (b, rb)) in enumerate(itertools.pairwise(nodes)):
            flat = 0.95 if number == 0 else 1.0
            scene.add_soft(capsule(scene, tuple(a), tuple(b), ra, rb, flat))
        if index == 0:
            continue
    palm_nodes = (
        ((-16, -40), (-14, -85), 15),
        ((0, -35), (-1, -88), 14),
        ((10, -35), (14, -80), 13),
        ((-8, -22), (8, -60), 22),
        ((17, -30), (21, -65), 11),
        ((-20, -40), (-10, -62), 14),
    )
    for (ax, ay), (bx, by), r in palm_nodes:
        scene.add_soft(
            capsule(
                scene,
                (ax * k, ay * k),
                (bx * k, by * k),
                r * k,
                r * k,
                0.95 if r < 20 else 0.7,
            )
        )
    sleeve = tuple(k * v for v in (27, 28, 28, 29, 33, 37, 40, 42, 44, 45, 44, 43, 44, 45))
    wrist = LongBone(
        (2 * k, -35 * k),
        (2 * k, 370 * k),
        sleeve,
        sleeve,
        depth=(0.6, 0.75, 0.85, 0.85),
        cap_start=(-25, 0, -25),
        cap_end=(60,),
    )
    full = (slice(0, scene.shape[0]), slice(0, scene.shape[1]))
    scene.add_soft(wrist.project(scene, full)[0] * build.stout**0.5)
    _web(scene, 7 * k)


def _carpals(scene: Scene, build: Build, rng: np.random.Generator) -> None:
    k = build.scale
    for name, centre, (a, b), depth, angle, born in _CARPALS:
        if build.age < born:
            continue
        grown = float(np.interp(build.age, (born, max(born + 7, 13)), (0.38, 1.0)))
        waves = tuple(
            (order, float(rng.normal(0, 0.055)), float(rng.uniform(0, 6.3))) for order in (2, 3, 4)
        )
        at = (float(centre[0] + rng.normal(0, 0.5)) * k, float(centre[1] + rng.normal(0, 0.5)) * k)
        scene.add_bone(
            Blob(
                at,
                (a * k * grown, b * k * grown),
                depth * k * grown,
                angle,
                waves,
                float(rng.uniform(2.1, 2.8)),
                cortex=0.65 * k * build.cortex,
                spongy=0.17 * build.spongy,
            ),
            name,
        )


def _forearm(scene: Scene, build: Build, rng: np.random.Generator) -> None:
    """Radius, ulna and distal humerus below the wrist."""
    k = build.scale
    humerus = flip(humerus_bone(), (-5.0, 238.0))
    scene.add_bone(build.bone(humerus), "humerus")
    for name, bone, end in (
        ("ulna", ulna_bone(rng), (15.5, 2.0)),
        ("radius", radius_bone(rng), (-7.5, -0.5)),
    ):
        shift = (end[0] - bone.end[0], end[1] + bone.end[1])
        grown = build.bone(flip(bone, shift))
        if not build.growing:
            scene.add_bone(grown, name)
            continue
        gap = float(np.interp(build.age, (2, 16), (2.5, 0.7)))
        shaft, cap = grown.split(float(np.interp(build.age, (2, 14), (3, 7.5))) * k, gap)
        scene.add_bone(shaft, name)
        if build.age > (6 if name == "ulna" else 1.5):
            scene.add_bone(cap, f"{name} distal epiphysis")


def draw_arm(
    scene: Scene, build: Build, rng: np.random.Generator, fat: float, radius: float
) -> None:
    """Hand, forearm and elbow with their soft tissue; ``dress`` says what fat and radius mean."""
    k = build.scale
    spread = float(rng.uniform(-0.2, 1.6))
    digits = [_digit(index, build, rng, spread) for index in range(5)]
    _soft_tissue(scene, [nodes for nodes, _ in digits], build)
    dress(scene, radius * k, fat * k, rng)
    _forearm(scene, build, rng)
    _carpals(scene, build, rng)
    for _, bones in digits:
        for bone, name, plate in bones:
            _add(scene, bone, name, plate, build, rng)
    if rng.random() < 0.12:
        _ring(scene, digits[int(rng.integers(1, 5))][1][1][0])


def build_hand(rng: np.random.Generator, size: int) -> Subject:
    """A hand (sometimes only fingers or only the wrist), with each bone a part."""
    build = random_build(rng, 0.4)
    k = build.scale
    view = str(rng.choice(["hand", "fingers", "wrist"], p=(0.72, 0.13, 0.15)))
    u = rng.uniform
    y, height_mm, aspect = {
        "hand": (u(-84, -68), u(250, 300), u(0.7, 0.95)),
        "fingers": (u(-125, -105), u(110, 150), u(0.8, 1.1)),
        "wrist": (u(-28, -10), u(95, 140), u(0.7, 1.0)),
    }[view]
    height_mm *= k
    rows, cols = (size, int(size * aspect)) if aspect <= 1 else (int(size / aspect), size)
    angle = float(rng.normal(0, 0.12))
    if rng.random() < 0.1:
        angle += float(rng.choice([np.pi, np.pi / 2, -np.pi / 2]))
    if abs(np.sin(angle)) > 0.7:
        rows, cols = cols, rows
    scene = Scene(
        (rows, max(cols, 32)),
        height_mm / size if aspect <= 1 else height_mm / rows,
        (float(u(-8, 2)) * k, float(y) * k),
        angle,
        bool(rng.random() < 0.5),
        trabecular_texture(rng),
    )
    draw_arm(scene, build, rng, fat=float(rng.uniform(0.8, 2)), radius=14)
    return Subject(scene, limb_exposure(rng), "bone", 0.08 if rng.random() < 0.3 else 0.0)


def _ring(scene: Scene, bone: LongBone) -> None:
    """A metal ring around a proximal phalanx; it hides the bone and stays out of the names."""
    start, axis = np.array(bone.start), np.subtract(bone.end, bone.start)
    length = float(np.hypot(*axis))
    across = np.array([-axis[1], axis[0]]) / length
    middle = start + 0.45 * axis
    half = max(bone.left) * 1.35
    a, b = middle - across * half, middle + across * half
    band = capsule(scene, (float(a[0]), float(a[1])), (float(b[0]), float(b[1])), 1.8, 1.8)
    scene.metal = np.maximum(scene.metal, np.minimum(band, 2.5))
