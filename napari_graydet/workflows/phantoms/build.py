"""The person on the table: size, age, bone quality; and what every anatomy hands over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from napari_graydet.workflows.phantoms.physics import Exposure
from napari_graydet.workflows.phantoms.solids import LongBone, Scene

Array = NDArray[Any]


@dataclass(frozen=True)
class Build:
    """Size and bone quality of a person.

    Attributes
    ----------
    age : float
        Years; below 16 the growth plates are open.
    scale : float
        Length of the limbs relative to an adult.
    stout : float
        Thickness of the soft tissue relative to a lean adult.
    cortex, spongy : float
        Thickness of the shell and mineral of the marrow room, relative.
    """

    age: float
    scale: float
    stout: float
    cortex: float
    spongy: float

    @property
    def growing(self) -> bool:
        """Whether growth plates are open."""
        return self.age < 16

    def bone(self, bone: LongBone) -> LongBone:
        """The adult bone in the size and quality of this person."""
        k = self.scale

        def grow(values: Any, factor: float = k) -> tuple[float, ...]:
            return tuple(float(v) * factor for v in values)

        return replace(
            bone,
            start=(bone.start[0] * k, bone.start[1] * k),
            end=(bone.end[0] * k, bone.end[1] * k),
            left=grow(bone.left),
            right=grow(bone.right),
            bow=bone.bow * k,
            cap_start=grow(bone.cap_start),
            cap_end=grow(bone.cap_end),
            rims=(bone.rims[0] * k, bone.rims[1] * k),
            plate=bone.plate * k,
            cortex=grow(bone.cortex, k * self.cortex),
            spongy=grow(bone.spongy, self.spongy),
        )


@dataclass(frozen=True)
class Subject:
    """A finished scene and how to take its picture.

    Attributes
    ----------
    label : str
        Class of the parts.
    collimator : float
        How far the shutters reach in, as a share of the picture.
    pad : float
        Share of the picture's height that is empty black at the bottom.
    lines : float
        Distance in mm of the wires of a measuring grid on the table, 0 for none.
    """

    scene: Scene
    exposure: Exposure
    label: str
    collimator: float
    pad: float = 0.0
    lines: float = 0.0


def random_build(rng: np.random.Generator, child: float) -> Build:
    """A person; ``child`` is the probability of one below 16 years."""
    age = float(rng.uniform(2, 16) if rng.random() < child else rng.uniform(17, 88))
    scale = (0.40 + 0.60 * min(age, 17) / 17) * rng.uniform(0.93, 1.07)
    frail = np.clip((age - 50) / 40, 0, 1)
    return Build(
        age=age,
        scale=float(scale),
        stout=float(rng.uniform(0.9, 1.3)),
        cortex=float(rng.uniform(0.65, 1.15) * (1 - 0.35 * frail)),
        spongy=float(rng.uniform(0.7, 1.35) * (1 - 0.4 * frail)),
    )


def smooth_noise(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> Array:
    """Noise (H, W) of standard deviation about 1 that varies over ``sigma`` pixels."""
    step = max(sigma / 3, 1.0)
    small = [max(int(np.ceil(n / step)) + 1, 2) for n in shape]
    coarse = gaussian_filter(rng.standard_normal(small), sigma / step)
    coarse /= coarse.std() + 1e-9
    fine = zoom(
        coarse, (shape[0] / small[0], shape[1] / small[1]), order=1, grid_mode=True, mode="nearest"
    )
    out: Array = fine[: shape[0], : shape[1]].astype(np.float32)
    return out


def dress(scene: Scene, radius: float, fat: float, rng: np.random.Generator) -> None:
    """Turn the soft tissue of a limb into muscle under a layer of ``fat`` mm and skin.

    A chord c of a cylinder of radius R has the chord sqrt(c^2 - 4 (R^2 - r^2)) in the muscle of
    radius r inside it; fat attenuates about 0.85 times as much as muscle.
    """
    inner = max(radius - fat, 0.1)
    muscle = np.sqrt(np.maximum(scene.soft**2 - 4 * (radius**2 - inner**2), 0))
    strand = smooth_noise(scene.shape, 5 / scene.spacing, rng)
    fine = smooth_noise(scene.shape, 1.5 / scene.spacing, rng)
    muscle *= 1 + 0.03 * strand + 0.012 * fine
    scene.soft = np.maximum(0.85 * scene.soft + 0.15 * muscle, scene.bone + 0.5 * (scene.bone > 0))


def limb_exposure(rng: np.random.Generator, thick: bool = False) -> Exposure:
    """Settings for extremities: soft radiation on film, computed or direct radiography.

    Parameters
    ----------
    thick : bool
        A leg in place of an arm: harder radiation, more scatter.
    """
    u = rng.uniform
    style = rng.random()
    film, direct = style < 0.4, style > 0.75
    processed = not (film or direct)
    return Exposure(
        kvp=float(u(52, 72) if thick else u(46, 66)),
        photons=float(np.exp(u(np.log(900), np.log(15000)))),
        scatter=float(u(0.15, 0.6) if thick else u(0.03, 0.25)),
        scatter_mm=float(u(12, 30)),
        blur_mm=float(u(0.3, 0.9) if thick and rng.random() < 0.3 else u(0.08, 0.28)),
        heel=(float(rng.normal(0, 0.12)), float(rng.normal(0, 0.12))),
        latitude=(float(u(0.02, 0.15)), float(u(0.985, 1))),
        toe=float(u(0.0, 0.2) if direct or rng.random() < 0.6 else u(0.1, 0.6)),
        headroom=float(u(0.2, 1.6) ** 2 if direct else u(-0.08, 0.25)),
        curve=float(u(1, 3.5)) if film else 0.0,
        gamma=float(u(0.65, 1.25)),
        equalise=float(u(0.1, 0.5)) if processed else 0.0,
        detail=float(u(0.3, 1.5)) if processed else 0.0,
        air=float(u(-0.08, 0.2)),
    )
