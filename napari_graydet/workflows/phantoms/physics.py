"""From path lengths to stored values: Beer-Lambert, scatter, blur, noise, display curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Array = NDArray[Any]

# Linear attenuation in 1/mm (NIST XCOM: ICRU-44 soft tissue 1.06 g/cm3, cortical bone 1.92 g/cm3,
# iron 7.87 g/cm3) at these photon energies in keV.
_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
_SOFT = (0.0872, 0.0402, 0.0286, 0.0240, 0.0217, 0.0193, 0.0179)
_BONE = (0.7680, 0.2556, 0.1278, 0.0814, 0.0605, 0.0428, 0.0356)
_METAL = (20.2, 6.43, 2.86, 1.54, 0.948, 0.468, 0.292)


@dataclass(frozen=True)
class Exposure:
    """How one radiograph is taken and shown.

    Attributes
    ----------
    kvp : float
        Tube voltage in kV; sets the contrast of bone against soft tissue.
    photons : float
        Detected photons per pixel behind the middle of the body.
    scatter : float
        Scattered light relative to the primary.
    scatter_mm, blur_mm : float
        Standard deviations of scatter spread and detector blur.
    heel : (along, across)
        Relative fall of the beam from edge to edge, columns and rows.
    latitude : (low, high)
        Quantiles of the exposed body that are shown as black and white.
    toe : float
        Where black lies between free air, 0, and the low quantile, 1.
    headroom : float
        White lies this much of the window above the high quantile.
    curve : float
        Steepness of the film curve, 0 for a linear one.
    gamma : float
        Exponent after the curve.
    equalise : float
        Share of the broad gray differences taken away, as computed radiography does, 0..1.
    detail : float
        Gain on fine structure, 0 for none.
    air : float
        Smallest attenuation shown as black, relative to the window: above 0 keeps air gray.
    """

    kvp: float
    photons: float
    scatter: float
    scatter_mm: float
    blur_mm: float
    heel: tuple[float, float]
    latitude: tuple[float, float]
    toe: float
    headroom: float
    curve: float
    gamma: float
    equalise: float
    detail: float
    air: float


def attenuation(material: Sequence[float], kev: float) -> float:
    """Linear attenuation in 1/mm at an energy in keV, log-log between the tabulated ones."""
    return float(np.exp(np.interp(np.log(kev), np.log(_KEV), np.log(material))))


def transmission(soft: Array, bone: Array, metal: Array, kvp: float) -> Array:
    """Primary light behind the body, 1 for none, by the Beer-Lambert law.

    Two lines stand for the spectrum, so thick parts harden the beam as they really do.

    Parameters
    ----------
    soft, bone, metal : (H, W) float32
        Path lengths in mm; ``soft`` is the whole body, bone and metal replace soft tissue.
    kvp : float
        Tube voltage in kV.
    """
    total = np.zeros(soft.shape, np.float32)
    for share, weight in ((0.45, 0.5), (0.62, 0.5)):
        kev = share * kvp
        mu_soft, mu_bone = attenuation(_SOFT, kev), attenuation(_BONE, kev)
        tissue = np.maximum(soft - bone - metal, 0)
        depth = mu_soft * tissue + mu_bone * bone + attenuation(_METAL, kev) * metal
        total += np.float32(weight) * np.exp(-depth)
    return total


def broad_blur(image: Array, sigma: float) -> Array:
    """Gaussian blur of a large ``sigma`` in pixels, computed on a coarser grid."""
    step = max(int(sigma / 4), 1)
    if step == 1:
        out: Array = gaussian_filter(image, sigma, mode="nearest")
        return out
    pad = [(0, -n % step) for n in image.shape]
    padded = np.pad(image, pad, mode="edge")
    rows, cols = padded.shape[0] // step, padded.shape[1] // step
    coarse = padded.reshape(rows, step, cols, step).mean((1, 3))
    coarse = gaussian_filter(coarse, sigma / step, mode="nearest")
    fine = zoom(coarse, step, order=1, mode="nearest", grid_mode=True)
    out = fine[: image.shape[0], : image.shape[1]]
    return out


def detect(
    primary: Array,
    body: Array,
    field_of_view: Array,
    exposure: Exposure,
    spacing: float,
    rng: np.random.Generator,
) -> Array:
    """Attenuation as the detector sees it: minus log of the detected light, (H, W) float32.

    Parameters
    ----------
    primary : (H, W)
        Transmission.
    body : (H, W) bool
        Where the exposed body is.
    field_of_view : (H, W)
        Beam at each pixel, 1 inside the collimator.
    spacing : float
        Pixel size in mm.
    """
    height, width = primary.shape
    rows = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    cols = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    beam = np.exp(exposure.heel[0] * cols + exposure.heel[1] * rows - 0.15 * (rows**2 + cols**2))
    light = primary * beam * field_of_view
    broad = broad_blur(light, exposure.scatter_mm / spacing)
    light = light + exposure.scatter * broad
    light = gaussian_filter(light, max(exposure.blur_mm / spacing, 0.35))
    noise = rng.standard_normal(light.shape, np.float32)
    noise = gaussian_filter(noise, 0.5) * np.float32(1.7)
    middle = float(np.median(light[body])) if body.any() else 1.0
    light = light + noise * np.sqrt(np.maximum(light, 1e-6) * middle / exposure.photons)
    out: Array = -np.log(np.maximum(light, 2e-5)).astype(np.float32)
    return out


def display(optical: Array, body: Array, exposure: Exposure, spacing: float) -> Array:
    """Film-like gray (H, W) in 0..1, bone bright, from the attenuation the detector saw."""
    inside = optical[body] if body.any() else optical.ravel()
    low, white = (float(v) for v in np.quantile(inside[::7], exposure.latitude))
    air = float(np.quantile(optical[::5, ::5], 0.01))
    black = air + exposure.toe * (low - air)
    span = max((white - black) * (1 + exposure.headroom), 0.05)
    unit = (optical - black) / span
    if exposure.equalise or exposure.detail:
        broad = broad_blur(np.clip(unit, -0.3, 1.3), 12.0 / spacing)
        fine = unit - gaussian_filter(unit, max(0.8 / spacing, 1.0))
        level = float(np.median(broad[body])) if body.any() else 0.5
        unit = unit - exposure.equalise * (broad - level) + exposure.detail * fine
    unit = exposure.air + (1 - exposure.air) * unit
    if exposure.curve > 0:
        k = exposure.curve
        low, high = 1 / (1 + np.exp(k / 2)), 1 / (1 + np.exp(-k / 2))
        unit = (1 / (1 + np.exp(-k * (np.clip(unit, -1, 2) - 0.5))) - low) / (high - low)
    out: Array = np.clip(unit, 0, 1) ** np.float32(exposure.gamma)
    return out


def quantise(gray: Array, bits: int, monochrome1: bool) -> Array:
    """Stored values (H, W), uint8 or uint16, of gray in 0..1."""
    top = (1 << bits) - 1
    stored = np.rint(np.clip(gray, 0, 1) * top)
    if monochrome1:
        stored = top - stored
    out: Array = stored.astype(np.uint8 if bits == 8 else np.uint16)
    return out
