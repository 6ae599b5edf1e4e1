"""What the box detector learns from: parts of images, disturbed anew at every draw.

ROI edges jitter as a detector's do; tone curves and noise stand for other machines and exposures.
A tone curve rises, so pixels inside a gray range stay inside the mapped range: the transform is
exact for ranges (METHOD.md, section 3, "Gamma augmentation").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.grayscale import LEVELS, GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GeometryError
from napari_graydet.models.boxes.detector import RoiInput

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CROP = 160
"""Longer side in pixels at which a training ROI is kept."""

_BENDS = 6
"""Straight pieces of a tone curve's bend."""

SURROUND = 0.25
"""How much of the surroundings a crop keeps on each side, for jitter."""


@dataclass(frozen=True, eq=False)
class BoxSample:
    """One part to learn from: a small crop around its ROI.

    Parameters
    ----------
    unit
        (h, w) float32 gray, 0 black to 1 white.
    mask
        (h, w) bool, pixels of the label.
    roi
        The true ROI in pixels of the crop.
    class_id
        Position of the label among the classes.
    group
        Where it comes from; all groups are drawn equally often.
    """

    unit: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    roi: RoiBox
    class_id: int
    group: str

    @property
    def shows_something(self) -> bool:
        """Whether a pixel of the mask lies in the ROI: a thin part can vanish in a crop."""
        height, width = self.mask.shape
        return bool(self.mask[self.roi.slices((height, width))].any())


def crop_sample(
    image: GrayImage, mask: npt.NDArray[np.bool_], roi: RoiBox, class_id: int, group: str
) -> BoxSample:
    """Cut an ROI with its surroundings out of an image, every n-th pixel, so that grays stay."""
    window = roi.grow(SURROUND, image.shape)
    step = max(1.0, max(roi.width, roi.height) / CROP)
    r, c = (
        np.minimum((start + (np.arange(max(1, int((stop - start) / step))) + 0.5) * step), end - 1)
        for start, stop, end in (
            (window.y0, window.y1, image.height),
            (window.x0, window.x1, image.width),
        )
    )
    at = np.ix_(r.astype(np.intp), c.astype(np.intp))
    inner = [(v - w) / step for v, w in zip(roi.xyxy, window.xyxy[:2] * 2, strict=True)]
    unit = image.scale.to_unit(image.pixels[at]).astype(np.float32)
    shape = (unit.shape[0], unit.shape[1])
    return BoxSample(unit, mask[at], RoiBox(*inner).at_least_a_pixel(shape), class_id, group)


@dataclass(frozen=True)
class Disturbance:
    """How much a drawn ROI differs from its sample.

    Parameters
    ----------
    jitter
        Standard deviation by which ROI edges move, as a share of the ROI's size; a third of the
        ROIs are left as they are.
    gamma
        Standard deviation of the logarithm of the gamma.
    straightness
        Concentration of the tone curve's slopes; larger bends less, infinity not at all.
    window
        By how much black and white move at most, unit gray.
    noise
        Largest standard deviation of added gray noise, unit gray.
    pose
        Whether clouds are mirrored and turned by quarters: masks and grays are the same from
        every side.
    inverted
        Share of ROIs whose black and white change places.
    """

    jitter: float = 0.06
    gamma: float = 0.45
    straightness: float = 8.0
    window: float = 0.12
    noise: float = 0.02
    pose: bool = False
    inverted: float = 0.0

    @classmethod
    def of_roi_only(cls, jitter: float = 0.06) -> Disturbance:
        """Move the ROI's edges and leave grays as they are."""
        return cls(jitter=jitter, gamma=0.0, straightness=np.inf, window=0.0, noise=0.0)


def jitter_roi(roi: RoiBox, shape: tuple[int, int], sd: float, rng: np.random.Generator) -> RoiBox:
    """Move each edge by a normal share of the size (at most two deviations), inside the crop.

    An ROI so narrow that no pixel would be left stays as it is.
    """
    dx0, dy0, dx1, dy1 = np.clip(rng.normal(0, sd, 4), -2 * sd, 2 * sd)
    w, h = roi.width, roi.height
    moved = RoiBox(roi.x0 + dx0 * w, roi.y0 + dy0 * h, roi.x1 + dx1 * w, roi.y1 + dy1 * h)
    try:
        return moved.clip(shape)
    except GeometryError:
        return roi


def tone_curve(disturbance: Disturbance, rng: np.random.Generator) -> Float:
    """Draw a rising curve from unit gray to unit gray, sampled at 257 equally spaced grays.

    A gamma, then a bend (its slopes are drawn from a Dirichlet distribution), then a window that
    leaves part of black and white unused or clips it: what other machines and exposures do.
    """
    gray = np.linspace(0, 1, LEVELS + 1) ** np.exp(rng.normal(0, disturbance.gamma))
    if np.isfinite(disturbance.straightness):
        rises = rng.dirichlet(np.full(_BENDS, disturbance.straightness))
        bend = np.concatenate([[0], np.cumsum(rises)])
        gray = np.interp(gray, np.linspace(0, 1, _BENDS + 1), bend)
    black, white = rng.uniform(-1, 1, 2) * disturbance.window
    return np.asarray(np.clip(black + gray * (1 + white - black), 0, 1))


def disturb_gray(
    unit: npt.NDArray[np.float32], disturbance: Disturbance, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Change exposure by a tone curve and add noise; the result stays in 0..1."""
    curve = tone_curve(disturbance, rng)
    out = np.interp(unit, np.linspace(0, 1, len(curve)), curve).astype(np.float32)
    noise = rng.uniform(0, disturbance.noise)
    out += rng.standard_normal(unit.shape, dtype=np.float32) * np.float32(noise)
    return np.asarray(np.clip(out, 0, 1), dtype=np.float32)


def levels_of(unit: npt.NDArray[np.floating]) -> Ints:
    """Quantise unit gray to levels 0..255, as GrayScale.to_levels does."""
    return np.minimum((unit * LEVELS).astype(np.int64), LEVELS - 1)


@dataclass(frozen=True, eq=False)
class DrawnRoi:
    """An ROI as the network sees it, and the truth about its gray levels.

    Parameters
    ----------
    seen
        The network's input.
    inside, outside
        (L,) numbers of true and of other pixels at each level.
    class_id
        What it shows.
    """

    seen: RoiInput
    inside: Ints
    outside: Ints
    class_id: int


def draw_roi(
    sample: BoxSample, points: int, disturbance: Disturbance, rng: np.random.Generator
) -> DrawnRoi | None:
    """Draw a disturbed ROI of a sample; None if no pixel of the mask is left in it."""
    shape = (sample.unit.shape[0], sample.unit.shape[1])
    jitter = rng.random() > 1 / 3
    roi = jitter_roi(sample.roi, shape, disturbance.jitter, rng) if jitter else sample.roi
    window = roi.slices(shape)
    unit, mask = sample.unit[window], sample.mask[window]
    if not mask.any():
        return None
    if disturbance.inverted and rng.random() < disturbance.inverted:
        unit = 1 - unit
    unit = disturb_gray(unit, disturbance, rng)
    levels = levels_of(unit)
    inside = np.bincount(levels[mask], minlength=LEVELS)
    outside = np.bincount(levels[~mask], minlength=LEVELS)
    h, w = unit.shape
    r, c = np.divmod(_stratified(h * w, points, rng), w)
    x, y = (c + 0.5) / w * 2 - 1, (r + 0.5) / h * 2 - 1
    if disturbance.pose:
        x, y = _turned(x, y, rng)
    cloud = np.stack([x, y, unit[r, c] * 2 - 1], axis=1).astype(np.float32)
    histogram = ((inside + outside) / (h * w)).astype(np.float32)
    return DrawnRoi(RoiInput(cloud, levels[r, c], histogram), inside, outside, sample.class_id)


def _turned(x: Float, y: Float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Mirror and turn by quarters: one of the eight poses of a square."""
    mirror_x, mirror_y, transpose = rng.integers(0, 2, 3) == 1
    x, y = (-x if mirror_x else x), (-y if mirror_y else y)
    return (y, x) if transpose else (x, y)


def _stratified(total: int, count: int, rng: np.random.Generator) -> Ints:
    """Choose `count` of `total` row-major pixels, one in each of equal runs."""
    return ((np.arange(count) + rng.random(count)) * total / count).astype(np.int64)


def draw_rois(
    samples: Sequence[BoxSample],
    count: int,
    points: int,
    disturbance: Disturbance,
    rng: np.random.Generator,
) -> list[DrawnRoi]:
    """Draw disturbed ROIs, every group of samples equally often."""
    groups: dict[str, list[BoxSample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    names = sorted(groups)
    rois: list[DrawnRoi] = []
    while len(rois) < count:
        group = groups[names[rng.integers(len(names))]]
        roi = draw_roi(group[rng.integers(len(group))], points, disturbance, rng)
        if roi is not None:
            rois.append(roi)
    return rois
