"""PointNet over the pixels of an ROI, and the gray-height anchors it classifies.

Read from top to bottom. Sources: Qi et al., "PointNet: deep learning on point sets for 3D
classification and segmentation", CVPR 2017 (the network); Ge et al., BMC Medical Imaging 22:33,
2022 (gray-height anchors, k + 1 class scores); METHOD.md, section 3 (features shared by anchors).

Shapes: B ROIs, P points, C feature channels, L gray levels, A ranges of levels (anchors;
half open, ``first <= l < stop``).
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_linear_bn_eval

from napari_graydet.core.grayscale import LEVELS

OFFSETS = 24
"""Grays around a range, from one width below it to one above, where the CDF is read."""

QUANTILES = 16
"""Quantiles of the ROI's gray that every range sees as context."""


@dataclass(frozen=True)
class PointNetConfig:
    """The network's sizes.

    Parameters
    ----------
    n_classes
        The paper's k; the network scores k + 1, the last being background.
    global_width
        Channels of the max-pooled global feature (1024 in the paper).
    tnet_width
        Channels of the max-pooled feature inside both T-Nets (1024 in Qi et al.).
    dropout
        Before the last layer, while training.
    """

    n_classes: int
    global_width: int = 1024
    tnet_width: int = 256
    dropout: float = 0.1

    @property
    def feature_width(self) -> int:
        """Channels of a range's whole feature: maxima, means, and gray statistics."""
        return self.global_width + MEAN_WIDTH + STATISTICS


MEAN_WIDTH = 128
"""Channels that are averaged over a range as well: those of the layer below the widest one."""

STATISTICS = 6 + OFFSETS + QUANTILES


# --- Blocks ---------------------------------------------------------------------------------


class Mlp(nn.Module):
    """Fully connected layers with batch norm and ReLU, shared by all points ("mlp" in Qi et al.).

    (..., widths[0]) -> (..., widths[-1])
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.norm = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis."""
        rows = x.reshape(-1, x.shape[-1])
        for linear, norm in zip(self.linear, self.norm, strict=True):
            rows = functional.relu(norm(linear(rows)), inplace=True)
        return rows.reshape(*x.shape[:-1], -1)

    def fuse(self) -> None:
        """Fold batch norm into the linear layers, for inference only."""
        pairs = zip(self.linear, self.norm, strict=True)
        self.linear = nn.ModuleList(_folded(a, b) for a, b in pairs)
        self.norm = nn.ModuleList(nn.Identity() for _ in self.linear)


def _folded(linear: nn.Module, norm: nn.Module) -> nn.Linear:
    if not (isinstance(linear, nn.Linear) and isinstance(norm, nn.BatchNorm1d)):
        return cast(nn.Linear, linear)  # folded before
    return fuse_linear_bn_eval(linear, norm)


class TNet(nn.Module):
    """The transformer net: a k x k matrix for the whole cloud, the identity at first.

    Source: Qi et al., "Joint alignment network". (B, P, k) -> (B, k, k)
    """

    def __init__(self, k: int, width: int) -> None:
        super().__init__()
        self.k = k
        self.points = Mlp(k, 64, 128, width)
        self.cloud = Mlp(width, width // 2, width // 4)
        self.matrix = nn.Linear(width // 4, k * k)
        nn.init.zeros_(self.matrix.weight)
        nn.init.zeros_(self.matrix.bias)

    def forward(self, points: Tensor) -> Tensor:
        """Return the matrix of each cloud."""
        pooled = self.points(points).amax(dim=1)
        matrix: Tensor = self.matrix(self.cloud(pooled)).reshape(-1, self.k, self.k)
        return matrix + torch.eye(self.k, device=points.device)


# --- Maxima and means over ranges of gray levels --------------------------------------------


def level_maxima(rows: Tensor, levels: Tensor) -> Tensor:
    """Max-pool (P, C) rows by their (P,) gray levels; (L, C), -inf where a level has no point."""
    table = rows.new_full((LEVELS, rows.shape[1]), -torch.inf)
    # With the index expanded along rows this takes PyTorch's fast path.
    return table.scatter_reduce_(0, levels[:, None].expand_as(rows), rows, "amax")


def maxima_over_ranges(table: Tensor, ranges: Tensor) -> Tensor:
    """Return the maxima of (L, C) rows over (A, 2) ranges of them, by a sparse table; (A, C).

    Row j of the sparse table holds the maxima of 2^j neighbouring levels; any range is the union
    of two such runs (Bender and Farach-Colton 2000), so the result equals brute force to the bit.
    """
    first, stop = ranges[:, 0], ranges[:, 1]
    row = torch.log2((stop - first).double()).floor().long()
    best = table.new_empty(len(ranges), table.shape[1])
    runs = table
    for j in range(LEVELS.bit_length()):
        own = row == j
        best[own] = torch.maximum(runs[first[own]], runs[stop[own] - 2**j])
        runs = torch.maximum(runs[: -(2**j)], runs[2**j :])
    return best


def indexed_keys(features: Tensor) -> Tensor:
    """Turn (P, C) float32 features into float64 keys that order alike and know their point.

    The point's index, up to 2^29, rides in the bits of the mantissa that a float32 leaves free.
    """
    index = torch.arange(len(features), device=features.device)[:, None]
    return (features.double().view(torch.int64) | index).view(torch.float64)


def points_of(keys: Tensor) -> Tensor:
    """Return the int64 point indices in maxima of `indexed_keys`, -1 for -inf."""
    points = keys.view(torch.int64) & _INDEX_BITS
    return points.masked_fill_(torch.isneginf(keys), -1)


_INDEX_BITS = 2**29 - 1


def range_maxima(features: Tensor, levels: Tensor, ranges: Tensor) -> Tensor:
    """Max-pool (B, P, C) point features over (B, A, 2) ranges; 0 where a range has no point.

    For a gradient the search carries the points' indices along, without a gradient of its own;
    it then flows through one gather.

    Returns
    -------
    (B, A, C)
    """
    rois = zip(features.detach(), levels, ranges, strict=True)
    if not features.requires_grad:
        found = [maxima_over_ranges(level_maxima(f, at), r) for f, at, r in rois]
        maxima = torch.stack(found)
        return maxima.masked_fill_(torch.isneginf(maxima), 0.0)
    with torch.no_grad():
        tables = ((level_maxima(indexed_keys(f), at), r) for f, at, r in rois)
        points = torch.stack([points_of(maxima_over_ranges(table, r)) for table, r in tables])
    return features.gather(1, points.clamp(min=0)) * (points >= 0)


def range_means(features: Tensor, levels: Tensor, ranges: Tensor) -> Tensor:
    """Average point features over ranges of gray levels; 0 where a range has no point.

    As the mass of a range is a difference of two cumulative histograms, the sum of any feature is
    a difference of two cumulative sums over levels.

    Returns
    -------
    (B, A, C)
    """
    b, p, c = features.shape
    ones = features.new_ones(b, p, 1)
    rows = torch.cat([features, ones], dim=2)
    sums = features.new_zeros(b, LEVELS, c + 1)
    sums = sums.scatter_add(1, levels[..., None].expand_as(rows), rows)
    cumulative = functional.pad(sums.double().cumsum(dim=1), (0, 0, 1, 0))
    below, upto = (cumulative.gather(1, ranges[..., i, None].expand(-1, -1, c + 1)) for i in (0, 1))
    total = (upto - below).to(features.dtype)
    return total[..., :c] / total[..., c:].clamp(min=1.0)


def gray_statistics(histogram: Tensor, ranges: Tensor) -> Tensor:
    """Describe where a range lies in the ROI's gray histogram (METHOD.md, section 3).

    Parameters
    ----------
    histogram
        (B, L) float, share of the ROI's pixels at each level (all pixels, not only the points).
    ranges
        (B, A, 2) int64 levels.

    Returns
    -------
    (B, A, STATISTICS): first, stop and height in unit gray; mass below, inside and above; the CDF
    at `OFFSETS` grays around the range; the ROI's gray quantiles.
    """
    cdf = functional.pad(histogram.cumsum(dim=1), (1, 0))
    edges = ranges.to(histogram.dtype) / LEVELS
    at_edges = _read(cdf, edges)
    below, upto = at_edges[..., :1], at_edges[..., 1:]
    height = edges[..., 1:] - edges[..., :1]
    steps = torch.linspace(-1.0, 2.0, OFFSETS, device=histogram.device)
    around = _read(cdf, edges[..., :1] + height * steps)
    shares = (torch.arange(QUANTILES, device=histogram.device) + 0.5) / QUANTILES
    shares = shares.expand(len(cdf), QUANTILES).contiguous()
    quantiles = torch.searchsorted(cdf, shares).to(histogram.dtype) / LEVELS
    context = quantiles[:, None].expand(-1, ranges.shape[1], -1)
    return torch.cat([edges, height, below, upto - below, 1 - upto, around, context], dim=2)


def _read(cdf: Tensor, gray: Tensor) -> Tensor:
    """Interpolate (B, L + 1) cumulative masses at (B, A, n) unit grays."""
    position = gray.clamp(0, 1) * LEVELS
    first = position.floor().clamp(max=LEVELS - 1)
    index = first.long().flatten(1)
    lower, upper = cdf.gather(1, index), cdf.gather(1, index + 1)
    return (lower + (upper - lower) * (position - first).flatten(1)).view_as(gray)


# --- The network ----------------------------------------------------------------------------


class PointNet(nn.Module):
    """Class scores of ranges of gray in a pixel cloud.

    The same weights serve two ways: `forward` computes point features once per ROI and pools them
    for every range; `forward_anchors_one_by_one` is the paper's way.
    """

    def __init__(self, config: PointNetConfig) -> None:
        super().__init__()
        self.config = config
        self.input_tnet = TNet(3, config.tnet_width)
        self.mlp1 = Mlp(3, 64, 64)
        self.feature_tnet = TNet(64, config.tnet_width)
        self.mlp2 = Mlp(64, 64, MEAN_WIDTH)
        self.mlp3 = Mlp(MEAN_WIDTH, config.global_width)
        self.head = Mlp(config.feature_width, 512, 256)
        self.dropout = nn.Dropout(config.dropout)
        self.scores = nn.Linear(256, config.n_classes + 1)

    def point_features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, P, 3) points x, y, gray to (B, P, MEAN_WIDTH) and (B, P, C) features."""
        aligned = points @ self.input_tnet(points)
        local = self.mlp1(aligned)
        middle = self.mlp2(local @ self.feature_tnet(local))
        return middle, self.mlp3(middle)

    def range_features(
        self,
        point_features: tuple[Tensor, Tensor],
        levels: Tensor,
        histogram: Tensor,
        ranges: Tensor,
    ) -> Tensor:
        """Pool point features over ranges; (B, A, feature_width)."""
        middle, widest = point_features
        pooled = (
            range_maxima(widest, levels, ranges),
            range_means(middle, levels, ranges),
            gray_statistics(histogram, ranges),
        )
        return torch.cat(pooled, dim=2)

    def classify(self, features: Tensor) -> Tensor:
        """Map (..., feature_width) features to (..., k + 1) class scores before softmax."""
        scores: Tensor = self.scores(self.dropout(self.head(features)))
        return scores

    def forward(
        self, points: Tensor, levels: Tensor, histogram: Tensor, ranges: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score all ranges of B ROIs with point features that are computed once per ROI.

        Parameters
        ----------
        points
            (B, P, 3) float x, y, gray in [-1, 1].
        levels
            (B, P) int64 gray levels of the points.
        histogram
            (B, L) float shares of the ROI's pixels.
        ranges
            (B, A, 2) int64 first and stop level, ``0 <= first < stop <= 256``.

        Returns
        -------
        scores
            (B, A, k + 1), background last, before softmax.
        features
            (B, A, feature_width).
        """
        shared = self.point_features(points)
        features = self.range_features(shared, levels, histogram, ranges)
        return self.classify(features), features

    def forward_anchors_one_by_one(
        self, points: Tensor, levels: Tensor, histogram: Tensor, ranges: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score ranges as the paper does: each one's own points through the whole network.

        Same arguments and results as `forward`. With T-Nets that return the identity the results
        are equal; otherwise each range's points are aligned on their own here.
        """
        rows = []
        for b, ranges_of_roi in enumerate(ranges):
            for first, stop in ranges_of_roi.tolist():
                own = (levels[b] >= first) & (levels[b] < stop)
                rows.append(self._pool_own(points[b, own]))
        pooled = torch.stack(rows).view(*ranges.shape[:2], -1)
        features = torch.cat([pooled, gray_statistics(histogram, ranges)], dim=2)
        return self.classify(features), features

    def _pool_own(self, points: Tensor) -> Tensor:
        """Pool the features of one range's (N, 3) points; zeros without points."""
        if len(points) == 0:
            return points.new_zeros(self.config.global_width + MEAN_WIDTH)
        middle, widest = self.point_features(points[None])
        return torch.cat([widest.amax(dim=1)[0], middle.mean(dim=1)[0]])

    def fused(self) -> PointNet:
        """Return a copy for inference with batch norm folded into the linear layers."""
        network = copy.deepcopy(self).eval()
        for module in network.modules():
            if isinstance(module, Mlp):
                module.fuse()
        return network
