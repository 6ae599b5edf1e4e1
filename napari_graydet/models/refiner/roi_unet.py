"""A small U-Net on the patch of one ROI.

Source: Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015, with batch norm. The patch's pixels
are folded 2 x 2 into channels first and unfolded at the end (Shi et al., "sub-pixel convolution",
CVPR 2016): a third of the time of full resolution at every level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graydet.models.refiner.patch import CHANNELS, X

FOLD = 2


@dataclass(frozen=True)
class RoiUNetConfig:
    """The network's sizes.

    Parameters
    ----------
    n_classes
        Number of classes.
    widths
        Channels of each level from fine to coarse.
    coordinates
        Whether it is told where in the patch a pixel lies: weights from before
        docs/decisions/0012 are, and lean on it, where another hospital frames its images otherwise.
    """

    n_classes: int
    widths: tuple[int, ...] = (24, 48, 96, 192)
    coordinates: bool = False

    @property
    def channels(self) -> int:
        """How many of a patch's channels are looked at; coordinates are the last ones."""
        return CHANNELS if self.coordinates else X


class DoubleConvolution(nn.Sequential):
    """Two 3 x 3 convolutions with batch norm and ReLU."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(before, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )


class RoiUNet(nn.Module):
    """Mask logits of a patch; one network for all classes, which it is told."""

    def __init__(self, config: RoiUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Conv2d(config.channels * FOLD**2, widths[0], 3, padding=1)
        self.classes = nn.Embedding(config.n_classes, widths[0])
        nn.init.normal_(self.classes.weight, std=0.1)
        self.down = nn.ModuleList(
            DoubleConvolution(before, width)
            for before, width in zip(widths[:1] + widths, widths, strict=False)
        )
        self.up = nn.ModuleList(
            DoubleConvolution(fine + coarse, fine)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.logits = nn.Conv2d(widths[0], FOLD**2, 1)

    @property
    def multiple(self) -> int:
        """The side of a patch must be a multiple of this."""
        return FOLD << (len(self.config.widths) - 1)

    def forward(self, patches: Tensor, class_ids: Tensor) -> Tensor:
        """Map (B, CHANNELS, S, S) patches and (B,) class ids to (B, S, S) logits."""
        x = functional.pixel_unshuffle(patches[:, : self.config.channels], FOLD)
        x = functional.relu(self.stem(x) + self.classes(class_ids)[:, :, None, None])
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, functional.interpolate(x, scale_factor=2.0)], dim=1))
        return functional.pixel_shuffle(self.logits(x), FOLD)[:, 0]

    def learn(self, patches: Tensor, class_ids: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and the targets they are to reach; here those of all pixels."""
        return self(patches, class_ids), target
