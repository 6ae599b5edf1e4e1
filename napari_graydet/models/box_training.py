"""Training of the 3D box detector: PointNet on anchors, then the linear box regressor.

Every step draws ROIs, disturbs them as a detector and other machines would (jittered edges, gamma,
noise), and asks for the mask IoU that each anchor's gray range would give, as a share of the best
that any range gives. Gray transforms that keep the order are exact for ranges: the pixels inside
stay inside (METHOD.md, section 3). Afterwards the regressor is solved in closed form.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_graydet.core.anchors import AnchorGrid, centre_width_of
from napari_graydet.core.ceiling import best_range_of_counts
from napari_graydet.core.coder import encode
from napari_graydet.core.grayscale import LEVELS
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import ModelError
from napari_graydet.models.box_detector import POINTS, BoxModel, RangeScorer, level_ranges, propose
from napari_graydet.models.box_samples import BoxSample, Disturbance, DrawnRoi, draw_roi, draw_rois
from napari_graydet.models.pointnet import PointNet, PointNetConfig

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
OnStep = Callable[[int, int, float], None]
"""Called with step, number of steps and loss; may raise to stop."""

ANCHORS, NEAR_BEST = 24, 16
"""Ranges of an ROI that a training step looks at: anchors, and ranges around the best one."""

_SPREADS = (0.02, 0.06, 0.15)
"""Standard deviations, unit gray, of edges around the best ones."""

SHARPNESS = 8
"""Power of the share of the ceiling: .99, .97, .9, .5 become scores of .92, .78, .43, 0."""

NEAR = 0.75
"""The regressor learns from anchors that reach this share of the ceiling."""

GOOD = 0.99
"""A range that reaches this share of the ceiling needs no further correction."""

_TARGET_STEP = 4
"""Levels between the edges that the regressor's targets may have."""


@dataclass(frozen=True)
class BoxTraining:
    """How the box detector is trained.

    Parameters
    ----------
    steps, batch, points
        Optimiser steps, ROIs a step, points an ROI.
    learning_rate
        Peak of a one-cycle schedule (Adam).
    disturbance
        How ROIs are disturbed.
    alpha
        The regressor's lambda, on standardised features.
    regressor_rois
        ROIs on whose anchors the regressor is solved.
    global_width, tnet_width
        Sizes of the network, see PointNetConfig.
    """

    steps: int = 1500
    batch: int = 12
    points: int = 512
    learning_rate: float = 2e-3
    disturbance: Disturbance = field(default_factory=Disturbance)
    alpha: float = 1_000.0
    regressor_rois: int = 500
    global_width: int = 1024
    tnet_width: int = 256


# --- Targets --------------------------------------------------------------------------------


def range_ious(inside: Ints, outside: Ints, ranges: Ints) -> Float:
    """Return the mask IoU that each range of levels gives; (A, 2) -> (A,)."""
    true, other = (np.concatenate([[0], np.cumsum(counts)]) for counts in (inside, outside))
    hits = true[ranges[:, 1]] - true[ranges[:, 0]]
    false = other[ranges[:, 1]] - other[ranges[:, 0]]
    return np.asarray(hits / (true[-1] + false))


def best_edges(roi: DrawnRoi) -> tuple[Float, float]:
    """Return bottom and top of the best range in unit gray, and its IoU (the ceiling)."""
    low, high, iou = best_range_of_counts(roi.inside, roi.outside)
    return np.array([low, high + 1]) / LEVELS, iou


def shares_of_ceiling(roi: DrawnRoi, ranges: Ints) -> Float:
    """Return each range's mask IoU as a share of the best that any range gives, 0..1."""
    return range_ious(roi.inside, roi.outside, ranges) / best_edges(roi)[1]


def training_ranges(roi: DrawnRoi, grid: AnchorGrid, rng: np.random.Generator) -> Ints:
    """Choose what to learn from in an ROI: some anchors, and ranges around the best one.

    The latter are what the regressor makes of anchors, which are scored again.
    """
    anchors = grid.edges[rng.choice(len(grid), size=min(ANCHORS, len(grid)), replace=False)]
    best, _ = best_edges(roi)
    spread = rng.choice(_SPREADS, size=(NEAR_BEST, 1))
    near = np.sort(np.clip(best + rng.normal(0, 1, (NEAR_BEST, 2)) * spread, 0, 1), axis=1)
    return level_ranges(np.concatenate([anchors, near]))


def target_scores(shares: Float, class_id: int, n_classes: int) -> npt.NDArray[np.float32]:
    """Return (A, k + 1) class probabilities to learn: the share of the ceiling, sharpened."""
    target = np.zeros((len(shares), n_classes + 1), dtype=np.float32)
    target[:, class_id] = shares**SHARPNESS
    target[:, -1] = 1 - target[:, class_id]
    return target


# --- Training -------------------------------------------------------------------------------


def train_boxes(
    samples: Sequence[BoxSample],
    classes: Sequence[str],
    *,
    seed: int,
    training: BoxTraining | None = None,
    grid: AnchorGrid | None = None,
    start: BoxModel | None = None,
    on_step: OnStep | None = None,
) -> BoxModel:
    """Train a box detector on the CPU; the same seed gives the same weights there.

    Parameters
    ----------
    samples
        Parts to learn from.
    classes
        Class names by id.
    seed
        Of initialisation, order and disturbances.
    training, grid
        Settings and anchors; None for the defaults.
    start
        Model whose network is trained on; None starts from random weights.
    on_step
        Told of the progress; stops the training by raising.

    Raises
    ------
    ModelError
        If there is no sample, or one has a class id that is not among the classes, or the start
        knows other classes.
    """
    if not samples or max(s.class_id for s in samples) >= len(classes):
        raise ModelError(
            f"Expected parts of the classes {', '.join(classes)} to train on, got "
            f"{len(samples)} parts; label some images first."
        )
    training, grid = training or BoxTraining(), grid or AnchorGrid()
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    if start is None:
        sizes = PointNetConfig(len(classes), training.global_width, training.tnet_width)
        network = PointNet(sizes).train()
    else:
        network = _continued(start, classes)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, training.learning_rate, total_steps=training.steps, pct_start=0.1
    )
    for step in range(training.steps):
        rois = draw_rois(samples, training.batch, training.points, training.disturbance, rng)
        loss = _loss(network, rois, grid, rng)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if on_step is not None:
            on_step(step + 1, training.steps, float(loss.detach()))
    network.eval()
    regressor = fit_regressor(network, samples, len(classes), grid, training, rng)
    return BoxModel(network, regressor, grid, tuple(classes))


def _continued(start: BoxModel, classes: Sequence[str]) -> PointNet:
    """Return a copy of a trained network to train on."""
    if start.classes != tuple(classes):
        raise ModelError(
            f"Expected a start that knows {', '.join(classes)}, got {', '.join(start.classes)}; "
            "train from scratch instead."
        )
    return copy.deepcopy(start.network).train()


def _loss(
    network: PointNet, rois: Sequence[DrawnRoi], grid: AnchorGrid, rng: np.random.Generator
) -> Tensor:
    """Return the cross entropy between class scores and sharpened shares of the ceiling."""
    n_classes = network.config.n_classes
    ranges = [training_ranges(roi, grid, rng) for roi in rois]
    targets = [
        target_scores(shares_of_ceiling(roi, r), roi.class_id, n_classes)
        for roi, r in zip(rois, ranges, strict=True)
    ]
    scores, _ = network(
        *(
            torch.from_numpy(np.stack([getattr(roi.seen, name) for roi in rois]))
            for name in ("points", "levels", "histogram")
        ),
        torch.from_numpy(np.stack(ranges)),
    )
    log_probabilities = scores.log_softmax(dim=2)
    loss: Tensor = -(torch.from_numpy(np.stack(targets)) * log_probabilities).sum(dim=2).mean()
    return loss


def fit_regressor(
    network: PointNet,
    samples: Sequence[BoxSample],
    n_classes: int,
    grid: AnchorGrid,
    training: BoxTraining,
    rng: np.random.Generator,
) -> RidgeRegressor:
    """Solve the regressor on anchors near the best range of freshly drawn ROIs."""
    rois = draw_rois(samples, training.regressor_rois, training.points, training.disturbance, rng)
    anchors = level_ranges(grid.edges)
    near = [shares_of_ceiling(roi, anchors) > NEAR for roi in rois]
    if not any(chosen.any() for chosen in near):
        raise ModelError("No anchor comes near the best range of any ROI; use more anchors.")
    rows = [
        _regression_rows(network, roi, grid, chosen)
        for roi, chosen in zip(rois, near, strict=True)
        if chosen.any()
    ]
    features, deltas, classes = (np.concatenate(column) for column in zip(*rows, strict=True))
    # lambda weighs all features alike once they are standardised; the scale goes into T.
    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    fitted = RidgeRegressor.fit(
        (features - centre) / scale, classes, deltas, n_classes, training.alpha
    )
    weights = fitted.coef[:, :-1] / scale[:, None]
    constant = fitted.coef[:, -1:] - np.einsum("d,kdt->kt", centre, weights)[:, None]
    return RidgeRegressor(np.concatenate([weights, constant], axis=1))


def _regression_rows(
    network: PointNet, roi: DrawnRoi, grid: AnchorGrid, near: npt.NDArray[np.bool_]
) -> tuple[Float, Float, Ints]:
    """Return features, deltas t and class ids of the anchors near the best range of an ROI."""
    with torch.inference_mode():
        _, features = RangeScorer(network, roi.seen, torch.device("cpu"))(grid.edges[near])
    deltas = smallest_corrections(roi, grid.anchors[near])
    return features, deltas, np.full(len(deltas), roi.class_id)


def smallest_corrections(roi: DrawnRoi, anchors: Float) -> Float:
    """Return for each anchor the smallest t that leads to a range (nearly) as good as the best.

    Where hardly any pixel has a gray, an edge may lie anywhere; asking for the one best range
    would teach the regressor noise. A corrected anchor within `GOOD` of the ceiling is good.
    """
    grays = np.arange(0, LEVELS + 1, _TARGET_STEP)
    first, stop = (grays[i] for i in np.triu_indices(len(grays), k=1))
    ranges = np.stack([first, stop], axis=1)
    shares = shares_of_ceiling(roi, ranges)
    good = centre_width_of(ranges[shares >= min(GOOD, shares.max())] / LEVELS)
    deltas = encode(anchors[:, None], good[None])
    smallest = (deltas**2).sum(axis=2).argmin(axis=1)
    return np.asarray(deltas[np.arange(len(anchors)), smallest])


def box_metrics(model: BoxModel, samples: Sequence[BoxSample], *, seed: int) -> dict[str, float]:
    """Return by group the mean mask IoU of the best box, and its share of the ceiling.

    ROIs are jittered as in training, grays are left as they are; the class is given.
    """
    rng = np.random.default_rng(seed)
    network, cpu = model.network.fused(), torch.device("cpu")
    reached: dict[str, list[tuple[float, float]]] = {}
    for sample in samples:
        roi = draw_roi(sample, POINTS, Disturbance.of_roi_only(), rng)
        if roi is not None:
            found = propose(model, network, roi.seen, [roi.class_id], cpu)
            iou = range_ious(roi.inside, roi.outside, level_ranges(found.edges[:1]))[0]
            reached.setdefault(sample.group, []).append((iou, best_edges(roi)[1]))
    metrics: dict[str, float] = {}
    for group, pairs in reached.items():
        iou, ceiling = np.mean(pairs, axis=0)
        metrics[f"{group}: mask IoU"] = round(float(iou), 4)
        metrics[f"{group}: share of the ceiling"] = round(float(iou / ceiling), 4)
    return metrics
