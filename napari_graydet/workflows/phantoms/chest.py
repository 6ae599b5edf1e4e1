"""A frontal chest: ribcage, lungs with vessels, heart, diaphragm, spine, shoulder girdle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graydet.workflows.phantoms.build import Subject, smooth_noise
from napari_graydet.workflows.phantoms.chest_bones import add_ribs, add_shoulders, add_spine
from napari_graydet.workflows.phantoms.physics import Exposure
from napari_graydet.workflows.phantoms.solids import (
    Scene,
    capsule,
    ellipse,
    smooth_curve,
    trabecular_texture,
    tubes,
)
from napari_graydet.workflows.phantoms.torso import (
    SIDES,
    Torso,
    diaphragm,
    lateral_wall,
    medial_border,
    random_torso,
)

Array = NDArray[Any]


def _body(scene: Scene, torso: Torso) -> tuple[Array, Array]:
    """Thickness of the body (H, W), and half its depth at each height, in mm."""
    y, w = scene.y, torso.width + torso.wall
    top = torso.top
    knots = (
        top - 140,
        top - 62,
        top - 42,
        top - 22,
        top - 2,
        top + 22,
        top + 55,
        top + 95,
        top + 150,
        top + 330,
    )
    half = smooth_curve(knots, (54, 58, 84, 130, 178, 196, 186, w + 14, w, w + 4), y)
    deep = torso.stout * smooth_curve(knots, (52, 56, 60, 66, 76, 88, 98, 106, 114, 122), y)
    r = np.abs(scene.x) / half
    body: Array = 2 * deep * np.clip(1 - r**2.8, 0, None) ** (1 / 2.8)
    return body, deep


def _lungs(scene: Scene, torso: Torso, deep: Array) -> Array:
    """Length of lung tissue along the ray (H, W) in mm; the visible fields become the parts."""
    y = scene.y
    lateral = lateral_wall(torso, y)
    depth = np.maximum(deep - 24 * torso.stout, 10)
    depth = np.minimum(depth, 13.5 * np.sqrt(np.clip(y - torso.top, 0, None)))
    air = np.zeros(scene.shape, np.float32)
    for name, side in SIDES:
        x = scene.x * side
        medial, dome = medial_border(torso, side, y), diaphragm(torso, side, x)
        r = np.clip((x - 0.25 * lateral) / (0.75 * lateral), 0, 1)
        chord = 2 * depth * np.sqrt(1 - r**2.2)
        cage = (x > 0) & (x < lateral) & (y > torso.top)
        field = cage & (x > medial) & (y < dome)
        edge = np.clip((x - medial) / 13 + 0.4, 0, 1)
        behind = np.interp(y, (torso.top + 55, torso.top + 120), (0.1, 0.34))
        behind = behind * np.clip((x - 8) / 26, 0, 1)
        share = behind + (1 - behind) * edge * edge * (3 - 2 * edge)
        below = np.clip((dome - y) / 5 + 0.5, 0, 1)
        recess = 0.42 * np.exp(-np.clip(y - dome, 0, None) / 16)
        share = share * (recess + (1 - recess) * below)
        air += np.where(cage, chord * share, 0)
        scene.names.append(name)
        scene.parts[field] = len(scene.names)
    return air


def _vessels(scene: Scene, torso: Torso, rng: np.random.Generator) -> Array:
    """Blood in the lungs along the ray (H, W) in mm: trees of branching tubes from the hila."""
    radii = (3.8, 3.0, 2.3, 1.75, 1.3, 1.0, 0.75)
    groups: list[list[Array]] = [[] for _ in radii]

    def grow(at: Array, aim: float, tilt: float, level: int) -> None:
        length = (24, 22, 21, 19, 17, 14, 12)[level] * rng.uniform(0.7, 1.4)
        t = np.linspace(0, 1, 6)[:, None]
        bend = rng.normal(0, 0.18)
        angle = aim + bend * t
        step = np.concatenate(
            [
                np.cos(angle) * np.cos(tilt),
                np.sin(angle) * np.cos(tilt),
                np.full_like(t, np.sin(tilt)),
            ],
            axis=1,
        )
        curve = at + np.concatenate([np.zeros((1, 3)), np.cumsum(step[1:], 0)]) * length / 5
        groups[level].append(curve)
        if level + 1 == len(radii):
            return
        for turn in (rng.uniform(-0.6, -0.15), rng.uniform(0.15, 0.6)):
            if level < 2 or rng.random() < 0.86:
                grow(
                    curve[-1],
                    aim + turn,
                    float(np.clip(tilt + rng.normal(0, 0.35), -1, 1)),
                    level + 1,
                )

    for _, side in SIDES:
        hilum = np.array([side * rng.uniform(32, 40), (-14 if side > 0 else -6), 0.0])
        hilum[1] += 0.45 * (torso.dome[0] - 80)
        for aim in (-1.4, -1.0, -0.6, -0.25, 0.1, 0.45, 0.8, 1.1, 1.4):
            aim += rng.normal(0, 0.1)
            angle = aim if side > 0 else np.pi - aim
            grow(
                hilum + rng.normal(0, 6, 3),
                float(angle),
                float(rng.normal(0, 0.4)),
                int(rng.integers(0, 2)),
            )
    blood = np.zeros(scene.shape, np.float32)
    for radius, curves in zip(radii, groups, strict=True):
        if curves:
            blood += tubes(scene, curves, radius)
    return blood


def _airways(scene: Scene, torso: Torso) -> Array:
    """Air in trachea and main bronchi along the ray (H, W) in mm."""
    x, carina = torso.shift, torso.top + 88
    air = capsule(scene, (x, torso.top - 120), (x, carina), 8.3, 8.3)
    for end in ((x - 30, carina + 30), (x + 38, carina + 30)):
        air = np.maximum(air, capsule(scene, (x, carina), end, 7.5, 5.5))
    return 0.85 * air


def _gas(scene: Scene, torso: Torso, rng: np.random.Generator) -> Array:
    """Gas in stomach and colon along the ray (H, W) in mm."""
    air = np.zeros(scene.shape, np.float32)
    bubbles = []
    if rng.random() < 0.6:
        bubbles.append(
            (
                (rng.uniform(45, 80), torso.dome[1] + rng.uniform(20, 34)),
                (rng.uniform(14, 32), rng.uniform(8, 18)),
            )
        )
    for _ in range(int(rng.integers(0, 5))):
        bubbles.append(
            (
                (rng.uniform(-20, 100), torso.dome[1] + rng.uniform(45, 110)),
                (rng.uniform(7, 18), rng.uniform(5, 12)),
            )
        )
    for centre, radii in bubbles:
        rho = ellipse(
            scene,
            (float(centre[0]), float(centre[1])),
            (float(radii[0]), float(radii[1])),
            float(rng.normal(0, 0.3)),
        )
        air = np.maximum(air, 2.6 * radii[1] * np.sqrt(np.clip(1 - rho, 0, None)))
    return np.minimum(air, 45)


def _breasts(scene: Scene, torso: Torso, rng: np.random.Generator) -> Array:
    """Thickness (H, W) in mm that breasts add."""
    out = np.zeros(scene.shape, np.float32)
    thick = rng.uniform(12, 42)
    radius = rng.uniform(48, 74)
    drop = rng.uniform(-10, 25)
    for _, side in SIDES:
        centre = (side * (torso.width * 0.62), torso.dome[0] - 20 + drop)
        rho = ellipse(scene, (centre[0], float(centre[1])), (radius, radius * 0.85))
        above = np.clip((centre[1] + 10 - scene.y) / (2.2 * radius), 0, 1)
        out += thick * np.sqrt(np.clip(1 - rho, 0, None)) * (1 - above)
    return out


def _shadows(scene: Scene, torso: Torso, rng: np.random.Generator) -> Array:
    """Patches of denser lung (infiltrates), in units of the ordinary mottle."""
    out = np.zeros(scene.shape, np.float32)
    rough = smooth_noise(scene.shape, 4 / scene.spacing, rng)
    for _ in range(int(rng.integers(1, 5))):
        centre = (rng.choice([-1, 1]) * rng.uniform(40, 95), rng.uniform(torso.top + 15, 60))
        radii = (float(rng.uniform(8, 32)), float(rng.uniform(8, 32)))
        rho = ellipse(scene, (float(centre[0]), float(centre[1])), radii)
        out += np.float32(rng.uniform(1, 7)) * np.exp(-rho) * np.clip(1 + 0.5 * rough, 0, None)
    return out


def build_chest(rng: np.random.Generator, size: int) -> Subject:
    """A frontal chest radiograph with the two visible lung fields as parts."""
    torso = random_torso(rng)
    shrink = float(rng.uniform(0.55, 0.85)) if rng.random() < 0.12 else 1.0
    field = 2 * torso.width * float(rng.uniform(1.15, 1.55))
    aspect = float(rng.uniform(0.85, 1.15))
    rows, cols = (size, int(size * aspect)) if aspect <= 1 else (int(size / aspect), size)
    scene = Scene(
        (rows, cols),
        field / size,
        (float(rng.normal(0, 7)), float(rng.uniform(-15, 34))),
        float(rng.normal(0, 0.025)),
        False,
        trabecular_texture(rng),
    )
    body, deep = _body(scene, torso)
    scene.soft = body
    if rng.random() < 0.45:
        scene.soft = scene.soft + _breasts(scene, torso, rng)
    for _, side in SIDES:
        arm = rng.uniform(8, 60)
        scene.add_soft(
            capsule(
                scene, (side * 182, torso.top + 35), (side * (190 + arm), torso.top + 240), 46, 40
            )
        )
    air = _lungs(scene, torso, deep)
    lung = air > 0
    blood = _vessels(scene, torso, rng) * np.clip((air - 25) / 90, 0, 1)
    mist = smooth_noise(scene.shape, 10 / scene.spacing, rng)
    fine = smooth_noise(scene.shape, 2.0 / scene.spacing, rng)
    if rng.random() < 0.3:
        mist += _shadows(scene, torso, rng)
    density = 0.26 + 0.045 * mist + 0.012 * fine + 0.04 * np.clip(scene.y / 100, -1, 1)
    tissue = air * np.clip(density, 0.1, 0.6) + np.minimum(blood * rng.uniform(0.7, 1.6), air * 0.8)
    scene.soft = np.where(lung, scene.soft - np.maximum(air - tissue, 0), scene.soft)
    scene.soft = np.maximum(scene.soft - _airways(scene, torso) - _gas(scene, torso, rng), 0)
    scene.soft *= 1 + 0.012 * smooth_noise(scene.shape, 18 / scene.spacing, rng)
    add_spine(scene, torso, rng)
    add_ribs(scene, torso, rng)
    add_shoulders(scene, torso, rng)
    scene.soft = np.maximum(scene.soft, scene.bone)
    scene.soft *= shrink
    scene.bone *= shrink
    scene.spacing *= shrink
    pad = 0.0
    if rng.random() < 0.25:
        pad = 0.5 - (max(torso.dome) + rng.uniform(25, 70) - scene.centre[1]) / (
            rows * field / size
        )
    inset = 0.06 if rng.random() < 0.5 else 0.0
    return Subject(scene, _chest_exposure(rng), "lung", inset, float(np.clip(pad, 0, 0.4)))


def _chest_exposure(rng: np.random.Generator) -> Exposure:
    """Settings for the chest: hard radiation behind a grid, film or computed radiography."""
    film = rng.random() < 0.5
    return Exposure(
        kvp=float(rng.uniform(90, 130)),
        photons=float(np.exp(rng.uniform(np.log(1500), np.log(20000)))),
        scatter=float(rng.uniform(0.1, 0.4)),
        scatter_mm=float(rng.uniform(25, 60)),
        blur_mm=float(rng.uniform(0.2, 0.6)),
        heel=(float(rng.normal(0, 0.1)), float(rng.normal(0, 0.1))),
        latitude=(float(rng.uniform(0.0, 0.05)), float(rng.uniform(0.86 if film else 0.96, 0.99))),
        toe=float(rng.uniform(0.85, 1.05) if film else rng.uniform(0.3, 0.95)),
        headroom=float(rng.uniform(-0.05, 0.12)),
        curve=float(rng.uniform(1.5, 4)) if film else float(rng.uniform(0, 2)),
        gamma=float(rng.uniform(0.8, 1.5) if film else rng.uniform(0.6, 1.1)),
        equalise=0.0 if film else float(rng.uniform(0.15, 0.5)),
        detail=0.0 if film else float(rng.uniform(0.4, 1.6)),
        air=float(rng.uniform(-0.05, 0.1)),
    )
