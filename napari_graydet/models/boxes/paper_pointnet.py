"""PointNet as the paper uses it: every anchor's own points through the whole network.

Source: Ge et al., BMC Medical Imaging 22:33, 2022, "Proposal bounding box determination" and
"Refinement of proposal bounding box"; Qi et al., CVPR 2017 (the network); METHOD.md, section 1.
Anchors n x k with k = 3, classes and background by PointNet, 3D NMS that leaves one box per class,
then one linear correction from the max-pooled global feature. No statistics of the histogram, no
second scoring. It costs some hundred times what `detector.BoxDetector` costs.

Open in the paper, and settled here: a cloud is `points` of an anchor's pixels, drawn again if there
are fewer; an anchor without pixels is background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from napari_graydet.core.anchors import edges_of
from napari_graydet.core.boxes import GrayBox, solids_of
from napari_graydet.core.cloud import PixelCloud
from napari_graydet.core.coder import decode
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.nms import nms_3d
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.io.weights import Tensors, WeightsCard, read_card
from napari_graydet.models.asked_classes import asked_classes
from napari_graydet.models.boxes.anchor_model import AnchorModel, grid_in, regressor_in
from napari_graydet.models.boxes.detector import level_ranges
from napari_graydet.models.device import choose_device
from napari_graydet.models.learning.checkpoints import tensors_in
from napari_graydet.models.pointnet import MEAN_WIDTH, Mlp, TNet

Float = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ARCHITECTURE = "pointnet-paper-1"
"""Changes whenever older weights no longer fit."""

ROI_POINTS = 8192
"""Pixels of an ROI, on a regular grid, that anchors choose their points from."""

NMS_IOU = 0.5
CHUNK = 32
"""Clouds that go through the network together."""


@dataclass(frozen=True)
class PaperConfig:
    """The network's sizes.

    Parameters
    ----------
    n_classes
        The paper's k; the network scores k + 1, the last being background.
    points
        Points of a cloud.
    global_width, tnet_width
        Channels of the max-pooled features, of the network and inside both T-Nets.
    dropout
        Before the last layer, while training.
    """

    n_classes: int
    points: int = 256
    global_width: int = 1024
    tnet_width: int = 1024
    dropout: float = 0.3


class PaperPointNet(nn.Module):
    """PointNet for classification (Qi et al., Fig. 2).

    Its point layers bear the names and shapes of `pointnet.PointNet`, so that pretrained ones fit
    either. (N, P, 3) -> (N, k + 1)
    """

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        self.input_tnet = TNet(3, config.tnet_width)
        self.mlp1 = Mlp(3, 64, 64)
        self.feature_tnet = TNet(64, config.tnet_width)
        self.mlp2 = Mlp(64, 64, MEAN_WIDTH)
        self.mlp3 = Mlp(MEAN_WIDTH, config.global_width)
        self.head = Mlp(config.global_width, 512, 256)
        self.dropout = nn.Dropout(config.dropout)
        self.scores = nn.Linear(256, config.n_classes + 1)

    def features(self, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, global_width) max-pooled features and (N, 64, 64) feature transforms."""
        local = self.mlp1(clouds @ self.input_tnet(clouds))
        transform = self.feature_tnet(local)
        return self.mlp3(self.mlp2(local @ transform)).amax(dim=1), transform

    def classify(self, features: Tensor) -> Tensor:
        """Map features to (N, k + 1) class scores before softmax."""
        scores: Tensor = self.scores(self.dropout(self.head(features)))
        return scores

    def forward(self, clouds: Tensor) -> Tensor:
        """Score clouds."""
        return self.classify(self.features(clouds)[0])

    def final_layers(self) -> list[nn.Module]:
        """Return the fully connected layers behind the pooling: what stage 1 trains."""
        return [self.head, self.scores]


POINT_LAYERS = ("input_tnet", "mlp1", "feature_tnet", "mlp2", "mlp3")
"""Layers before the pooling: what pretraining is for."""


# --- Clouds of anchors ------------------------------------------------------------------------


def anchor_clouds(
    points: npt.NDArray[np.float32],
    levels: Ints,
    ranges: Ints,
    count: int,
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float32], Ints]:
    """Draw each range's own points.

    Parameters
    ----------
    points, levels
        (N, 3) points of an ROI and their (N,) gray levels.
    ranges
        (A, 2) first and stop levels.
    count
        Points of a cloud.
    rng
        Which of a range's points are drawn.

    Returns
    -------
    clouds
        (B, count, 3) float32 of the B ranges that have points.
    places
        (B,) which ranges these are.
    """
    clouds, places = [], []
    for place, (first, stop) in enumerate(ranges):
        own = np.flatnonzero((levels >= first) & (levels < stop))
        if own.size:
            chosen = rng.choice(own, count, replace=own.size < count)
            clouds.append(points[chosen])
            places.append(place)
    stacked = np.stack(clouds) if clouds else np.zeros((0, count, 3), np.float32)
    return stacked.astype(np.float32), np.array(places, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class PaperModel(AnchorModel):
    """PointNet that sees every anchor's own points: what a weights file holds."""

    architectures: ClassVar[tuple[str, ...]] = (ARCHITECTURE,)
    described: ClassVar[str] = f"a box detector ({ARCHITECTURE})"
    in_half: ClassVar[bool] = False

    network: PaperPointNet

    def propose(
        self,
        points: npt.NDArray[np.float32],
        levels: Ints,
        class_ids: Sequence[int],
        device: torch.device,
    ) -> list[tuple[int, float, Float]]:
        """Return class id, score and (2,) edges in unit gray of the best box of each class.

        Best first; a class that no anchor is likelier of than 0 is left out.
        """
        rng = np.random.default_rng(0)  # the same ROI gives the same boxes
        ranges = level_ranges(self.grid.edges)
        clouds, places = anchor_clouds(points, levels, ranges, self.network.config.points, rng)
        if not len(places):
            return []
        scores, features = scored(self.network, clouds, device)
        anchors = self.grid.anchors[places]
        found = []
        for class_id in class_ids:
            kept = nms_3d(solids_of(edges_of(anchors)), scores[:, class_id], NMS_IOU)
            best = int(kept[0])
            ids = np.array([class_id])
            delta = self.regressor.predict(features[best : best + 1], ids)
            edges = edges_of(decode(anchors[best : best + 1], delta))[0]
            found.append((class_id, float(scores[best, class_id]), edges))
        return sorted(found, key=lambda row: -row[1])

    @classmethod
    def from_tensors(cls, tensors: Tensors, card: WeightsCard) -> Self:
        """Build the model; see `StoredModel.from_tensors`."""
        sizes: Any = card.configuration["network"]
        network = PaperPointNet(PaperConfig(**sizes))
        network.load_state_dict(tensors_in(tensors, "network"))
        config = network.config
        regressor = regressor_in(tensors, card, config.n_classes, config.global_width)
        return cls(network.eval(), regressor, grid_in(card), tuple(card.classes))


def scored(
    network: PaperPointNet, clouds: npt.NDArray[np.float32], device: torch.device
) -> tuple[Float, Float]:
    """Return (B, k + 1) class probabilities and (B, global_width) features of clouds."""
    scores, features = [], []
    with torch.inference_mode():
        for chunk in torch.split(torch.from_numpy(clouds), CHUNK):
            pooled, _ = network.features(chunk.to(device))
            scores.append(network.classify(pooled).softmax(dim=1).cpu())
            features.append(pooled.cpu())
    return (
        torch.cat(scores).numpy().astype(np.float64),
        torch.cat(features).numpy().astype(np.float64),
    )


class PaperBoxDetector:
    """Finds 3D boxes in ROIs as the paper does; used like `detector.BoxDetector`."""

    def __init__(self, model: PaperModel, *, name: str = "paper", device: str = "auto") -> None:
        self.model = model
        self.name = name
        self._device = choose_device(device)
        model.network.to(self._device).eval()

    @classmethod
    def load(cls, path: Path, *, device: str = "auto") -> PaperBoxDetector:
        """Read weights; errors as `PaperModel.load`."""
        model = PaperModel.load(path)
        return cls(model, name=f"paper-pointnet {read_card(path).sha256[:8]}", device=device)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes it knows."""
        return self.model.classes

    def detect(
        self, image: GrayImage, roi: RoiBox, *, label: str | None = None, alternatives: int = 5
    ) -> list[BoxProposal]:
        """Return the one box of each class, or of `label` only, best first.

        Raises
        ------
        GeometryError
            If the ROI covers no pixel.
        ModelError
            If the label is unknown.
        """
        ids = asked_classes(self.name, self.labels, label)
        extent = roi.clip(image.shape)
        cloud = PixelCloud.of_roi(image, extent, limit=ROI_POINTS)
        levels = image.scale.to_levels(cloud.values).astype(np.int64)
        found = self.model.propose(cloud.points, levels, ids, self._device)
        proposals = []
        for class_id, score, edges in found[: alternatives + 1]:
            gray = image.scale.range_from_unit(float(edges[0]), float(edges[1]))
            box = GrayBox.flat(extent, gray)
            proposals.append(BoxProposal(box, self.labels[class_id], score))
        return proposals
