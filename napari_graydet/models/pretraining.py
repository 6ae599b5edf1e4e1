"""Pretraining of PointNet on 3D shapes (ModelNet): a start for the box detectors.

Source: the paper, "Implementation" (PointNet pretrained on ModelNet40); Qi et al., CVPR 2017
(augmentation, feature transforms held near orthogonal).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from napari_graydet.core.anchors import AnchorGrid
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.errors import ModelError, WeightsError
from napari_graydet.io.weights import WeightsCard, load_weights, save_weights
from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.boxes.paper_pointnet import (
    POINT_LAYERS,
    PaperConfig,
    PaperPointNet,
    scored,
)
from napari_graydet.models.device import choose_device
from napari_graydet.models.learning.loop import Budget, Learner, Scores, Watch, fit
from napari_graydet.models.modelnet import Clouds
from napari_graydet.models.pointnet import PointNet, PointNetConfig

ARCHITECTURE = "pointnet-classifier-1"
EPOCHS = 30.0
ORTHOGONAL = 1e-3
"""Weight of the feature transforms' distance from orthogonal matrices (Qi et al.)."""


def away_from_orthogonal(transform: Tensor) -> Tensor:
    """Return the mean squared distance of A A^T from the identity (Qi et al., L_reg)."""
    eye = torch.eye(transform.shape[1], device=transform.device)
    return ((transform @ transform.transpose(1, 2) - eye) ** 2).sum(dim=(1, 2)).mean()


class CloudLearner(Learner):
    """PointNet in training to tell 3D shapes apart, turned and jittered as Qi et al. do."""

    least_batch = 4

    def __init__(
        self, network: PaperPointNet, train: Clouds, test: Clouds, seed: int, device: str
    ) -> None:
        self.batch, self.rng = 32, np.random.default_rng(seed)
        self.device = choose_device(device)
        self.pointnet = network.to(self.device).train()
        self.network = self.pointnet
        self.optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        self._train, self._test = train, test

    def prepare(self, step: int, share: float) -> None:
        """Let the rate fall along a half cosine."""
        for group in self.optimiser.param_groups:
            group["lr"] = 1e-5 + (1e-3 - 1e-5) * (1 + math.cos(math.pi * share)) / 2

    def loss(self) -> Tensor:
        """Return the cross entropy of a batch of varied shapes."""
        rows = self.rng.choice(len(self._train.labels), self.batch)
        clouds = varied(self._train.points[rows], self.pointnet.config.points, self.rng)
        wanted = torch.from_numpy(self._train.labels[rows]).to(self.device)
        pooled, transform = self.pointnet.features(torch.from_numpy(clouds).to(self.device))
        loss = functional.cross_entropy(self.pointnet.classify(pooled), wanted)
        return loss + ORTHOGONAL * away_from_orthogonal(transform)

    def validate(self) -> Scores:
        """Return the share of test shapes that are told right."""
        self.pointnet.eval()
        points = self._test.points[:, : self.pointnet.config.points]
        scores, _ = scored(self.pointnet, np.ascontiguousarray(points), self.device)
        self.pointnet.train()
        return {"accuracy": float((scores.argmax(axis=1) == self._test.labels).mean())}


def varied(
    clouds: npt.NDArray[np.float32], count: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw points of clouds, turn each around the upright axis, and jitter the points."""
    chosen = rng.integers(0, clouds.shape[1], (len(clouds), count))
    points = np.take_along_axis(clouds, chosen[..., None], axis=1)
    angle = rng.uniform(0, 2 * np.pi, len(clouds))
    cos, sin, zero, one = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    turn = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=1).reshape(-1, 3, 3)
    noise = np.clip(rng.normal(0, 0.01, points.shape), -0.05, 0.05)
    return np.asarray(points @ turn + noise, dtype=np.float32)


def pretrain(
    train: Clouds,
    test: Clouds,
    out: Path,
    *,
    seed: int,
    epochs: float = EPOCHS,
    minutes: float | None = None,
    config: PaperConfig | None = None,
    data: Sequence[str] = (),
    device: str = "auto",
    watch: Watch | None = None,
) -> WeightsCard:
    """Pretrain PointNet on 3D shapes, and save it as a start for the box detectors.

    Parameters
    ----------
    train, test
        Shapes to learn from, and to measure the accuracy on at the end.
    out
        The safetensors file.
    config
        Sizes; its number of classes is that of the shapes less one, as there is no background.
    seed, epochs, minutes, data, device, watch
        As for the other trainings.

    Raises
    ------
    ModelError
        If there are fewer than two classes, memory runs out, or the loss is not finite.
    """
    if len(train.classes) < 2 or not set(train.labels) >= set(test.labels):
        raise ModelError("Pretraining needs two classes of shapes or more, each among the train.")
    torch.manual_seed(seed)
    network = PaperPointNet(config or PaperConfig(len(train.classes) - 1))
    learner = CloudLearner(network, train, test, seed, device)
    steps = max(2, math.ceil(epochs * len(train.labels) / learner.batch))
    scores = fit(learner, Budget(None if minutes else steps, minutes, 1), watch)
    tensors = {name: v.detach().cpu().numpy() for name, v in network.state_dict().items()}
    card = WeightsCard(
        kind="pointnet",
        architecture=ARCHITECTURE,
        configuration={
            "points": network.config.points,
            "global_width": network.config.global_width,
            "tnet_width": network.config.tnet_width,
        },
        classes=list(train.classes),
        data=list(data),
        metrics=dict(scores),
        seed=seed,
        versions={name: version(name) for name in ("torch", "numpy")},
    )
    save_weights(out, tensors, card)
    return card


def point_layers(path: Path, tnet_width: int, global_width: int) -> dict[str, Tensor]:
    """Return the pretrained layers before the pooling, for a network of these widths.

    Raises
    ------
    WeightsError
        If the file is no pretrained PointNet, or of other widths.
    """
    tensors, card = load_weights(path)
    if card.kind != "pointnet" or card.architecture != ARCHITECTURE:
        raise WeightsError(
            f"{path.name} holds {card.kind} weights ({card.architecture}); expected a PointNet "
            "from `pretrain pointnet`."
        )
    widths = (card.configuration.get("tnet_width"), card.configuration.get("global_width"))
    if widths != (tnet_width, global_width):
        raise WeightsError(
            f"{path.name} was pretrained with widths {widths[0]} and {widths[1]}, expected "
            f"{tnet_width} and {global_width}; pretrain for this preset (--preset)."
        )
    return {
        name: torch.from_numpy(np.array(array))
        for name, array in tensors.items()
        if name.split(".")[0] in POINT_LAYERS
    }


def box_model_from(path: Path, classes: Sequence[str], seed: int) -> BoxModel:
    """Return a box detector whose point layers are pretrained and whose rest is random.

    Raises
    ------
    WeightsError
        As `point_layers`.
    """
    torch.manual_seed(seed)
    config = PointNetConfig(len(classes))
    network = PointNet(config)
    layers = point_layers(path, config.tnet_width, config.global_width)
    network.load_state_dict(network.state_dict() | layers)
    coef = np.zeros((len(classes), config.feature_width + 1, 2))
    return BoxModel(network.eval(), RidgeRegressor(coef), AnchorGrid(), tuple(classes))
