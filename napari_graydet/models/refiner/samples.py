"""What a refiner learns from: parts of images, warped, exposed and framed anew at every draw.

The box comes along, disturbed as a detector's, so that a point head learns to correct boxes rather
than to trust them; U-Nets on YOLO's backbone learn without (docs/decisions/0018).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from napari_graydet.core.boxes import bilinear
from napari_graydet.core.ceiling import best_range_of_counts
from napari_graydet.core.grayscale import LEVELS, GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import ModelError
from napari_graydet.models.boxes.samples import Disturbance, jitter_roi, levels_of, tone_curve
from napari_graydet.models.refiner.model import SCENE, RefinerKind
from napari_graydet.models.refiner.patch import (
    Cut,
    Float32,
    Floats,
    Frame,
    Mask,
    channels,
    cut_out,
    look,
)
from napari_graydet.models.roi.metrics import RoiSample

_SURROUND = 0.45
"""How much of the surroundings, of the ROI's size, training cuts keep on each side."""

_ELSEWHERE = 4
"""To so many true ROIs comes one at another place: detectors are wrong at times, and then there is
nothing to draw, or only the edge of a part."""

_TRIES, _MOST_COMMON = 20, 0.2


class RefinerImage(RoiSample, Protocol):
    """What training needs to know about an image; a `Sample` of core/sample.py."""

    @property
    def mask(self) -> Mask:
        """The (H, W) true mask of the label."""
        ...


@dataclass(frozen=True, eq=False)
class RefinerSample:
    """One part to learn from.

    Parameters
    ----------
    cut
        Unit gray and mask around the ROI, float16.
    roi
        The true ROI in image coordinates.
    edges
        Bottom and top in unit gray of the best range in the ROI.
    class_id
        Position of the label among the classes.
    group
        Where it comes from.
    """

    cut: Cut
    roi: RoiBox
    edges: tuple[float, float]
    class_id: int
    group: str


@dataclass(frozen=True, eq=False)
class RefinerSamples:
    """What refiners learn from: parts of images, and whole ones for who looks at the scene."""

    parts: list[RefinerSample]
    scenes: list[RefinerSample]

    def of(self, kind: RefinerKind) -> list[RefinerSample]:
        """Return those for a kind of network."""
        return self.scenes if kind == SCENE else self.parts


def refiner_samples(
    images: Iterable[RefinerImage], classes: Sequence[str], frame: Frame
) -> RefinerSamples:
    """Cut the parts of images out; parts without a pixel of the mask are left out.

    Some ROIs at other places are added (see `_ELSEWHERE`), always the same ones. Images are looked
    at one after the other, none is kept.

    Raises
    ------
    ModelError
        If a label is not among the classes.
    """
    samples = RefinerSamples([], [])
    rng, true = np.random.default_rng(0), 0
    for source in images:
        if source.label not in classes:
            raise ModelError(
                f"An image is labelled {source.label!r}; expected {', '.join(classes)}."
            )
        mask, class_id = source.mask, list(classes).index(source.label)
        rois = source.rois
        found = [(roi, _best_edges(source.image, mask, roi)) for roi in rois]
        wanted = (true + len(rois)) // _ELSEWHERE - true // _ELSEWHERE
        true += len(rois)
        others = elsewhere(rois, source.image.shape, wanted, rng)
        found += [(roi, _any_edges(source.image, roi, rng)) for roi in others]
        for roi, edges in found:
            if edges is not None:
                cut = _small(cut_out(source.image, roi, frame, _SURROUND, mask))
                samples.parts.append(RefinerSample(cut, roi, edges, class_id, source.kind))
        if mask.any():
            roi = RoiBox.of_image(source.image.shape)
            cut = _small(cut_out(source.image, roi, frame.scene, 0.0, mask))
            samples.scenes.append(RefinerSample(cut, roi, (0.0, 1.0), class_id, source.kind))
    return samples


def _small(cut: Cut) -> Cut:
    """Return a cut in half precision: training keeps all of them in memory."""
    return Cut(cut.layers.half(), cut.origin, cut.step)


def elsewhere(
    rois: Sequence[RoiBox], shape: tuple[int, int], count: int, rng: np.random.Generator
) -> list[RoiBox]:
    """Draw ROIs of about the size of true ones that have little in common with any.

    Parameters
    ----------
    rois
        The true ones.
    shape
        Of the image.
    count
        How many; fewer where there is no room.
    rng
        Chooses.
    """
    found: list[RoiBox] = []
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        like, scale = rois[int(rng.integers(len(rois)))], rng.uniform(0.5, 1.2, 2)
        width, height = min(like.width * scale[0], shape[1]), min(like.height * scale[1], shape[0])
        x, y = rng.uniform(0, (shape[1] - width, shape[0] - height))
        drawn = RoiBox(x, y, x + width, y + height)
        if min(width, height) >= 2 and all(drawn.iou(roi) <= _MOST_COMMON for roi in rois):
            found.append(drawn)
    return found


def _any_edges(image: GrayImage, roi: RoiBox, rng: np.random.Generator) -> tuple[float, float]:
    """Return some range of an ROI's grays: what a detector gives where nothing is to be found."""
    units = image.scale.to_unit(image.pixels[roi.clip(image.shape).slices(image.shape)])
    low, high = np.quantile(units, np.sort(rng.uniform(0, 1, 2)))
    return float(low), float(high)


def _best_edges(image: GrayImage, mask: Mask, roi: RoiBox) -> tuple[float, float] | None:
    window = roi.clip(image.shape).slices(image.shape)
    inside = mask[window]
    if not inside.any():
        return None
    levels = levels_of(image.scale.to_unit(image.pixels[window]))
    true, other = (np.bincount(levels[m], minlength=LEVELS) for m in (inside, ~inside))
    low, high, _ = best_range_of_counts(true, other)
    return low / LEVELS, (high + 1) / LEVELS


@dataclass(frozen=True)
class Augmentation:
    """How much a drawn patch differs from its sample.

    Parameters
    ----------
    gray
        ROI jitter, tone curves and noise, as for the box detector.
    turn
        Standard deviation of the rotation, degrees.
    bend
        Standard deviation of a smooth displacement, as a share of the ROI's size.
    flip
        Chance of a mirror image.
    invert
        Chance of a negative, for files whose tag is wrong.
    no_box
        Chance that the patch comes without a box; that of a U-Net on YOLO's backbone always does.
    blur
        Chance that the picture is softer or sharper than the sample.
    shade
        Largest standard deviation, unit gray, of a smooth field of gray that is added where no box
        goes along: beam, anode and grid are not even.
    """

    gray: Disturbance = field(default_factory=Disturbance)
    turn: float = 6.0
    bend: float = 0.02
    flip: float = 0.5
    invert: float = 0.05
    no_box: float = 0.1
    blur: float = 0.5
    shade: float = 0.1


_BEND_KNOTS = 4
_SHADE_KNOTS = 3
_SOFT = (0.4, 1.6)
"""Standard deviation of the blur, pixels of the patch."""
_SHARP = (0.5, 2.0)
"""How much of what a blur takes away is added instead, for sharper pictures."""
_EDGE_SPREADS = (0.0, 0.02, 0.06)
"""Standard deviations, unit gray, by which the faces of a training box are off."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """One training patch.

    Parameters
    ----------
    channels
        (CHANNELS, S, S) float32.
    target
        (S, S) float32, share of the label, 0..1.
    class_id
        What it shows.
    """

    channels: Float32
    target: Float32
    class_id: int


def draw(
    sample: RefinerSample, frame: Frame, augmentation: Augmentation, rng: np.random.Generator
) -> Drawn:
    """Draw a disturbed patch of a sample."""
    grid = frame.grid()
    (gray, target), valid = look(sample.cut, *_warped(sample, grid, augmentation, rng))
    edges = np.asarray(sample.edges) + rng.normal(0, 1, 2) * rng.choice(_EDGE_SPREADS)
    gray, edges = _exposed(
        _focused(gray, augmentation, rng), np.sort(np.clip(edges, 0, 1)), augmentation, rng
    )
    box = None if rng.random() < augmentation.no_box else (edges[:1], edges[1:])
    if box is None:
        gray = _shaded(gray, augmentation, rng)
    return Drawn(channels(gray, valid, box, grid), target * valid, sample.class_id)


def _warped(
    sample: RefinerSample,
    grid: tuple[Float32, Float32],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Return where in the image the patch's points lie after jitter, flip, turn and bend."""
    h, w = sample.cut.shape
    x0, y0 = sample.cut.origin
    beyond = RoiBox(x0, y0, x0 + w * sample.cut.step[0], y0 + h * sample.cut.step[1])
    roi = _jittered(sample.roi, beyond, augmentation.gray.jitter, rng)
    x, y = grid
    if rng.random() < augmentation.flip:
        x = -x
    dx, dy = rng.normal(0, augmentation.bend, (2, _BEND_KNOTS, _BEND_KNOTS))
    at = (np.arange(len(x)) + 0.5) / len(x)
    right = (x / 2 + bilinear(dx, at, at)) * roi.width
    down = (y / 2 + bilinear(dy, at, at)) * roi.height
    angle = np.deg2rad(rng.normal(0, augmentation.turn))
    cos, sin = np.cos(angle), np.sin(angle)
    cx, cy = (roi.x0 + roi.x1) / 2, (roi.y0 + roi.y1) / 2
    return cx + cos * right - sin * down, cy + sin * right + cos * down


def _jittered(roi: RoiBox, beyond: RoiBox, sd: float, rng: np.random.Generator) -> RoiBox:
    """Jitter an ROI inside a window; a third is left as it is."""
    if rng.random() < 1 / 3:
        return roi
    shape = (round(beyond.y1), round(beyond.x1))
    return jitter_roi(roi, shape, sd, rng)


def _exposed(
    gray: Float32,
    edges: npt.NDArray[np.float64],
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> tuple[Float32, npt.NDArray[np.float64]]:
    """Change exposure; the box goes along exactly, because tone curves rise."""
    curve = tone_curve(augmentation.gray, rng)
    at = np.linspace(0, 1, len(curve))
    gray, edges = np.interp(gray, at, curve).astype(np.float32), np.interp(edges, at, curve)
    noise = np.float32(rng.uniform(0, augmentation.gray.noise))
    gray = np.clip(gray + rng.standard_normal(gray.shape, dtype=np.float32) * noise, 0, 1)
    if rng.random() < augmentation.invert:
        gray, edges = 1 - gray, 1 - edges[::-1]
    return gray, edges


def _focused(gray: Float32, augmentation: Augmentation, rng: np.random.Generator) -> Float32:
    """Make a picture softer or sharper."""
    if rng.random() >= augmentation.blur:
        return gray
    soft = ndimage.gaussian_filter(gray, rng.uniform(*_SOFT))
    if rng.random() < 0.5:
        return np.asarray(soft, dtype=np.float32)
    sharp = gray + rng.uniform(*_SHARP) * (gray - soft)
    return np.asarray(np.clip(sharp, 0, 1), dtype=np.float32)


def _shaded(gray: Float32, augmentation: Augmentation, rng: np.random.Generator) -> Float32:
    """Add a smooth field of gray."""
    if not augmentation.shade:
        return gray
    knots = rng.normal(0, augmentation.shade * rng.random(), (_SHADE_KNOTS, _SHADE_KNOTS))
    at = (np.arange(len(gray)) + 0.5) / len(gray)
    return np.asarray(np.clip(gray + bilinear(knots, at, at), 0, 1), dtype=np.float32)


class Deck:
    """Draws samples: classes equally often, and of a class its groups by the root of their size.

    Raises
    ------
    ModelError
        If there is no sample.
    """

    def __init__(self, samples: Sequence[RefinerSample]) -> None:
        if not samples:
            raise ModelError(
                "There is nothing to train a refiner on: no image has a true mask in an ROI; "
                "label some images first."
            )
        self.samples = samples
        pairs = [(s.class_id, s.group) for s in samples]
        weight = np.array([pairs.count(pair) ** -0.5 for pair in pairs])
        ids = np.array([s.class_id for s in samples])
        total = np.bincount(ids, weights=weight)
        self._odds = weight / total[ids] / np.count_nonzero(total)

    def draw(self, count: int, rng: np.random.Generator) -> list[RefinerSample]:
        """Return samples, with replacement."""
        return [self.samples[i] for i in rng.choice(len(self.samples), count, p=self._odds)]
