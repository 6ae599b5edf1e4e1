"""Training of the 3D box detector: PointNet on anchors, then the linear box regressor.

Every step draws ROIs, disturbs them as a detector and other machines would (jittered edges, gamma,
noise), and asks for the mask IoU that each anchor's gray range would give, as a share of the best
that any range gives. Gray transforms that keep the order are exact for ranges: the pixels inside
stay inside (METHOD.md, section 3). Afterwards the regressor is solved in closed form.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import ModelError
from napari_graydet.models.boxes.detector import (
    POINTS,
    BoxModel,
    RangeScorer,
    level_ranges,
    propose,
)
from napari_graydet.models.boxes.samples import (
    BoxSample,
    Disturbance,
    DrawnRoi,
    draw_roi,
    draw_rois,
)
from napari_graydet.models.boxes.scores import SCORED, box_scores, scored_rois
from napari_graydet.models.boxes.targets import (
    best_edges,
    range_ious,
    shares_of_ceiling,
    smallest_corrections,
    target_scores,
    training_ranges,
)
from napari_graydet.models.device import autocast, choose_device
from napari_graydet.models.learning.loop import Budget, Check, Learner, Scores, Watch, fit
from napari_graydet.models.learning.schedules import one_cycle
from napari_graydet.models.pointnet import PointNet, PointNetConfig

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEAR = 0.75
"""The regressor learns from anchors that reach this share of the ceiling."""


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


# --- Training -------------------------------------------------------------------------------


def train_boxes(
    samples: Sequence[BoxSample],
    classes: Sequence[str],
    *,
    seed: int,
    training: BoxTraining | None = None,
    grid: AnchorGrid | None = None,
    start: BoxModel | None = None,
    validation: Sequence[BoxSample] = (),
    budget: Budget | None = None,
    device: str = "cpu",
    watch: Watch | None = None,
) -> BoxModel:
    """Train a box detector; on the CPU the same seed gives the same weights.

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
        Model whose network is trained on; None starts from random weights. Classes are taken over
        by name; a new one begins as the mean of those that the start knows.
    validation
        Parts that choose the best weights, as often as the budget says.
    budget
        How long; None takes the settings' steps.
    device
        "auto", "cuda", "mps" or "cpu"; on CUDA with mixed precision.
    watch
        Told of the training; checkpoints.

    Raises
    ------
    ModelError
        If there is no sample, or one has a class id that is not among the classes, memory runs
        out, or the loss is not finite.
    """
    if not samples or max(s.class_id for s in samples) >= len(classes):
        raise ModelError(
            f"Expected parts of the classes {', '.join(classes)} to train on, got "
            f"{len(samples)} parts; label some images first."
        )
    training, grid = training or BoxTraining(), grid or AnchorGrid()
    budget = budget or Budget(training.steps)
    torch.manual_seed(seed)
    if start is None:
        sizes = PointNetConfig(len(classes), training.global_width, training.tnet_width)
        network = PointNet(sizes)
    else:
        network = for_classes(start, classes).network
    learner = BoxLearner(network, samples, grid, training, seed, budget.steps, device)
    learner.hold_out(validation, classes)
    if not validation:
        budget = replace(budget, validations=0)
    fit(learner, budget, watch or Watch())
    network = network.to("cpu").eval()
    check = Watch.check if watch is None else watch.check
    regressor = fit_regressor(network, samples, len(classes), grid, training, learner.rng, check)
    return BoxModel(network, regressor, grid, tuple(classes))


def for_classes(model: BoxModel, classes: Sequence[str]) -> BoxModel:
    """Return a copy of a model that knows other classes.

    Those that it knew are taken over by name. A new one begins as the mean of all, with a
    regressor that leaves proposals as they are. A rival is left out where the classes are others.
    """
    network = copy.deepcopy(model.network)
    if model.classes == tuple(classes):
        return replace(model, network=network)
    state = network.state_dict()
    for name in ("scores.weight", "scores.bias"):
        rows, background = state[name][:-1], state[name][-1]
        known = dict(zip(model.classes, rows, strict=True))
        wanted = [known.get(label, rows.mean(dim=0)) for label in classes]
        state[name] = torch.stack([*wanted, background])
    network = PointNet(replace(network.config, n_classes=len(classes)))
    network.load_state_dict(state)
    coef = np.zeros((len(classes), *model.regressor.coef.shape[1:]))
    for place, label in enumerate(classes):
        if label in model.classes:
            coef[place] = model.regressor.coef[model.classes.index(label)]
    return BoxModel(network.eval(), RidgeRegressor(coef), model.grid, tuple(classes))


class BoxLearner(Learner):
    """PointNet in training on disturbed ROIs.

    Parameters
    ----------
    network
        With the weights to start from.
    samples, grid, training
        As for `train_boxes`.
    seed
        Of order and disturbances.
    steps
        Number of steps, for the schedule; None where minutes count.
    device
        See `choose_device`.
    """

    least_batch = 2  # batch norm inside the T-Nets sees one row per cloud

    def __init__(
        self,
        network: PointNet,
        samples: Sequence[BoxSample],
        grid: AnchorGrid,
        training: BoxTraining,
        seed: int,
        steps: int | None,
        device: str = "cpu",
    ) -> None:
        self.batch, self.rng = training.batch, np.random.default_rng(seed)
        self.device = choose_device(device, float64=True)  # of sums over gray ranges
        self.pointnet = network.to(self.device).train()
        self.network = self.pointnet
        self.optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
        self._samples, self._grid, self._training = samples, grid, training
        self._seed, self._steps = seed, steps
        self._held_out: list[tuple[DrawnRoi, float]] = []
        self._classes: tuple[str, ...] = ()

    def hold_out(self, samples: Sequence[BoxSample], classes: Sequence[str]) -> None:
        """Draw the ROIs that weights are scored on, once and for all."""
        self._classes = tuple(classes)
        self._held_out = scored_rois(samples, np.random.default_rng([self._seed, SCORED]))

    def prepare(self, step: int, share: float) -> None:
        """Set learning rate and momentum."""
        at, total = (step, self._steps) if self._steps is not None else (share * 1000, 1000)
        rate, beta = one_cycle(at, total, self._training.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"], group["betas"] = rate, (beta, group["betas"][1])

    def loss(self) -> Tensor:
        """Return the cross entropy between class scores and sharpened shares of the ceiling."""
        training, rng = self._training, self.rng
        rois = draw_rois(self._samples, self.batch, training.points, training.disturbance, rng)
        ranges = [training_ranges(roi, self._grid, rng) for roi in rois]
        n_classes = self.pointnet.config.n_classes
        wanted = [
            target_scores(shares_of_ceiling(roi, r), roi.class_id, n_classes)
            for roi, r in zip(rois, ranges, strict=True)
        ]
        points, levels, histogram = (
            torch.from_numpy(np.stack([getattr(roi.seen, name) for roi in rois])).to(self.device)
            for name in ("points", "levels", "histogram")
        )
        with autocast(self.device, on_cpu=False):
            middle, widest = self.pointnet.point_features(points)
        shared = (middle.float(), widest.float())  # sums over ranges need all digits
        chosen = torch.from_numpy(np.stack(ranges)).to(self.device)
        features = self.pointnet.range_features(shared, levels, histogram, chosen)
        log_probabilities = self.pointnet.classify(features).log_softmax(dim=2)
        target = torch.from_numpy(np.stack(wanted)).to(self.device)
        loss: Tensor = -(target * log_probabilities).sum(dim=2).mean()
        return loss

    def validate(self) -> Scores:
        """Score the network, without a regressor, on the held-out ROIs."""
        network = copy.deepcopy(self.pointnet).to("cpu").eval()
        coef = np.zeros((len(self._classes), network.config.feature_width + 1, 2))
        model = BoxModel(network, RidgeRegressor(coef), self._grid, self._classes)
        return box_scores(model, self._held_out)


def fit_regressor(
    network: PointNet,
    samples: Sequence[BoxSample],
    n_classes: int,
    grid: AnchorGrid,
    training: BoxTraining,
    rng: np.random.Generator,
    check: Check = Watch.check,
) -> RidgeRegressor:
    """Solve the regressor on anchors near the best range of freshly drawn ROIs.

    `check` is called at every ROI; it stops by raising.
    """
    rois: list[DrawnRoi] = []
    for _ in range(training.regressor_rois):
        check()
        rois += draw_rois(samples, 1, training.points, training.disturbance, rng)
    anchors = level_ranges(grid.edges)
    near = [shares_of_ceiling(roi, anchors) > NEAR for roi in rois]
    if not any(chosen.any() for chosen in near):
        raise ModelError("No anchor comes near the best range of any ROI; use more anchors.")
    rows = []
    for roi, chosen in zip(rois, near, strict=True):
        check()
        if chosen.any():
            rows.append(_regression_rows(network, roi, grid, chosen))
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


# --- Scores ---------------------------------------------------------------------------------


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
