"""Figures of box detectors by which weights are chosen: in jittered ROIs of held-out parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from napari_graydet.core.rivals import range_of
from napari_graydet.models.boxes.detector import POINTS, BoxModel, level_ranges, propose
from napari_graydet.models.boxes.interval import IntervalModel
from napari_graydet.models.boxes.samples import BoxSample, Disturbance, DrawnRoi, draw_roi
from napari_graydet.models.boxes.targets import best_edges, range_ious
from napari_graydet.models.learning.loop import Scores

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SCORED = 60
"""ROIs, about, that are drawn of the held-out parts to score weights on."""

SHARE, IOU = "share of the ceiling", "mask IoU"

ScoredRoi = tuple[DrawnRoi, float]
"""A jittered ROI, and the IoU that the best gray range gives in it."""


def scored_rois(samples: Sequence[BoxSample], rng: np.random.Generator) -> list[ScoredRoi]:
    """Draw jittered ROIs of held-out parts with their ceilings, few parts several times.

    At most about `SCORED`, evenly chosen, so that scoring stays quick.
    """
    chosen = samples[:: max(1, len(samples) // SCORED)]
    times = max(1, SCORED // max(len(chosen), 1) // 3)
    drawn = [
        draw_roi(sample, POINTS, Disturbance.of_roi_only(), rng)
        for _ in range(times)
        for sample in chosen
    ]
    return [(roi, best_edges(roi)[1]) for roi in drawn if roi is not None]


def box_scores(model: BoxModel, rois: Sequence[ScoredRoi]) -> Scores:
    """Return the figures by which weights are chosen, of the rival if the model uses one.

    Returns
    -------
    dict
        ``share of the ceiling``: mean mask IoU of the best box over the mean of the best possible;
        ``mask IoU``: the former. The class is given.
    """
    if not rois:
        return {SHARE: 0.0, IOU: 0.0}
    reached = ious_of_network(model, rois) if model.rival is None else ious_of(model.rival, rois)
    iou = float(reached.mean())
    return {SHARE: iou / float(np.mean([ceiling for _, ceiling in rois])), IOU: iou}


def ious_of_network(model: BoxModel, rois: Sequence[ScoredRoi]) -> Float:
    """Return the (N,) mask IoU of the network's best box in every ROI, the class given."""
    network, cpu = model.network.fused(), torch.device("cpu")
    found = [propose(model, network, roi.seen, [roi.class_id], cpu).edges[:1] for roi, _ in rois]
    return _mask_ious(rois, [level_ranges(edges) for edges in found])


def ious_of(rival: IntervalModel, rois: Sequence[ScoredRoi]) -> Float:
    """Return the (N,) mask IoU of a rival's best range in every ROI, the class given."""
    grays = [range_of(rival.method, roi.inside + roi.outside, roi.class_id) for roi, _ in rois]
    return _mask_ious(rois, [np.array([[gray.low, gray.high + 1]]) for gray in grays])


def _mask_ious(rois: Sequence[ScoredRoi], ranges: Sequence[Ints]) -> Float:
    return np.array(
        [
            range_ious(roi.inside, roi.outside, own)[0]
            for (roi, _), own in zip(rois, ranges, strict=True)
        ]
    )
