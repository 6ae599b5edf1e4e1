"""A U-Net whose encoder is the backbone of YOLOv3-tiny, so that it can start from COCO's weights.

Source: Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015; the encoder is that of Redmon and
Farhadi, "YOLOv3", 2018, to a 32nd of the resolution. Measured in docs/decisions/0018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graydet.errors import WeightsError
from napari_graydet.models.refiner.patch import GRAY, X
from napari_graydet.models.refiner.roi_unet import DoubleConvolution

WIDTHS = (16, 32, 64, 128, 256, 512)
"""Channels of the backbone from fine to coarse."""

PLACES = (0, 2, 4, 6, 8, 10)
"""Where its convolutions stand in YOLOv3-tiny."""


@dataclass(frozen=True)
class YoloUNetConfig:
    """The network's sizes.

    Parameters
    ----------
    n_classes
        Number of classes.
    decoder
        Channels of each level on the way back, from fine to coarse.
    """

    n_classes: int
    decoder: tuple[int, ...] = (16, 32, 64, 96, 128)


class _Convolution(nn.Sequential):
    """A convolution of YOLOv3-tiny."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width, eps=1e-3, momentum=0.03),
            nn.LeakyReLU(0.1),
        )


class YoloUNet(nn.Module):
    """Mask logits of a patch; one network for all classes, which it is told.

    The backbone sees gray alone. What else is known of a pixel is added to its first features, at
    first as nothing.
    """

    multiple = 1 << (len(WIDTHS) - 1)
    """The side of a patch must be a multiple of this."""

    def __init__(self, config: YoloUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.ModuleList(
            _Convolution(before, width) for before, width in zip((1, *WIDTHS), WIDTHS, strict=False)
        )
        self.others = nn.Conv2d(X, WIDTHS[0], 3, padding=1, bias=False)
        nn.init.zeros_(self.others.weight)
        self.classes = nn.Embedding(config.n_classes, WIDTHS[-1])
        nn.init.normal_(self.classes.weight, std=0.1)
        coarse = (*config.decoder[1:], WIDTHS[-1])
        self.decoder = nn.ModuleList(
            DoubleConvolution(skip + below, width)
            for skip, below, width in zip(WIDTHS, coarse, config.decoder, strict=False)
        )
        self.logits = nn.Conv2d(config.decoder[0], 1, 1)

    def forward(self, patches: Tensor, class_ids: Tensor) -> Tensor:
        """Map (B, CHANNELS, S, S) patches and (B,) class ids to (B, S, S) logits."""
        x = self.encoder[0]((patches[:, GRAY : GRAY + 1] + 1) / 2) + self.others(patches[:, :X])
        skips = [x]
        for block in self.encoder[1:]:
            x = block(functional.max_pool2d(x, 2))
            skips.append(x)
        x = x + self.classes(class_ids)[:, :, None, None]
        for block, skip in zip(reversed(self.decoder), skips[-2::-1], strict=True):
            x = block(torch.cat([skip, functional.interpolate(x, scale_factor=2.0)], dim=1))
        logits: Tensor = self.logits(x)[:, 0]
        return logits

    def learn(self, patches: Tensor, class_ids: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the targets they are to reach; here those of all pixels."""
        return self(patches, class_ids), target

    @torch.no_grad()
    def take_backbone(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Start from the backbone of a YOLOv3-tiny, as `darknet.read_darknet` returns COCO's.

        Its first convolution sees red, green and blue, which are one in a gray image.

        Raises
        ------
        WeightsError
            If they are of another network.
        """
        state = self.encoder.state_dict()
        for name, value in state.items():
            theirs = _their_name(name)
            if theirs.endswith("num_batches_tracked"):
                continue
            if theirs not in tensors:
                raise WeightsError(f"Expected the weights of a YOLOv3-tiny, got no {theirs}.")
            found = torch.from_numpy(np.array(tensors[theirs], dtype=np.float32))
            if theirs == "model.0.conv.weight":
                found = found.sum(dim=1, keepdim=True)
            if found.shape != value.shape:
                raise WeightsError(
                    f"Expected {theirs} of a YOLOv3-tiny, {tuple(value.shape)}, got "
                    f"{tuple(found.shape)}."
                )
            value.copy_(found)


def _their_name(name: str) -> str:
    """Return what ultralytics calls a tensor of the encoder: "0.1.bias" is "model.0.bn.bias"."""
    level, part, rest = name.split(".")
    return f"model.{PLACES[int(level)]}.{('conv', 'bn')[int(part)]}.{rest}"
