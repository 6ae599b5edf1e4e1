"""Box detectors from which one part is taken away, trained alike: for benchmarks.removal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.held_out_rois import HeldOutRoi, ceilings, mask_ious
from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.models.boxes.detector import BoxDetector, BoxModel
from napari_graydet.models.boxes.samples import BoxSample, Disturbance
from napari_graydet.models.boxes.training import BoxTraining, train_boxes
from napari_graydet.models.pointnet import STATISTICS, PointNet, PointNetConfig, gray_statistics
from napari_graydet.models.pretraining import box_model_from
from napari_graydet.workflows.weights import CLASSES

STEPS = 300
BUDGET = BoxTraining(steps=STEPS, batch=8, points=256, regressor_rois=250)
"""Of every variant: half a minute of one core."""

OWN_POINTS, OWN_STEPS = 128, 20
"""Points of a range where features are not shared, and steps that take as long as `STEPS` do."""

FROM_HISTOGRAM = STATISTICS - 3
"""Features that are read from the histogram; the other three are where the range lies."""


class NoTNet(nn.Module):
    """The identity in the place of a T-Net. (B, P, k) -> (B, k, k)"""

    def forward(self, points: Tensor) -> Tensor:
        k = points.shape[2]
        return torch.eye(k, device=points.device).expand(len(points), k, k)


class WithoutTNets(PointNet):
    """Points are taken as they are."""

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__(config)
        self.input_tnet = NoTNet()  # type: ignore[assignment]
        self.feature_tnet = NoTNet()  # type: ignore[assignment]


class WithoutHistogram(PointNet):
    """Ranges don't know their mass, the CDF around them, nor the ROI's gray quantiles."""

    def range_features(
        self,
        point_features: tuple[Tensor, Tensor],
        levels: Tensor,
        histogram: Tensor,
        ranges: Tensor,
    ) -> Tensor:
        features = super().range_features(point_features, levels, histogram, ranges)
        kept = features[..., :-FROM_HISTOGRAM]
        return torch.cat([kept, torch.zeros_like(features[..., -FROM_HISTOGRAM:])], dim=2)


class OwnClouds(PointNet):
    """Every range's own points go through the whole network, T-Nets included, as in the paper."""

    def point_features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return points, points

    def range_features(
        self,
        point_features: tuple[Tensor, Tensor],
        levels: Tensor,
        histogram: Tensor,
        ranges: Tensor,
    ) -> Tensor:
        points, _ = point_features
        rows = zip(points, levels, ranges, strict=True)
        clouds, there = zip(*(own_points(p, at, r, OWN_POINTS) for p, at, r in rows), strict=True)
        middle, widest = super().point_features(torch.cat(clouds))
        pooled = torch.cat([widest.amax(dim=1), middle.mean(dim=1)], dim=1)
        pooled = pooled * torch.cat(there)[:, None]
        pooled = pooled.view(*ranges.shape[:2], -1)
        return torch.cat([pooled, gray_statistics(histogram, ranges)], dim=2)


def own_points(points: Tensor, levels: Tensor, ranges: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return (A, count, 3) points of each range, and (A,) whether it has any.

    They are taken evenly along gray, and several times where there are fewer.
    """
    order = torch.argsort(levels, stable=True)
    first, stop = torch.searchsorted(levels[order], ranges.T.contiguous())
    evenly = (torch.arange(count, device=points.device) + 0.5) / count
    at = first[:, None] + (evenly * (stop - first)[:, None]).long()
    return points[order[at.clamp(max=len(points) - 1)]], stop > first


@dataclass(frozen=True)
class Variant:
    """What differs from the whole: the network's class, the training, the start."""

    network: type[PointNet] = PointNet
    training: BoxTraining = BUDGET
    modelnet: bool = False


WHOLE = "all parts"
_ALL = Variant()


def _disturbed(**changes: Any) -> Variant:
    return Variant(training=replace(_ALL.training, disturbance=Disturbance(**changes)))


VARIANTS = {
    WHOLE: _ALL,
    "start from ModelNet (added)": Variant(modelnet=True),
    "T-Nets": Variant(WithoutTNets),
    "shared features": Variant(OwnClouds, replace(_ALL.training, steps=OWN_STEPS)),
    "mass, CDF and quantiles": Variant(WithoutHistogram),
    "gamma": _disturbed(gamma=0.0),
    "gamma, bend and window": _disturbed(gamma=0.0, straightness=np.inf, window=0.0),
    "ROI jitter": _disturbed(jitter=0.0),
}
"""By the part that is missing. The shipped weights start from random PointNet weights, so the start
from ModelNet is added instead."""

REGRESSOR = "regressor"
"""Taken away after the training of the whole."""


def trained(
    variant: Variant, samples: Sequence[BoxSample], seed: int, pointnet: Path
) -> tuple[BoxModel, float]:
    """Return a trained variant, and the seconds of CPU that its training took."""
    begun = time.process_time()
    model = train_boxes(
        samples,
        CLASSES,
        seed=seed,
        training=variant.training,
        start=_start(variant, seed, pointnet),
    )
    return model, time.process_time() - begun


def _start(variant: Variant, seed: int, pointnet: Path) -> BoxModel:
    if variant.modelnet:
        return box_model_from(pointnet, CLASSES, seed)
    torch.manual_seed(seed)
    network = variant.network(PointNetConfig(len(CLASSES)))
    return with_regressor(network)


def with_regressor(network: PointNet) -> BoxModel:
    """Return a network with a regressor that leaves proposals as they are."""
    coef = np.zeros((len(CLASSES), network.config.feature_width + 1, 2))
    return BoxModel(network.eval(), RidgeRegressor(coef), AnchorGrid(), CLASSES)


def scored(model: BoxModel, sets: Mapping[str, Sequence[HeldOutRoi]]) -> dict[str, Any]:
    """Return by set the image, ceiling and mask IoU of every ROI, and the CPU time of one."""
    detector = BoxDetector(model, device="cpu")
    scores = {}
    for name, rois in sets.items():
        begun = time.process_time()
        ious = mask_ious(detector, rois)
        seconds = time.process_time() - begun
        scores[name] = {
            "image": [roi.group for roi in rois],
            "iou": ious.round(5).tolist(),
            "ceiling": ceilings(rois).round(5).tolist(),
            "ms": [round(1000 * seconds / max(len(rois), 1), 1)],
        }
    return scores
