"""A frontal chest: ribcage, lungs with vessels, heart, diaphragm, spine, shoulder girdle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.draw import polygon2mask

from napari_graydet.workflows.phantoms.build import Subject, smooth_noise
from napari_graydet.workflows.phantoms.physics import Exposure
from napari_graydet.workflows.phantoms.solids import (
    Blob,
    LongBone,
    Scene,
    capsule,
    ellipse,
    smooth_curve,
    trabecular_texture,
    tubes,
)

Array = NDArray[Any]
_SIDES = (("right lung", -1), ("left lung", 1))


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


def _random_torso(rng: np.random.Generator) -> Torso:
    right = float(rng.uniform(62, 102))
    return Torso(
        width=float(rng.uniform(118, 146)),
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


def _lateral(torso: Torso, y: Array) -> Array:
    """Inner half-width of the ribcage at height y."""
    w = torso.width
    knots = (0, 1.5, 5, 12, 25, 50, 95, 150, 200, 260, 330)
    shape = (0.34, 0.42, 0.49, 0.565, 0.65, 0.775, 0.90, 0.97, 1.0, 1.01, 0.99)
    return smooth_curve(knots, [v * w for v in shape], y - torso.top)


def _medial(torso: Torso, side: int, y: Array) -> Array:
    """Distance of the mediastinal border from the midline at height y."""
    h = torso.heart
    apex = 0.36 * torso.width
    # Heights are relative to the apex; the heart hangs on the dome below it.
    span = torso.dome[0 if side < 0 else 1] - torso.top
    if side < 0:
        at = (0, 1.5, 5, 12, 22, 45, 0.40, 0.50, 0.60, 0.76, 0.92, 1.05)
        shape = (apex, apex - 9, apex - 16, apex - 21, 24, 21, 22, 30, 31 * h, 42 * h, 37 * h, 26)
    else:
        at = (0, 1.5, 5, 12, 22, 40, 0.29, 0.39, 0.47, 0.60, 0.76, 0.90, 0.99, 1.10)
        low = (33, 50 * h, 76 * h, 89 * h, 87 * h, 76 * h)
        shape = (apex, apex - 9, apex - 15, apex - 20, 25, 24, 33, 28, *low)
    knots = [v if v >= 2 or i < 2 else v * span for i, v in enumerate(at)]
    wave = _wave(torso, y + 500 * side) * np.clip((y - torso.top - 20) / 30, 0, 1)
    return smooth_curve(knots, shape, y - torso.top) + wave + np.float32(side * torso.shift)


def _wave(torso: Torso, at: Array) -> Array:
    """Unevenness in mm of a border along its course."""
    out = np.zeros_like(at)
    for amplitude, period, phase in torso.waves:
        out += np.float32(amplitude) * np.sin(at * np.float32(2 * np.pi / period) + phase)
    return out


def _dome(torso: Torso, side: int, x: Array) -> Array:
    """Height of the diaphragm at the distance x from the midline."""
    w, s = torso.width, torso.sulcus
    knots = (0.0, 0.2 * w, 0.45 * w, 0.65 * w, 0.82 * w, 0.95 * w, 1.03 * w)
    shape = (12.0, 5.0, 0.0, 4.0, 0.32 * s, 0.78 * s, 1.05 * s)
    level = torso.dome[0 if side < 0 else 1]
    return smooth_curve(knots, shape, x) + np.float32(level) + _wave(torso, x + 300 * side)


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
    lateral = _lateral(torso, y)
    depth = np.maximum(deep - 24 * torso.stout, 10)
    depth = np.minimum(depth, 13.5 * np.sqrt(np.clip(y - torso.top, 0, None)))
    air = np.zeros(scene.shape, np.float32)
    for name, side in _SIDES:
        x = scene.x * side
        medial, dome = _medial(torso, side, y), _dome(torso, side, x)
        r = np.clip((x - 0.25 * lateral) / (0.75 * lateral), 0, 1)
        chord = 2 * depth * np.sqrt(1 - r**2.2)
        cage = (x > 0) & (x < lateral) & (y > torso.top)
        field = cage & (x > medial) & (y < dome)
        edge = np.clip((x - medial) / 9 + 0.45, 0, 1)
        behind = np.interp(y, (torso.top + 55, torso.top + 120), (0.1, 0.34))
        behind = behind * np.clip((x - 8) / 26, 0, 1)
        share = behind + (1 - behind) * edge * edge * (3 - 2 * edge)
        below = np.clip((dome - y) / 3 + 0.5, 0, 1)
        recess = 0.42 * np.exp(-np.clip(y - dome, 0, None) / 16)
        share = share * (recess + (1 - recess) * below)
        air += np.where(cage, chord * share, 0)
        scene.names.append(name)
        scene.parts[field] = len(scene.names)
    return air


def _vessels(scene: Scene, torso: Torso, rng: np.random.Generator) -> Array:
    """Blood in the lungs along the ray (H, W) in mm: trees of branching tubes from the hila."""
    radii = (4.6, 3.4, 2.5, 1.85, 1.35, 1.0, 0.75)
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

    for _, side in _SIDES:
        hilum = np.array([side * rng.uniform(32, 40), (-14 if side > 0 else -6), 0.0])
        hilum[1] += 0.45 * (torso.dome[0] - 80)
        for aim in (-1.35, -0.75, -0.2, 0.35, 0.85, 1.3):
            aim += rng.normal(0, 0.1)
            angle = aim if side > 0 else np.pi - aim
            grow(
                hilum + rng.normal(0, 3, 3),
                float(angle),
                float(rng.normal(0, 0.4)),
                int(rng.integers(0, 2)),
            )
    blood = np.zeros(scene.shape, np.float32)
    for radius, curves in zip(radii, groups, strict=True):
        if curves:
            blood += tubes(scene, curves, radius)
    return blood


def _ribs(scene: Scene, torso: Torso, rng: np.random.Generator) -> None:
    """Eleven pairs of ribs as tilted rings around the cage."""
    curves = []
    pitch = rng.uniform(22.5, 26.5)
    slope = rng.uniform(0.85, 1.2)
    for number in range(11):
        spine_y = torso.top - (14 if number == 0 else 8) + pitch * number
        drop = slope * np.interp(number, (0, 2, 6, 10), (30, 62, 98, 108))
        phi = np.linspace(
            0.06, (2.75, 2.6, 2.5, 2.5, 2.45, 2.4, 2.3, 2.2, 2.1, 1.9, 1.6)[number], 60
        )
        lateral = float(_lateral(torso, np.array([spine_y + drop / 2]))[0]) + 5
        for _, side in _SIDES:
            wave = 5 * np.sin(2 * phi)
            x = side * (14 + (lateral - 14) * np.sin(phi) ** 0.8) + torso.shift * 0.5 * np.cos(phi)
            y = spine_y + drop * (1 - np.cos(phi)) / 2 - wave + rng.normal(0, 1.0)
            curves.append(np.stack([x, y, -80 * np.cos(phi)], axis=1))
    radius = rng.uniform(5.6, 7.2)
    flat = 0.6
    outer = tubes(scene, curves, radius) * flat
    inner = tubes(scene, curves, radius - rng.uniform(1.0, 1.5)) * flat
    mineral = np.maximum(outer - inner * (1 - rng.uniform(0.15, 0.32)), 0)
    scene.bone += np.minimum(mineral, 12) * np.float32(rng.uniform(0.8, 1.2))


def _shoulders(scene: Scene, torso: Torso, rng: np.random.Generator) -> None:
    """Clavicles, scapulae and proximal humeri."""
    rise = rng.uniform(-6, 22)
    spread = rng.uniform(-6, 10)
    clavicles, borders = [], []
    for _, side in _SIDES:
        t = np.linspace(0, 1, 40)
        x = side * (13 + 145 * t) + torso.shift
        y = torso.top + 34 - rise * t - 14 * t - 7 * np.sin(2 * np.pi * t) + rng.normal(0, 2)
        clavicles.append(np.stack([x, y, 8 * np.sin(2 * np.pi * t)], axis=1))
        corner = np.array([[104, -2], [116, 118], [160, 30], [150, 8]], float)
        corner[:, 0] = side * (corner[:, 0] + spread + torso.width - 130)
        corner[:, 1] += torso.top + rng.normal(0, 2)
        blade = polygon2mask(scene.shape, scene.to_pixels(corner)[:, ::-1])
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
                spongy=(0.1, 0.05, 0.02),
            )
        )
    outer, inner = tubes(scene, clavicles, 6.8), tubes(scene, clavicles, 5.2)
    scene.bone += outer - 0.66 * np.minimum(inner, outer)
    scene.bone += 0.6 * tubes(scene, borders, 2.6)


def _spine(scene: Scene, torso: Torso, rng: np.random.Generator) -> None:
    """Vertebral bodies with pedicles and spinous processes, and the sternum."""
    pitch = rng.uniform(22, 26)
    lean = rng.normal(0, 0.012)
    for number in range(-4, 16):
        y = torso.top - 18 + pitch * number
        x = torso.shift * 0.4 + lean * y
        half = float(np.interp(number, (-4, 2, 15), (12, 15, 23)))
        scene.add_bone(
            Blob((x, y), (half, pitch / 2 - 2.2), 0.85 * half, power=3.6, cortex=0.55, spongy=0.11)
        )
        for side in (-1, 1):
            scene.add_bone(
                Blob((x + side * 0.62 * half, y - 2), (3.6, 5), 5, cortex=0.7, spongy=0.1)
            )
        scene.add_bone(Blob((x + torso.shift * 0.5, y + 9), (3.2, 6.5), 8, cortex=0.5, spongy=0.08))


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
    for _, side in _SIDES:
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
    torso = _random_torso(rng)
    shrink = float(rng.uniform(0.55, 0.85)) if rng.random() < 0.12 else 1.0
    field = 2 * torso.width * float(rng.uniform(1.15, 1.55))
    aspect = float(rng.uniform(0.85, 1.15))
    rows, cols = (size, int(size * aspect)) if aspect <= 1 else (int(size / aspect), size)
    scene = Scene(
        (rows, cols),
        field / size,
        (float(rng.normal(0, 7)), float(rng.uniform(-22, 25))),
        float(rng.normal(0, 0.025)),
        False,
        trabecular_texture(rng),
    )
    body, deep = _body(scene, torso)
    scene.soft = body
    if rng.random() < 0.45:
        scene.soft = scene.soft + _breasts(scene, torso, rng)
    for _, side in _SIDES:
        arm = rng.uniform(8, 60)
        scene.add_soft(
            capsule(
                scene, (side * 182, torso.top + 35), (side * (190 + arm), torso.top + 240), 46, 40
            )
        )
    air = _lungs(scene, torso, deep)
    lung = air > 0
    blood = _vessels(scene, torso, rng) * np.clip(air / 60, 0, 1)
    mist = smooth_noise(scene.shape, 10 / scene.spacing, rng)
    fine = smooth_noise(scene.shape, 2.0 / scene.spacing, rng)
    if rng.random() < 0.3:
        mist += _shadows(scene, torso, rng)
    density = 0.26 + 0.03 * mist + 0.012 * fine + 0.04 * np.clip(scene.y / 100, -1, 1)
    tissue = air * np.clip(density, 0.1, 0.6) + np.minimum(blood * rng.uniform(0.8, 2.0), air * 0.8)
    scene.soft = np.where(lung, scene.soft - np.maximum(air - tissue, 0), scene.soft)
    scene.soft = np.maximum(scene.soft - _airways(scene, torso) - _gas(scene, torso, rng), 0)
    scene.soft *= 1 + 0.012 * smooth_noise(scene.shape, 18 / scene.spacing, rng)
    _spine(scene, torso, rng)
    _ribs(scene, torso, rng)
    _shoulders(scene, torso, rng)
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
