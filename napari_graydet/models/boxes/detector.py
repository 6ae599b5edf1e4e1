"""The 3D box detector: anchors -> PointNet scores -> 3D NMS -> linear regression -> 3D boxes.

Source: the paper, "Proposal bounding box determination" and "Refinement of proposal bounding box";
features shared by the anchors: METHOD.md, section 3. Because a range's feature costs next to
nothing once the point features are there, refined boxes are scored again, and ranked by that.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch

from napari_graydet.core.anchors import edges_of
from napari_graydet.core.boxes import GrayBox, solids_of
from napari_graydet.core.cloud import PixelCloud
from napari_graydet.core.coder import decode
from napari_graydet.core.grayscale import LEVELS, GrayImage
from napari_graydet.core.histogram import level_counts
from napari_graydet.core.nms import nms_3d
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.uncertainty import class_margins, cluster_spreads
from napari_graydet.io.weights import Tensors, WeightsCard, read_card
from napari_graydet.models.asked_classes import asked_classes
from napari_graydet.models.boxes.anchor_model import AnchorModel, grid_in, regressor_in
from napari_graydet.models.boxes.interval import IntervalModel
from napari_graydet.models.device import choose_device, run_with_fallback
from napari_graydet.models.learning.checkpoints import tensors_in
from napari_graydet.models.pointnet import PointNet, PointNetConfig

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ARCHITECTURE = "pointnet-anchors-1"
"""Changes whenever older weights no longer fit."""

POINTS = 1024
"""Points of an ROI that go through the network, on a regular grid; masses count all pixels."""

CANDIDATES = 12
"""Anchors of a class that NMS may leave for refinement."""

NMS_IOU = 0.7
"""Proposals of a class that overlap a better one by more than this are dropped."""


_RIVAL = "rival."

# --- The trained model ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class BoxModel(AnchorModel):
    """PointNet whose features the anchors share: what a weights file holds.

    Parameters
    ----------
    network, regressor, grid, classes
        See `AnchorModel`.
    rival
        A simple rival that does better on held-out images, and is used in the network's place; the
        network is kept as the start of later trainings.
    """

    architectures: ClassVar[tuple[str, ...]] = (ARCHITECTURE,)
    described: ClassVar[str] = f"a box detector ({ARCHITECTURE})"

    network: PointNet
    rival: IntervalModel | None = None

    @property
    def configuration(self) -> dict[str, Any]:
        """The network's sizes, the anchors, and which rival is used, if one is."""
        rival = {} if self.rival is None else {"rival": self.rival.architecture}
        return super().configuration | rival

    def to_tensors(self) -> Tensors:
        """Return the weights of network and regressor, and what the rival learned."""
        rival = {} if self.rival is None else self.rival.to_tensors()
        return super().to_tensors() | {f"{_RIVAL}{name}": v for name, v in rival.items()}

    @classmethod
    def from_tensors(cls, tensors: Tensors, card: WeightsCard) -> Self:
        """Build the model; see `StoredModel.from_tensors`."""
        sizes: Any = card.configuration["network"]
        network = PointNet(PointNetConfig(**sizes))
        network.load_state_dict(tensors_in(tensors, "network"))
        config = network.config
        regressor = regressor_in(tensors, card, config.n_classes, config.feature_width)
        own = (network.eval(), regressor, grid_in(card), tuple(card.classes))
        return cls(*own, _rival_in(tensors, card))


def _rival_in(tensors: Tensors, card: WeightsCard) -> IntervalModel | None:
    architecture: Any = card.configuration.get("rival")
    if architecture is None:
        return None
    learned = {n.removeprefix(_RIVAL): v for n, v in tensors.items() if n.startswith(_RIVAL)}
    renamed = card.model_copy(update={"architecture": architecture})
    return IntervalModel.from_tensors(learned, renamed)


# --- Ranges of gray in one ROI --------------------------------------------------------------


def level_ranges(edges: npt.ArrayLike) -> Ints:
    """Turn (..., 2) edges in unit gray into first and stop levels, at least one level each."""
    at = np.floor(np.asarray(edges, dtype=np.float64) * LEVELS + 1e-6).astype(np.int64)
    first = np.clip(at[..., 0], 0, LEVELS - 1)
    return np.stack([first, np.clip(at[..., 1], first + 1, LEVELS)], axis=-1)


@dataclass(frozen=True, eq=False)
class RoiInput:
    """An ROI as the network takes it.

    Parameters
    ----------
    points
        (P, 3) float32 x, y, gray in [-1, 1].
    levels
        (P,) gray levels of the points.
    histogram
        (L,) float32 shares of all pixels of the ROI.
    """

    points: npt.NDArray[np.float32]
    levels: Ints
    histogram: npt.NDArray[np.float32]

    @classmethod
    def of_roi(cls, image: GrayImage, roi: RoiBox) -> RoiInput:
        """Sample an ROI.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        ModelError
            If all its pixels have the same gray.
        """
        cloud = PixelCloud.of_roi(image, roi, limit=POINTS)
        counts = level_counts(image, roi)
        histogram = counts / counts.sum()
        levels = image.scale.to_levels(cloud.values)
        return cls(cloud.points, levels.astype(np.int64), histogram.astype(np.float32))


@dataclass(frozen=True, eq=False)
class Candidates:
    """Ranges of gray with their classes and scores, best first.

    Parameters
    ----------
    edges
        (N, 2) bottom and top in unit gray.
    class_ids, scores, margins, spreads
        (N,), see BoxProposal.
    """

    edges: Float
    class_ids: Ints
    scores: Float
    margins: Float
    spreads: Float


class RangeScorer:
    """The network on one ROI: point features once, then any ranges."""

    def __init__(self, network: PointNet, roi: RoiInput, device: torch.device) -> None:
        self._network, self._device = network, device
        self._levels = torch.from_numpy(roi.levels)[None].to(device)
        self._histogram = torch.from_numpy(roi.histogram)[None].to(device)
        points = torch.from_numpy(roi.points)[None].to(device)
        self._point_features = network.point_features(points)

    def __call__(self, edges: Float) -> tuple[Float, Float]:
        """Return (N, k) class probabilities and (N, D) features of (N, 2) edges in unit gray."""
        ranges = torch.from_numpy(level_ranges(edges))[None].to(self._device)
        features = self._network.range_features(
            self._point_features, self._levels, self._histogram, ranges
        )
        scores = self._network.classify(features).softmax(dim=2)
        return (
            scores[0, :, :-1].cpu().numpy().astype(np.float64),
            features[0].cpu().numpy().astype(np.float64),
        )


def propose(
    model: BoxModel,
    network: PointNet,
    roi: RoiInput,
    class_ids: Sequence[int],
    device: torch.device,
) -> Candidates:
    """Find the ranges of gray in which objects of the given classes lie.

    Parameters
    ----------
    model
        Anchors and regressor.
    network
        The model's network, on `device`, perhaps fused.
    roi
        What it sees.
    class_ids
        Classes to look for.
    device
        Where the network is.
    """
    with torch.inference_mode():
        score = RangeScorer(network, roi, device)
        anchors = model.grid.anchors
        scores, features = score(model.grid.edges)
        found = [_best_of_class(scores[:, k], anchors, np.full(len(anchors), k)) for k in class_ids]
        chosen = np.concatenate([rows for rows, _ in found])
        classes = np.concatenate([ids for _, ids in found])
        deltas = model.regressor.predict(features[chosen], classes)
        refined = edges_of(decode(anchors[chosen], deltas))
        rescored = score(refined)[0]
    before, row = scores[chosen], np.arange(len(chosen))
    # a correction that the network likes less is not made
    better = (rescored[row, classes] > before[row, classes])[:, None]
    edges = np.where(better, refined, model.grid.edges[chosen])
    probabilities = np.where(better, rescored, before)
    final = probabilities[row, classes]
    kept = nms_3d(solids_of(edges), final, NMS_IOU, classes)
    margins = class_margins(probabilities[kept], classes[kept])
    spreads = cluster_spreads(edges, final, classes, kept)
    return Candidates(edges[kept], classes[kept], final[kept], margins, spreads)


def _best_of_class(scores: Float, anchors: Float, classes: Ints) -> tuple[Ints, Ints]:
    kept = nms_3d(solids_of(edges_of(anchors)), scores, NMS_IOU)[:CANDIDATES]
    return kept, classes[kept]


# --- The detector ---------------------------------------------------------------------------


class BoxDetector:
    """Finds 3D boxes in ROIs; may be used from several threads at once.

    Parameters
    ----------
    model
        What was trained.
    name
        For records and the window.
    device
        "auto", "cuda", "mps" or "cpu". When an accelerator's memory is full, the CPU takes over
        and a warning says so.
    """

    def __init__(self, model: BoxModel, *, name: str = "boxes", device: str = "auto") -> None:
        self.model = model
        self.name = name
        self._network = model.network.fused()
        self._lock = threading.Lock()
        self._device = choose_device(device, float64=True)  # of sums over gray ranges
        self._network.to(self._device)

    @classmethod
    def load(cls, path: Path, *, device: str = "auto") -> BoxDetector:
        """Read weights; the detector is named as the ROI detector is: network and digest.

        Raises
        ------
        WeightsError
            If the weights are damaged or of another architecture.
        """
        model = BoxModel.load(path)
        return cls(model, name=f"pointnet {read_card(path).sha256[:8]}", device=device)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes it knows."""
        return self.model.classes

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Propose 3D boxes in an ROI.

        Parameters
        ----------
        image, roi
            Where; the ROI is clipped to the image.
        label
            Look for this class only; None for all.
        alternatives
            How many more boxes than the best one to return at most.

        Returns
        -------
        Flat boxes over the ROI in stored units, best first; no two of a class overlap much.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        ModelError
            If the ROI has one gray only, or the label is unknown.
        """
        class_ids = asked_classes(self.name, self.labels, label)
        extent = roi.clip(image.shape)
        found = self._propose(RoiInput.of_roi(image, extent), class_ids)
        proposals = []
        for i, class_id in enumerate(found.class_ids[: alternatives + 1]):
            bottom, top = (float(edge) for edge in found.edges[i])
            box = GrayBox.flat(extent, image.scale.range_from_unit(bottom, top))
            score, margin, spread = (
                float(of[i]) for of in (found.scores, found.margins, found.spreads)
            )
            proposals.append(BoxProposal(box, self.labels[class_id], score, margin, spread))
        return proposals

    def _propose(self, roi: RoiInput, class_ids: Sequence[int]) -> Candidates:
        def run(device: torch.device) -> Candidates:
            return propose(self.model, self._on(device), roi, class_ids, device)

        found, self._device = run_with_fallback(run, self._device, _warn)
        return found

    def _on(self, device: torch.device) -> PointNet:
        """Return the network on a device; it is replaced, not moved, under other threads' feet."""
        with self._lock:
            if next(self._network.parameters()).device.type != device.type:
                self._network = self.model.network.fused().to(device)
            return self._network


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)
