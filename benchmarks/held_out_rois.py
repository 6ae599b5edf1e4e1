"""ROIs of held-out parts as a detector might find them, and how well boxes do in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from napari_graydet.core.ceiling import best_range
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.metrics import iou
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.segmentation import box_mask
from napari_graydet.errors import GraydetError
from napari_graydet.models.boxes.samples import BoxSample, jitter_roi

JITTER = 0.06
"""Standard deviation by which the edges of true ROIs move, as a share of the ROI's size: true ROIs
would flatter every method."""


class FindsBoxes(Protocol):
    """What is compared."""

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Return the boxes of an ROI, best first."""


@dataclass(frozen=True, eq=False)
class HeldOutRoi:
    """An ROI as a detector might find it, and its truth.

    Parameters
    ----------
    image, roi
        What the detector sees.
    truth
        (H, W) bool, true pixels inside the ROI; there is at least one.
    label
        Class.
    group
        Where it comes from.
    """

    image: GrayImage
    roi: RoiBox
    truth: npt.NDArray[np.bool_]
    label: str
    group: str


def held_out_rois(
    samples: Sequence[BoxSample], classes: Sequence[str], *, seed: int, jitter: float = JITTER
) -> list[HeldOutRoi]:
    """Move the edges of every sample's ROI as a detector would; the same for all that compete.

    Samples are compared at 8 bit. ROIs in which no true pixel or only one gray is left are dropped.
    """
    rng = np.random.default_rng(seed)
    rois = []
    for sample in samples:
        pixels = np.rint(sample.unit * 255).astype(np.uint8)
        image = GrayImage(pixels, GrayScale.of_bits(8))
        roi = jitter_roi(sample.roi, image.shape, jitter, rng)
        window, truth = roi.slices(image.shape), np.zeros(image.shape, dtype=np.bool_)
        truth[window] = sample.mask[window]
        if truth.any() and np.ptp(pixels[window]) > 0:
            rois.append(HeldOutRoi(image, roi, truth, classes[sample.class_id], sample.group))
    return rois


def mask_ious(detector: FindsBoxes, rois: Sequence[HeldOutRoi]) -> npt.NDArray[np.float64]:
    """Return the (N,) mask IoU of a detector's best box in every ROI, the class given.

    An ROI in which it finds nothing counts 0.
    """
    reached = np.zeros(len(rois))
    for i, held in enumerate(rois):
        try:
            found = detector.detect(held.image, held.roi, label=held.label, alternatives=0)
        except GraydetError:
            continue
        if found:
            reached[i] = iou(box_mask(held.image.pixels, [found[0].box]), held.truth)
    return reached


def ceilings(rois: Sequence[HeldOutRoi]) -> npt.NDArray[np.float64]:
    """Return the (N,) IoU that the best gray range gives in every ROI."""
    return np.array([best_range(held.image, held.truth, held.roi).iou for held in rois])
