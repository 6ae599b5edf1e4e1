"""What the variants of benchmarks.removal really lack, and how its differences are reckoned."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.removal_boxes import (
    FROM_HISTOGRAM,
    OwnClouds,
    WithoutHistogram,
    WithoutTNets,
)
from benchmarks.removal_images import rois_of
from benchmarks.removal_table import tables
from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.sample import Sample, connected_parts
from napari_graydet.models.pointnet import PointNet, PointNetConfig

CONFIG = PointNetConfig(n_classes=2, global_width=32, tnet_width=16)
RANGES = torch.tensor([[[0, 256], [40, 90], [200, 201], [100, 180]]])


def network(kind: type[PointNet]) -> PointNet:
    """A network whose T-Nets, if any, are far from the identity."""
    torch.manual_seed(0)
    made = kind(CONFIG)
    for name, values in made.named_parameters():
        if ".matrix." in name:
            torch.nn.init.normal_(values, std=10.0)
    return made.eval()


def cloud(points: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(1)
    levels = torch.from_numpy(rng.integers(0, 200, (1, points)))
    gray = levels / 128.0 - 1
    xy = torch.from_numpy(rng.uniform(-1, 1, (1, points, 2)))
    histogram = torch.bincount(levels[0], minlength=256)[None] / points
    return torch.cat([xy, gray[..., None]], dim=2).float(), levels, histogram.float()


@torch.no_grad()
def test_own_clouds_are_those_of_the_paper() -> None:
    points, levels, histogram = cloud()
    made = network(OwnClouds)
    _, own = made(points, levels, histogram, RANGES)
    _, shared = network(PointNet)(points, levels, histogram, RANGES)
    # the program's own slow way: each range's points alone through the same layers
    plain = network(PointNet)
    plain.load_state_dict(made.state_dict())
    _, slow = plain.forward_anchors_one_by_one(points, levels, histogram, RANGES)
    width = CONFIG.global_width
    torch.testing.assert_close(own[..., :width], slow[..., :width])
    assert not torch.allclose(shared[..., :width], slow[..., :width], atol=1e-3)
    assert not own[0, 2, :width].any()  # no point has a level of 200


@torch.no_grad()
def test_without_histogram_nothing_of_it_is_seen() -> None:
    points, levels, histogram = cloud()
    made = network(WithoutHistogram)
    scores, features = made(points, levels, histogram, RANGES)
    other, _ = made(points, levels, histogram.flip(1), RANGES)
    torch.testing.assert_close(scores, other, rtol=0, atol=0)
    whole = network(PointNet)(points, levels, histogram, RANGES)[1]
    torch.testing.assert_close(features[..., :-FROM_HISTOGRAM], whole[..., :-FROM_HISTOGRAM])
    # the range itself is still there: first, stop and height
    where = features[0, :, -FROM_HISTOGRAM - 3 : -FROM_HISTOGRAM] * 256
    first, stop = RANGES[0].T
    torch.testing.assert_close(where, torch.stack([first, stop, stop - first], dim=1).float())


@torch.no_grad()
def test_without_t_nets_points_know_nothing_of_each_other() -> None:
    points, _, _ = cloud()
    some = points[:, ::3]
    for kind, same in ((WithoutTNets, True), (PointNet, False)):
        made = network(kind)
        alone, together = made.point_features(some)[1], made.point_features(points)[1][:, ::3]
        assert torch.allclose(alone, together, atol=1e-5) is same


def test_one_roi_holds_all_parts() -> None:
    mask = np.zeros((60, 80), dtype=np.bool_)
    mask[10:30, 5:20], mask[25:55, 50:70] = True, True
    image = GrayImage(np.zeros(mask.shape, np.uint8), GrayScale.of_bits(8))
    sample = Sample(image, "bone", connected_parts(mask), "test", "a")
    (one,) = rois_of(sample, one=True)
    parts = rois_of(sample, one=False)
    assert len(parts) == 2
    assert one.xyxy == (
        min(roi.x0 for roi in parts),
        min(roi.y0 for roi in parts),
        max(roi.x1 for roi in parts),
        max(roi.y1 for roi in parts),
    )


def test_differences_are_paired_and_by_image(tmp_path: Path) -> None:
    def write(variant: str, seed: int, loss: float) -> None:
        whole = np.random.default_rng(seed).uniform(0.5, 0.7, 8)
        scores = {
            "image": [f"image {i // 2}" for i in range(8)],
            "iou": (whole - loss).tolist(),
            "ceiling": [0.8] * 8,
        }
        training = {"steps": 3, "CPU seconds": 1.0}
        document = {"kind": "boxes", "variant": variant, "seed": seed, "training": training}
        path = tmp_path / f"{variant}-{seed}.json"
        path.write_text(json.dumps(document | {"scores": {"set": scores}}))

    for seed in (0, 1):
        write("all parts", seed, 0.0)
        write("gamma", seed, 0.04)
    write("half", 1, 0.08)
    text = tables(tmp_path)
    # paired, a constant loss has no spread, however much images differ
    assert "-0.050 [-0.050, -0.050]" in next(x for x in text.splitlines() if "gamma" in x)
    # a variant with one seed is compared with that seed alone
    assert "-0.100 [-0.100, -0.100]" in next(x for x in text.splitlines() if "half" in x)
    row = next(x for x in text.splitlines() if "all parts" in x)
    both = np.concatenate([np.random.default_rng(s).uniform(0.5, 0.7, 8) for s in (0, 1)])
    assert float(row.split("|")[-2]) == pytest.approx(both.mean() / 0.8, abs=6e-4)
