"""Preset `paper`: PointNet and the regressor trained as in the paper.

Source: METHOD.md, section 1. PointNet pretrained on ModelNet; stage 1 trains the fully connected
layers behind the pooling (lr 1e-3), stage 2 everything (lr 1e-4), 100 epochs each, Adam; the
regressor by stochastic gradient descent (lr 1e-4, 200 epochs). What stage 1 leaves frozen is
computed once.

Where the paper is silent: an anchor is of the class if its 3D IoU with the true box, the best gray
range of the mask, is at least `POSITIVE`, or if it is the ROI's best one; background below
`NEGATIVE`; in between it is left out. A batch is half objects, half background; an epoch shows
`PER_ROI` anchors of each ROI. Feature transforms are held near orthogonal, as Qi et al. do. Nothing
is disturbed, and held-out images choose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_graydet.core.anchors import AnchorGrid, centre_width_of
from napari_graydet.core.coder import encode
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.models.boxes.detector import level_ranges
from napari_graydet.models.boxes.paper_pointnet import (
    ROI_POINTS,
    Float,
    Ints,
    PaperConfig,
    PaperModel,
    PaperPointNet,
    anchor_clouds,
    scored,
)
from napari_graydet.models.boxes.samples import BoxSample, Disturbance, DrawnRoi, draw_roi
from napari_graydet.models.boxes.targets import best_edges, range_ious
from napari_graydet.models.device import choose_device
from napari_graydet.models.learning.loop import Budget, Check, Learner, Scores, Watch, fit
from napari_graydet.models.pretraining import ORTHOGONAL, away_from_orthogonal, point_layers

POSITIVE, NEGATIVE = 0.5, 0.3
PER_ROI = 16
BATCH = 64
_TRIES = 20
"""Batches to draw until one has anchors with pixels in them: on dark parts most have none."""

_HELD_OUT = 20
"""About so many ROIs are scored."""

EPOCHS = 200.0
"""Of both stages together, 100 each."""


# --- What the anchors are -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LabelledRoi:
    """An ROI, its labelled anchors, and what the regressor should make of the positive ones.

    Parameters
    ----------
    roi
        With its points.
    chosen, labels
        (A,) places among the grid's anchors, and their class ids, background last.
    deltas
        (A, 2) targets t; 0 for background.
    """

    roi: DrawnRoi
    chosen: Ints
    labels: Ints
    deltas: Float


def labelled(
    samples: Sequence[BoxSample], grid: AnchorGrid, background: int, check: Check = Watch.check
) -> list[LabelledRoi]:
    """Label the anchors of all ROIs; see the module's description."""
    rng = np.random.default_rng(0)  # places points within their pixels' runs, nothing else
    rois = []
    for sample in samples:
        check()
        roi = draw_roi(sample, ROI_POINTS, Disturbance.of_roi_only(jitter=0.0), rng)
        if roi is None:
            continue
        truth, _ = best_edges(roi)
        overlap = iou_along_gray(grid.edges, truth)
        positive = (overlap >= POSITIVE) | (overlap == overlap.max())
        chosen = np.flatnonzero(positive | (overlap < NEGATIVE))
        labels = np.where(positive[chosen], roi.class_id, background)
        target = np.broadcast_to(centre_width_of(truth), (len(chosen), 2))
        deltas = np.where(positive[chosen, None], encode(grid.anchors[chosen], target), 0.0)
        rois.append(LabelledRoi(roi, chosen, labels, deltas))
    if not rois:
        raise ModelError("There is nothing to train on: no part has a pixel in its ROI.")
    return rois


def iou_along_gray(edges: Float, truth: Float) -> Float:
    """Return the 3D IoU of boxes that share the ROI's extent: (A, 2) and (2,) edges -> (A,)."""
    inside = np.minimum(edges[:, 1], truth[1]) - np.maximum(edges[:, 0], truth[0])
    inside = np.maximum(inside, 0.0)
    either = (edges[:, 1] - edges[:, 0]) + (truth[1] - truth[0]) - inside
    return np.asarray(inside / np.maximum(either, 1e-12))


# --- Training -------------------------------------------------------------------------------------


def train_paper_boxes(
    samples: Sequence[BoxSample],
    classes: Sequence[str],
    *,
    seed: int,
    start: Path | None = None,
    epochs: float = EPOCHS,
    minutes: float | None = None,
    validation: Sequence[BoxSample] = (),
    config: PaperConfig | None = None,
    grid: AnchorGrid | None = None,
    device: str = "auto",
    watch: Watch | None = None,
) -> PaperModel:
    """Train PointNet and the regressor.

    Parameters
    ----------
    samples, classes
        Parts to learn from; class names by id.
    seed
        Of initialisation, order and points.
    start
        Pretrained PointNet (`pretrain`), or None for random weights.
    epochs, minutes
        Of both stages, half each; minutes instead, if given.
    validation
        Parts that the result is scored on.
    config, grid
        Sizes and anchors; None for the start's and the default ones.
    device, watch
        As for `training.train_boxes`.

    Raises
    ------
    ModelError
        If there is nothing to train on, memory runs out, or the loss is not finite.
    WeightsError
        If the start is no pretrained PointNet.
    """
    if not samples:
        raise ModelError("There is nothing to train on: no part was given.")
    grid, watch = grid or AnchorGrid(), watch or Watch()
    torch.manual_seed(seed)
    network = started(start, len(classes), config)
    rois = labelled(samples, grid, len(classes), watch.check)
    learner = PaperLearner(network, rois, grid, seed, device, watch.check)
    learner.hold_out(validation, tuple(classes))
    steps = max(2, math.ceil(epochs * len(rois) * PER_ROI / BATCH))
    budget = Budget(None if minutes else steps, minutes, 1 if validation else 0)
    fit(learner, budget, watch)
    network.to("cpu").eval()
    regressor = fit_paper_regressor(network, rois, grid, len(classes), learner.rng, watch.check)
    return PaperModel(network, regressor, grid, tuple(classes))


class PaperLearner(Learner):
    """PointNet in training on labelled anchors."""

    least_batch = 4

    def __init__(
        self,
        network: PaperPointNet,
        rois: Sequence[LabelledRoi],
        grid: AnchorGrid,
        seed: int,
        device: str = "auto",
        check: Check = Watch.check,
    ) -> None:
        self._check = check
        self.batch, self.rng = BATCH, np.random.default_rng(seed)
        self.device = choose_device(device)
        self.pointnet = network.to(self.device)
        self.network = self.pointnet
        self.optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        self._rois, self._ranges, self._grid = rois, level_ranges(grid.edges), grid
        self._owner = np.repeat(np.arange(len(rois)), [len(r.chosen) for r in rois])
        self._anchor = np.concatenate([r.chosen for r in rois])
        self._label = np.concatenate([r.labels for r in rois])
        background = network.config.n_classes
        self._sides = [
            np.flatnonzero(self._label != background),
            np.flatnonzero(self._label == background),
        ]
        self._frozen: Tensor | None = None
        self._stage = 0
        self._seed = seed
        self._held_out: list[DrawnRoi] = []
        self._classes: tuple[str, ...] = ()

    def hold_out(self, samples: Sequence[BoxSample], classes: tuple[str, ...]) -> None:
        """Take what the result is scored on."""
        self._classes = classes
        self._held_out = paper_rois(samples)

    def prepare(self, step: int, share: float) -> None:
        """Set stage 1 or 2: its rate and what is frozen."""
        stage = 1 if share < 0.5 else 2
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-3 if stage == 1 else 1e-4
        if stage == self._stage:
            return
        self.pointnet.eval()
        self._frozen = self._pooled() if stage == 1 else None
        self._stage = stage  # not before: who was stopped or out of memory there does it again
        self.pointnet.requires_grad_(stage == 2).train(stage == 2)
        for layer in self.pointnet.final_layers():
            layer.requires_grad_(True).train()

    def loss(self) -> Tensor:
        """Return the cross entropy of a batch."""
        if self._frozen is not None:
            rows = self._rows()
            pooled = self._frozen[torch.from_numpy(rows)].to(self.device)
            return functional.cross_entropy(self.pointnet.classify(pooled), self._wanted(rows))
        for _ in range(_TRIES):
            rows = self._rows()
            clouds, kept = self._clouds(rows, self.rng)
            if len(kept) > 1:  # fewer have no statistics
                break
        else:
            raise ModelError("Hardly any box has a pixel in it; train on images with more grays.")
        pooled, transform = self.pointnet.features(torch.from_numpy(clouds).to(self.device))
        loss = functional.cross_entropy(self.pointnet.classify(pooled), self._wanted(rows[kept]))
        return loss + ORTHOGONAL * away_from_orthogonal(transform)

    def _rows(self) -> Ints:
        """Draw a batch of labelled anchors, half objects and half background."""
        half = self.batch // 2
        return np.concatenate([self.rng.choice(side, half) for side in self._sides if side.size])

    def _wanted(self, rows: Ints) -> Tensor:
        return torch.from_numpy(self._label[rows]).to(self.device)

    def validate(self) -> Scores:
        """Score the network, without a regressor, on the held-out ROIs."""
        coef = np.zeros((len(self._classes), self.pointnet.config.global_width + 1, 2))
        model = PaperModel(self.pointnet, RidgeRegressor(coef), self._grid, self._classes)
        self.pointnet.eval()
        scores = paper_scores(model, self._held_out, self.device)
        self._stage = 0  # the next step sets what trains and what is frozen again
        return scores

    def _clouds(self, rows: Ints, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], Ints]:
        """Draw the clouds of anchors, and tell which of the rows have any point."""
        clouds, kept = [], []
        for place, row in enumerate(rows):
            seen = self._rois[self._owner[row]].roi.seen
            own = self._ranges[self._anchor[row]][None]
            cloud, there = anchor_clouds(
                seen.points, seen.levels, own, self.pointnet.config.points, rng
            )
            if there.size:
                clouds.append(cloud[0])
                kept.append(place)
        shape = (0, self.pointnet.config.points, 3)
        drawn = np.stack(clouds) if clouds else np.zeros(shape, dtype=np.float32)
        return drawn, np.array(kept, dtype=np.int64)

    def _pooled(self) -> Tensor:
        """Return the frozen layers' features of all labelled anchors, zeros for empty ones."""
        rng = np.random.default_rng([self._seed, 1])  # drawn alike when going on after a kill
        rows = np.arange(len(self._label))
        pooled = torch.zeros(len(rows), self.pointnet.config.global_width)
        for chunk in np.array_split(rows, max(1, len(rows) // self.batch)):
            self._check()
            clouds, kept = self._clouds(chunk, rng)
            _, features = scored(self.pointnet, clouds, self.device)
            pooled[torch.from_numpy(chunk[kept])] = torch.from_numpy(features).float()
        return pooled


def fit_paper_regressor(
    network: PaperPointNet,
    rois: Sequence[LabelledRoi],
    grid: AnchorGrid,
    n_classes: int,
    rng: np.random.Generator,
    check: Check = Watch.check,
) -> RidgeRegressor:
    """Descend to the regressor on the positive anchors, as the paper does."""
    ranges, cpu = level_ranges(grid.edges), torch.device("cpu")
    features, deltas, labels = [], [], []
    for roi in rois:
        check()
        positive = roi.labels < n_classes
        seen, own = roi.roi.seen, ranges[roi.chosen[positive]]
        clouds, there = anchor_clouds(seen.points, seen.levels, own, network.config.points, rng)
        if there.size:
            features.append(scored(network, clouds, cpu)[1])
            deltas.append(roi.deltas[positive][there])
            labels.append(roi.labels[positive][there])
    if not features:
        raise ModelError("No box has a pixel in it; train on images with more grays.")
    return RidgeRegressor.fit_sgd(
        np.concatenate(features),
        np.concatenate(labels),
        np.concatenate(deltas),
        n_classes,
        rng=rng,
        check=check,
    )


def paper_rois(samples: Sequence[BoxSample]) -> list[DrawnRoi]:
    """Draw the ROIs of held-out parts, some `_HELD_OUT` of them, as they are."""
    rng = np.random.default_rng(0)
    chosen = samples[:: max(1, len(samples) // _HELD_OUT)]
    quiet = Disturbance.of_roi_only(jitter=0.0)
    drawn = [draw_roi(sample, ROI_POINTS, quiet, rng) for sample in chosen]
    return [roi for roi in drawn if roi is not None]


def paper_scores(model: PaperModel, rois: Sequence[DrawnRoi], device: torch.device) -> Scores:
    """Return the same figures as `scores.box_scores`."""
    reached = []
    for roi in rois:
        found = model.propose(roi.seen.points, roi.seen.levels, [roi.class_id], device)
        ranges = level_ranges(np.array([edges for _, _, edges in found[:1]]).reshape(-1, 2))
        iou = range_ious(roi.inside, roi.outside, ranges)[0] if len(ranges) else 0.0
        reached.append((iou, best_edges(roi)[1]))
    if not reached:
        return {"share of the ceiling": 0.0, "mask IoU": 0.0}
    iou, ceiling = np.mean(reached, axis=0)
    return {"share of the ceiling": float(iou / ceiling), "mask IoU": float(iou)}


def started(start: Path | None, n_classes: int, config: PaperConfig | None = None) -> PaperPointNet:
    """Return a network of these sizes, its point layers from a pretrained PointNet if there is one.

    Raises
    ------
    WeightsError
        If the start is none, or one of other sizes.
    """
    network = PaperPointNet(config or PaperConfig(n_classes))
    if start is not None:
        sizes = network.config
        layers = point_layers(start, sizes.tnet_width, sizes.global_width)
        try:
            network.load_state_dict(network.state_dict() | layers)
        except RuntimeError as error:
            raise WeightsError(f"{start.name} does not hold the layers of PointNet.") from error
    return network
