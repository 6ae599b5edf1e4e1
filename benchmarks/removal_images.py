"""Whole images for benchmarks.removal: boxes in true and in detected ROIs, one for each part or one
for all, and ROI detectors that start from COCO or from random weights."""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.held_out_rois import JITTER
from napari_graydet.core.ceiling import ceiling_mask
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.metrics import iou
from napari_graydet.core.roi import RoiBox, pairwise_iou_2d
from napari_graydet.core.segmentation import CleanUp, box_mask
from napari_graydet.errors import GraydetError
from napari_graydet.models.boxes.detector import BoxDetector
from napari_graydet.models.boxes.samples import BoxSample, crop_sample, jitter_roi
from napari_graydet.models.learning.loop import Budget, fit
from napari_graydet.models.roi.detector import RoiSettings, YoloRoiDetector
from napari_graydet.models.roi.learner import RoiLearner, Stage
from napari_graydet.models.roi.training import examples_of, start_from
from napari_graydet.models.roi.yolo import DEFAULT_ARCHITECTURE, build_yolo
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.weights import CLASSES

ONE_ROI = "one ROI for each part"
COCO = "COCO start"
ROI_VARIANTS = ("all parts", COCO, ONE_ROI)

MOST = 40
"""Images of a set."""

ROI_STEPS = 150
STAGES = (Stage(0.1, "backbone", (1e-3, 1e-3), (256,)), Stage(0.9, 5, (6e-4, 3e-6), (256,)))
UNFROZEN = (Stage(1.0, 0, (1e-3, 3e-6), (256,)),)
"""Random layers must not stay as they are."""

LOOKS = RoiSettings(image_size=256, coarse_size=None)
"""At the size that it was trained for."""


@dataclass(frozen=True)
class Picture:
    """An image with one ROI around all its parts, or with theirs: `roi.metrics.RoiSample`."""

    image: GrayImage
    label: str
    kind: str
    rois: list[RoiBox]


def rois_of(sample: td.Sample, one: bool) -> list[RoiBox]:
    """Return the ROIs of all parts, or the one around them."""
    rois = sample.rois
    if not one or not rois:
        return rois
    corners = np.array([roi.xyxy for roi in rois])
    return [RoiBox(*map(float, (*corners[:, :2].min(axis=0), *corners[:, 2:].max(axis=0))))]


def whole_samples(samples: Iterable[td.Sample]) -> list[BoxSample]:
    """Cut out what all parts of an image together teach the box detector."""
    return [
        crop_sample(s.image, s.mask, roi, CLASSES.index(s.label), s.kind)
        for s in samples
        for roi in rois_of(s, one=True)
    ]


# --- Boxes in true ROIs ---------------------------------------------------------------------------


def boxes_of_images(
    detector: BoxDetector, samples: Iterable[td.Sample], seed: int, one: bool
) -> dict[str, list[Any]]:
    """Score the boxes in jittered true ROIs; a column for each figure, an entry for each image."""
    columns: dict[str, list[Any]] = {}
    for sample in samples:
        rng = np.random.default_rng([seed, zlib.crc32(sample.stem.encode())])
        shape = sample.image.shape
        rois = [jitter_roi(roi, shape, JITTER, rng) for roi in rois_of(sample, one)]
        _append(columns, {"image": sample.stem} | masks_scored(detector, sample, rois))
    return columns


def masks_scored(
    detector: BoxDetector, sample: td.Sample, rois: Sequence[RoiBox]
) -> dict[str, float]:
    """Return IoU without and with clean-up of the boxes in some ROIs, and the parts' ceiling."""
    image, truth, solids = sample.image, sample.mask, []
    for roi in rois:
        try:
            found = detector.detect(image, roi, label=sample.label, alternatives=0)
        except GraydetError:  # an ROI of a single gray value has no box
            continue
        solids += [p.box for p in found]
    mask = box_mask(image.pixels, solids)
    cleaned = CleanUp(opening=1, fill_holes=True, keep_largest=len(solids))(mask)
    ceiling = iou(ceiling_mask(image, truth, sample.rois), truth)
    scores = {"iou": iou(mask, truth), "cleaned": iou(cleaned, truth), "ceiling": ceiling}
    return {name: round(value, 5) for name, value in scores.items()}


def _append(columns: dict[str, list[Any]], row: dict[str, Any]) -> None:
    for name, value in row.items():
        columns.setdefault(name, []).append(value)


# --- ROI detectors --------------------------------------------------------------------------------


def trained_rois(
    samples: Iterable[td.Sample], seed: int, variant: str, darknet: Path
) -> tuple[YoloRoiDetector, float]:
    """Return a small ROI detector, and the seconds of CPU that its training took."""
    pictures = [Picture(s.image, s.label, s.kind, rois_of(s, variant == ONE_ROI)) for s in samples]
    examples = examples_of(pictures, CLASSES)
    begun = time.process_time()
    torch.manual_seed(seed)
    network = build_yolo(DEFAULT_ARCHITECTURE, len(CLASSES))
    if variant != COCO:
        start_from(network, darknet, CLASSES)
    stages = UNFROZEN if variant == COCO else STAGES
    learner = RoiLearner(network, stages, examples, torch.device("cpu"), seed)
    fit(learner, Budget(ROI_STEPS))
    seconds = time.process_time() - begun
    trained = copy.deepcopy(learner.result)
    return YoloRoiDetector(trained, CLASSES, name=variant, settings=LOOKS, device="cpu"), seconds


def lines_of_images(
    rois: YoloRoiDetector, detector: BoxDetector, samples: Iterable[td.Sample], one: bool
) -> dict[str, list[Any]]:
    """Score the whole line; ``roi_iou`` is that of the best ROI for every true one."""
    columns: dict[str, list[Any]] = {}
    for sample in samples:
        found = [p.roi for p in rois.detect(sample.image) if p.label == sample.label]
        truth = rois_of(sample, one)
        best = pairwise_iou_2d(truth, found).max(axis=1, initial=0.0)
        row = {"image": sample.stem, "rois": len(found), "roi_iou": best.round(5).tolist()}
        _append(columns, row | masks_scored(detector, sample, found))
    return columns
