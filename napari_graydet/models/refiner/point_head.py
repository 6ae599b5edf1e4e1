"""PointNet's segmentation head: every pixel of the ROI is a point, and is told the whole cloud.

Source: Qi et al., PointNet, CVPR 2017, section 4.2 ("segmentation network": the global feature is
joined to every point's own); METHOD.md, section 3 (gray context at several scales). The trunk is
the box detector's: same layers, same coordinates, so that it can start from that network.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graydet.models.pointnet import MEAN_WIDTH, Mlp, PointNet, PointNetConfig, TNet
from napari_graydet.models.refiner.patch import CHANNELS, GRAY, VALID, WINDOWED, X, Y

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Scales of the gray context in pixels of a 128-pixel patch."""

CONTEXT = CHANNELS + 2 * len(SIGMAS) + 1
"""What a point knows itself: its channels, smoothed gray in two windows, gradient magnitude."""

CLOUD_SIDE = 32
"""The global feature is that of a regular grid of CLOUD_SIDE x CLOUD_SIDE points."""

TRUNK = ("input_tnet", "mlp1", "feature_tnet", "mlp2", "mlp3")
"""The layers that make PointNet's point features."""

_REFERENCE = 128


@dataclass(frozen=True)
class PointHeadConfig:
    """The network's sizes: number of classes, those of the trunk, width of the head."""

    n_classes: int
    global_width: int = 1024
    tnet_width: int = 256
    width: int = 128


class PointHead(nn.Module):
    """Mask logits of a patch's points; one network for all classes, which it is told."""

    input_tnet: TNet
    mlp1: Mlp
    feature_tnet: TNet
    mlp2: Mlp
    mlp3: Mlp

    def __init__(self, config: PointHeadConfig) -> None:
        super().__init__()
        self.config = config
        trunk = PointNet(PointNetConfig(config.n_classes, config.global_width, config.tnet_width))
        self.take_trunk(trunk)
        self.of_point = nn.Linear(MEAN_WIDTH + CONTEXT, config.width)
        self.of_cloud = nn.Linear(config.global_width, config.width)
        self.classes = nn.Embedding(config.n_classes, config.width)
        nn.init.normal_(self.classes.weight, std=0.1)
        self.norm = nn.BatchNorm1d(config.width)
        self.head = Mlp(config.width, config.width, config.width // 2)
        self.logit = nn.Linear(config.width // 2, 1)

    def take_trunk(self, network: PointNet) -> None:
        """Start from the point features of a box detector (a copy)."""
        for name in TRUNK:
            setattr(self, name, copy.deepcopy(getattr(network, name)))

    def freeze_trunk(self) -> None:
        """Keep the shared features as they are; call it after `train`."""
        for name in TRUNK:
            getattr(self, name).eval().requires_grad_(False)

    @property
    def multiple(self) -> int:
        """The side of a patch must be a multiple of this."""
        return CLOUD_SIDE

    def forward(self, patches: Tensor, class_ids: Tensor) -> Tensor:
        """Map (B, CHANNELS, S, S) patches and (B,) class ids to (B, S, S) logits."""
        context = torch.cat([patches, gray_context(patches)], dim=1)
        return self._logits(context, class_ids)

    def learn(self, patches: Tensor, class_ids: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and targets of as many points as the cloud has; the warp moves them."""
        step = max(1, patches.shape[-1] // CLOUD_SIDE)
        chosen = (..., slice(step // 2, None, step), slice(step // 2, None, step))
        context = torch.cat([patches, gray_context(patches)], dim=1)
        return self._logits(context[chosen], class_ids), target[chosen]

    def _logits(self, context: Tensor, class_ids: Tensor) -> Tensor:
        side = context.shape[2]
        rows = context.flatten(2).transpose(1, 2)
        points = rows[..., [X, Y, GRAY]]
        coarse = torch.from_numpy(coarse_points(side)).to(rows.device)
        local = self.mlp1(points @ self.input_tnet(points[:, coarse]))
        middle = self.mlp2(local @ self.feature_tnet(local[:, coarse]))
        cloud = self.mlp3(middle[:, coarse]).amax(dim=1)
        whole = self.of_cloud(cloud) + self.classes(class_ids)
        joined = self.of_point(torch.cat([middle, rows], dim=2)) + whole[:, None]
        hidden = functional.relu(self.norm(joined.flatten(0, 1))).view_as(joined)
        logits: Tensor = self.logit(self.head(hidden))
        return logits.view(-1, side, side)


def coarse_points(side: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the row-major indices of a regular grid of points in a side x side patch."""
    step = max(1, side // CLOUD_SIDE)
    at = np.arange(step // 2, side, step)
    return np.asarray((at[:, None] * side + at[None]).ravel(), dtype=np.int64)


def gray_context(patches: Tensor) -> Tensor:
    """Return gray around each pixel: smoothed at `SIGMAS`, and the gradient's magnitude.

    Smoothing is normalised: what lies outside of the image counts for nothing.

    Parameters
    ----------
    patches
        (B, CHANNELS, S, S).

    Returns
    -------
    (B, 2 len(SIGMAS) + 1, S, S)
    """
    size = patches.shape[-1]
    layers = patches[:, [GRAY, WINDOWED, VALID]].float()
    smooth = []
    for sigma in SIGMAS:
        blurred = _blur(layers, sigma * size / _REFERENCE)
        smooth.append(blurred[:, :2] / blurred[:, 2:].clamp(min=1e-3))
    dy, dx = torch.gradient(smooth[0][:, 1:], dim=(2, 3))
    return torch.cat([*smooth, torch.hypot(dx, dy)], dim=1)


def _blur(layers: Tensor, sigma: float) -> Tensor:
    """Smooth (B, C, S, S) layers with a Gaussian, zero outside, as a product of two matrices."""
    at = torch.arange(layers.shape[-1], device=layers.device, dtype=layers.dtype)
    kernel = torch.exp(-0.5 * ((at[:, None] - at[None]) / sigma) ** 2)
    kernel = kernel / kernel.sum(dim=1).max()
    return kernel @ layers @ kernel
