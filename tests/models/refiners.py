"""Small pictures that no gray range can segment, and small networks to refine them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from napari_graydet.core.boxes import GrayBox
from napari_graydet.core.ceiling import best_range
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.models.refiner.choice import HeldOut
from napari_graydet.models.refiner.learner import RefinerTraining
from napari_graydet.models.refiner.patch import Frame
from napari_graydet.models.refiner.refiner import Refiner

CLASSES = ("bone", "lung")
SIDE = 64
SMALL = RefinerTraining(
    steps=4,
    batch=4,
    frame=Frame(32, 0.15, 48),
    sizes={
        "unet": {"widths": (8, 16)},
        "points": {"global_width": 32, "tnet_width": 16, "width": 16},
        "scene": {"widths": (8, 16)},
    },
)


@dataclass(frozen=True, eq=False)
class Picture:
    """What training needs to know about an image."""

    image: GrayImage
    mask: npt.NDArray[np.bool_]
    label: str = "bone"
    kind: str = "disc"

    @property
    def rois(self) -> list[RoiBox]:
        return [RoiBox.of_mask(self.mask).grow(0.03, self.image.shape)] if self.mask.any() else []


def disc(seed: int, label: str = "bone", *, inverted: bool = False) -> Picture:
    """Draw a bright disc under a slope of gray that is as high as the disc is bright."""
    rng = np.random.default_rng(seed)
    r, c = np.mgrid[:SIDE, :SIDE] + 0.5
    x, y = rng.uniform(26, 38, 2)
    mask = np.hypot(r - y, c - x) < rng.uniform(12, 18)
    gray = 15 + 45 * mask + 3 * c + rng.normal(0, 3, mask.shape)
    pixels = np.clip(gray, 0, 255).astype(np.uint8)
    if inverted:
        pixels = 255 - pixels
    return Picture(GrayImage(pixels, GrayScale.of_bits(8, inverted=inverted)), mask, label)


def with_box(picture: Picture) -> HeldOut:
    """Put the best box that a single range gives to a picture."""
    (roi,) = picture.rois
    best = best_range(picture.image, picture.mask, roi).range
    box = BoxProposal(GrayBox.flat(roi, best), picture.label, 0.9)
    return HeldOut(picture.image, (box,), picture.label, picture.mask)


def probabilities(
    refiner: Refiner, image: GrayImage, roi: RoiBox, label: str
) -> npt.NDArray[np.float32]:
    """Return what a refiner's networks say of an ROI's patch and of the scene, in one row."""
    logits = (refiner._on_patch(image, roi, label, None), refiner._on_scene(image, label))
    return np.concatenate([one.sigmoid().numpy().ravel() for one in logits if one is not None])
