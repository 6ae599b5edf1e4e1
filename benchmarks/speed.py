"""How fast 3D boxes are found on the CPU (docs/benchmarks.md).

    python benchmarks/speed.py [--repeats 7] [--threads 1]

1. All anchors of an ROI: point features shared by the anchors, against the same network and weights
   run anchor by anchor on each anchor's own points, as in the paper.
2. A warm `BoxDetector.detect`, against one forward pass of a U-Net of 2 M parameters at 512 x 512.

Both sides of a comparison get the same fused layers and threads, and take turns, so that other load
on the machine falls on both. Prints Markdown and writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.roi import RoiBox
from napari_graydet.models.boxes.detector import BoxDetector, BoxModel, RoiInput, level_ranges
from napari_graydet.models.loading import shipped
from napari_graydet.models.pointnet import PointNet
from napari_graydet.workflows.shipped_data import HELD_OUT_START, phantom_sample

RESULTS = Path(__file__).parent / "results" / "speed.json"


class UNet(nn.Module):
    """A plain U-Net (Ronneberger et al. 2015) with four poolings and batch norm."""

    def __init__(self, base: int = 16) -> None:
        super().__init__()
        widths = [base * 2**i for i in range(5)]
        self.down = nn.ModuleList(
            self._block(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.up = nn.ModuleList(self._block(a, b) for a, b in pairs)
        self.out = nn.Conv2d(base, 1, 1)

    @staticmethod
    def _block(a: int, b: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for n in (a, b):
            layers += [nn.Conv2d(n, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for grow, block, skip in zip(self.grow, self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, grow(x)], dim=1))
        out: Tensor = self.out(x)
        return out


def in_turn(first: Callable[[], object], second: Callable[[], object], repeats: int) -> list[float]:
    """Return the median seconds of two functions that take turns, after one warm-up each."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for function, taken in zip((first, second), times, strict=True):
            start = time.perf_counter()
            function()
            if turn > 0:
                taken.append(time.perf_counter() - start)
    return [median(taken) for taken in times]


def anchors_at_once(
    model: BoxModel, network: PointNet, image: GrayImage, roi: RoiBox, repeats: int
) -> dict[str, float]:
    """Time all anchors of an ROI in both ways of the network."""
    seen = RoiInput.of_roi(image, roi)
    edges = model.grid.edges
    inputs = [
        torch.from_numpy(array)[None]
        for array in (seen.points, seen.levels, seen.histogram, level_ranges(edges))
    ]
    with torch.inference_mode():
        shared, single = in_turn(
            lambda: network(*inputs),
            lambda: network.forward_anchors_one_by_one(*inputs),
            repeats,
        )
    return {
        "anchors": len(edges),
        "points": len(seen.points),
        "shared_s": shared,
        "one_by_one_s": single,
        "times_faster": single / shared,
    }


def detect_against_unet(
    detector: BoxDetector, image: GrayImage, roi: RoiBox, repeats: int
) -> dict[str, float]:
    """Time a warm detection in one ROI and a U-Net's forward pass."""
    unet = UNet().eval()
    picture = torch.rand(1, 1, 512, 512)

    def forward() -> None:
        with torch.inference_mode():
            unet(picture)

    detect, unet_pass = in_turn(lambda: detector.detect(image, roi), forward, repeats)
    return {
        "roi_pixels": round(roi.area),
        "detect_s": detect,
        "unet_parameters": sum(p.numel() for p in unet.parameters()),
        "unet_forward_s": unet_pass,
        "rois_per_unet_pass": unet_pass / detect,
    }


def as_markdown(anchors: dict[str, float], detect: dict[str, float]) -> str:
    """Return both comparisons as a table."""
    return "\n".join(
        [
            "| on the CPU, median | time |",
            "|---|---|",
            f"| {anchors['anchors']} anchors of an ROI, {anchors['points']} points, features "
            f"shared | {anchors['shared_s'] * 1e3:.1f} ms |",
            f"| the same network, anchor by anchor | {anchors['one_by_one_s'] * 1e3:.0f} ms |",
            f"| times faster | **{anchors['times_faster']:.0f}** |",
            f"| `BoxDetector.detect`, warm, ROI of {detect['roi_pixels']} pixels | "
            f"{detect['detect_s'] * 1e3:.1f} ms |",
            f"| U-Net of {detect['unet_parameters'] / 1e6:.1f} M parameters, one pass at "
            f"512 x 512 | {detect['unet_forward_s'] * 1e3:.0f} ms |",
            f"| ROIs detected in the time of that pass | **{detect['rois_per_unet_pass']:.1f}** |",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    detector = BoxDetector.load(shipped("boxes"), device="cpu")
    sample = phantom_sample("chest", HELD_OUT_START)
    roi = max(sample.rois, key=lambda box: box.area)
    network = detector.model.network.fused()
    anchors = anchors_at_once(detector.model, network, sample.image, roi, given.repeats)
    detect = detect_against_unet(detector, sample.image, roi, given.repeats)
    results = {
        "machine": {"processor": platform.machine(), "threads": given.threads},
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "anchors": anchors,
        "detect": detect,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(as_markdown(anchors, detect))


if __name__ == "__main__":
    main()
