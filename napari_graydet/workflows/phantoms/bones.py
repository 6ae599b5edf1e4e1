"""The long bones of an adult in millimetres, as parametric solids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_graydet.workflows.phantoms.solids import LongBone

_RADIUS = (10.5, 7, 8.5, 8, 7.5, 7.2, 7.2, 7.2, 7.2, 7.2, 7.2, 7.3, 7.5, 8.2, 10, 14.2, 15.3)
_SHIN = (14.2, 14, 13.7, 13.5, 13.2, 13, 12.8, 12.5, 12.3, 12.2, 12.2, 12.5, 13, 14)
_ULNA = (8.0, 12, 11.5, 9.5, 8, 7.2, 7, 6.8, 6.5, 6.3, 6, 5.8, 5.6, 5.5, 5.8, 7.2, 7.5)


def radius_bone(rng: np.random.Generator) -> LongBone:
    """Adult radius, head at (0, 0), distal end downwards, thumb at negative x."""
    length = rng.uniform(225, 245)
    return LongBone(
        (0, 0),
        (-6, length),
        _RADIUS,
        _RADIUS,
        bow=float(rng.uniform(4, 9)),
        depth=(0.95, 0.95, 0.9, 0.9, 0.8, 0.7),
        cortex=(0.8, 2.2, 2.9, 3.1, 3.0, 2.6, 1.6, 0.7),
        spongy=(0.16, 0.09, 0.03, 0.02, 0.02, 0.04, 0.09, 0.15),
        cap_start=(-1.5, -0.2, -0.8, -0.2, -1.5),
        cap_end=(-2, -1.5, -1.2, 0.2, 3, 6, 4),
    )


def ulna_bone(rng: np.random.Generator) -> LongBone:
    """Adult ulna beside the radius; the olecranon reaches above the head of the radius."""
    gap = rng.uniform(0, 6)
    return LongBone(
        (20 + gap * 0.3, -22),
        (21, 232 + rng.uniform(-4, 3)),
        _ULNA,
        _ULNA,
        bow=float(rng.uniform(-5, 0)),
        depth=(1.0, 1.1, 1, 1, 0.95),
        cortex=(0.9, 2.0, 2.6, 2.8, 2.7, 2.4, 1.6, 0.8),
        spongy=(0.16, 0.10, 0.04, 0.02, 0.02, 0.04, 0.10, 0.18),
        cap_start=(-7, -2, 0, -2, -7),
        cap_end=(4.5, 3, -0.5, 0, 0, -0.8, -3),
    )


def humerus_bone() -> LongBone:
    """Distal humerus above the joint line y = -4, medial epicondyle at positive x."""
    return LongBone(
        (8, -130),
        (10, -5),
        (11, *[10.5] * 4, 11, 11.5, 12.5, 15, 20, 28, 32, 25, 22),
        (11, *[10.5] * 4, 11, 11.5, 12.5, 14, 18, 23, 26, 23, 20),
        depth=(1, 1, 1, 1, 1, 0.9, 0.65, 0.4, 0.36, 0.4),
        cortex=(3.4, 3.4, 3.2, 2.8, 2.2, 1.3, 0.8),
        spongy=(0.02, 0.02, 0.03, 0.06, 0.12, 0.18),
        cap_end=(-7, 1, 4, 3, -0.5, 1.5, 2.5, 0, -7),
    )


def shin_bones(rng: np.random.Generator) -> dict[str, LongBone]:
    """Tibia and fibula below a joint line at y = 0, outer side at positive x."""
    tibia = LongBone(
        (0, 4.5),
        (4, 350),
        (36, 36.5, 31, 25, 21, 18.5, 17, 16, 15.5, 15, 14.5, *_SHIN),
        (37, 37, 30, 24, 20, 18, 16.5, 16, 15.5, 15, 14.5, *_SHIN),
        bow=float(rng.uniform(-4, 4)),
        depth=(0.62, 0.75, 0.95, 1.1, 1.1, 1.05, 1),
        cortex=(0.8, 1.6, 3.6, 4.8, 5.2, 5.2, 4.8, 4.2, 3.4),
        spongy=(0.17, 0.11, 0.05, 0.02, 0.02, 0.02, 0.02, 0.03, 0.06),
        cap_start=(-3.5, -0.3, -1.3, -0.8, 4.5, 2.5, 4, -0.8, -1.4, -0.3, -3.5),
        rims=(float(rng.uniform(0.8, 4)), 4.0),
        plate=float(rng.uniform(0.8, 2.0)),
    )
    near = rng.uniform(-6, 4)
    fibula = LongBone(
        (37 + near, 16),
        (33 + near, 345),
        (7, 7.5, 5.5, 5.2, 5.5, 5.8, 5.5, 5.5, 6),
        (7, 8, 5.5, 5.2, 5.5, 5.8, 5.5, 5.5, 6),
        bow=float(rng.uniform(-3, 6)),
        depth=(1.0,),
        cortex=(0.7, 1.6, 2.2, 2.5, 2.5, 2.4),
        spongy=(0.22, 0.08, 0.02, 0.02, 0.02, 0.03),
        cap_start=(-5, 0, 1, 0, -5),
    )
    return {"fibula": fibula, "tibia": tibia}


def femur_bone() -> LongBone:
    """Distal femur above a joint line at y = 0."""
    return LongBone(
        (-4, -180),
        (0, 0),
        (15, 15, 15, 15.5, 16.5, 18.5, 22, 29, 38, 40, 35),
        (15, 15, 15, 15.5, 16.5, 18.5, 22, 28, 37, 40, 36),
        depth=(1.05, 1.05, 1.0, 1, 1, 1, 0.95, 0.85, 0.75, 0.72, 0.72),
        cortex=(5, 5, 4.6, 3.8, 2.8, 1.8, 1.0, 0.8, 0.8),
        spongy=(0.02, 0.02, 0.03, 0.05, 0.08, 0.13, 0.16, 0.16),
        cap_end=(-9, -1.5, 0.5, 0, -3, -11, -3, 0, 0.5, -1.5, -9),
        rims=(2.0, 7.0),
        plate=1.2,
    )


def metacarpal(length: float, girth: float) -> LongBone:
    """Metacarpal of a length in mm, base at (0, 0), head upwards."""
    shape = (7.2, 6.6, 5.0, 4.3, 4.1, 4.1, 4.2, 4.6, 5.8, 7.0, 6.5)
    half = tuple(girth * v for v in shape)
    return LongBone(
        (0, 0),
        (0, -length),
        half,
        half,
        depth=(1.0, 0.95, 0.95, 1.05),
        cortex=(0.6, 1.1, 1.8, 2.0, 1.9, 1.3, 0.6),
        spongy=(0.22, 0.10, 0.04, 0.04, 0.09, 0.22),
        cap_start=(-1.5, 0, -0.8, 0.3, -1.2),
        cap_end=(-5.5, -1.1, 0, -1.1, -5.5),
    )


def phalanx(length: float, girth: float, last: bool) -> LongBone:
    """Phalanx of a length in mm, base at (0, 0), tip upwards; the last one has a tuft."""
    shape: tuple[float, ...] = (7.4, 6.8, 5.4, 4.7, 4.4, 4.3, 4.3, 4.5, 5.2, 5.6, 4.9)
    if last:
        shape = (5.8, 5.4, 4.0, 3.0, 2.6, 2.4, 2.4, 2.7, 3.5, 3.8, 2.6)
    half = tuple(girth * v for v in shape)
    return LongBone(
        (0, 0),
        (0, -length),
        half,
        half,
        depth=(0.85, 0.8, 0.75),
        cortex=(0.6, 1.0, 1.5, 1.6, 1.3, 0.8, 0.5),
        spongy=(0.22, 0.10, 0.06, 0.06, 0.10, 0.22),
        cap_start=(-1.2, 0.2, -0.7, 0.2, -1.2),
        cap_end=(-3.5, -0.8, 0, -0.8, -3.5) if last else (-2.2, 0.1, -0.8, 0.1, -2.2),
    )


def reverse(bone: LongBone) -> LongBone:
    """The same bone described from its other end."""
    return replace(
        bone,
        start=bone.end,
        end=bone.start,
        left=bone.right[::-1],
        right=bone.left[::-1],
        depth=bone.depth[::-1],
        cortex=bone.cortex[::-1],
        spongy=bone.spongy[::-1],
        cap_start=bone.cap_end[::-1],
        rims=bone.rims[::-1],
        cap_end=bone.cap_start[::-1],
        bow=-bone.bow,
    )


def flip(bone: LongBone, shift: tuple[float, float]) -> LongBone:
    """The bone mirrored top to bottom, then moved by ``shift`` in mm."""
    return replace(
        bone,
        start=(bone.start[0] + shift[0], -bone.start[1] + shift[1]),
        end=(bone.end[0] + shift[0], -bone.end[1] + shift[1]),
        left=bone.right,
        right=bone.left,
        bow=-bone.bow,
        cap_start=bone.cap_start[::-1],
        cap_end=bone.cap_end[::-1],
    )
