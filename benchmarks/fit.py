"""How well and how fast boxes with nets are fitted to masks (core/fit.py).

    python -m benchmarks.fit --data ../shared/data

1. Time for a ROI of 1000 x 1000 pixels (a chest phantom's lungs), 8 and 16 bit, K = 1 to 4, beside
   `best_range`, the exact flat range of the same ROI. The two take turns, so that other load on the
   machine falls on both. The fastest run and the processor's time are what an idle core needs.
2. Mean DSC of the fitted boxes with the true masks, one ROI for each part, raw and after the light
   clean-up, beside the ceilings that were measured before anything was built. Every n-th image.

What a net reaches is what the representation can hold, not what a detector finds: from K = 4 on a
net mostly draws the outline. Prints Markdown and writes benchmarks/results/fit.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_graydet.core.ceiling import best_range
from napari_graydet.core.fit import fit_box
from napari_graydet.core.grayscale import GrayImage, scale_for_pixels
from napari_graydet.core.metrics import dice
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import part_rois
from napari_graydet.core.segmentation import CleanUp, box_mask
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td

HERE = Path(__file__).parent
NETS = (1, 2, 3, 4)
SETS = {
    "Montgomery lungs": ("chest", td.MONTGOMERY),
    "tibia crops": ("limb", "tibia_"),
    "knee crops": ("limb", "knee_"),
}
MEASURED_BEFORE = {
    "Montgomery lungs": {1: 0.878, 3: 0.953, 4: 0.969},
    "tibia crops": {1: 0.924, 3: 0.988, 4: 0.993},
    "knee crops": {1: 0.836, 3: 0.964, 4: 0.976},
}
"""Ceilings (DSC): K = 1 raw, K = 3 and 4 after clean-up; "lungs" were of several hospitals."""

SIDE, TARGET_S = 1000, 0.3
LIGHT = CleanUp(opening=1, fill_holes=True, keep_largest=1)

Mask = npt.NDArray[np.bool_]


def main() -> None:
    options = _options()
    load = round(os.getloadavg()[0], 1)  # of other work on the machine, before it is measured
    speed = [timed(bits, k, options.repeats) for bits in (8, 16) for k in NETS]
    print(speed_table(speed), flush=True)
    reach = {}
    for name in SETS:
        parts = list(_parts(options.data, *SETS[name], options.every))
        reach[name] = {"parts": len(parts)} | {str(k): reached(parts, k) for k in NETS}
        print(f"{name}: {json.dumps(reach[name])}", flush=True)
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "every": options.every,
        "repeats": options.repeats,
        "load": load,
        "speed": speed,
        "dice": reach,
    }
    atomic_write_text(options.out, json.dumps(document, indent=2) + "\n")
    print(reach_table(reach))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "fit.json")
    parser.add_argument("--every", type=int, default=4, help="take every n-th image")
    parser.add_argument("--repeats", type=int, default=7)
    return parser.parse_args()


# --- Time -----------------------------------------------------------------------------------


def timed(bits: int, k: int, repeats: int) -> dict[str, Any]:
    """Time a fit and the best range on the same ROI in turns."""
    image, mask = _large(bits)
    inset = (image.width - SIDE) / 2
    roi = RoiBox(inset, inset, inset + SIDE, inset + SIDE)
    runs: dict[str, Callable[[], object]] = {
        "fit": lambda: fit_box(image, mask, roi, k),
        "best_range": lambda: best_range(image, mask, roi),
    }
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            run()
            if turn > 0:
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - start_cpu)
    return {
        "bits": bits,
        "k": k,
        "pixels": SIDE * SIDE,
        "iou": round(fit_box(image, mask, roi, k).iou, 4),
        "fit_s": median(wall["fit"]),
        "fit_fastest_s": min(wall["fit"]),
        "fit_cpu_s": median(cpu["fit"]),
        "best_range_s": median(wall["best_range"]),
        "ratio": median(wall["fit"]) / median(wall["best_range"]),
    }


def _large(bits: int) -> tuple[GrayImage, Mask]:
    rng = np.random.default_rng(td.SEED)
    made = phantoms.make_phantom("chest", rng, size=SIDE + 100, bits=bits)
    return GrayImage(made.pixels, scale_for_pixels(made.pixels, bits)), made.parts > 0


def speed_table(rows: list[dict[str, Any]]) -> str:
    head = ("bits", "K", "fit", "fastest", "processor", "best range", "ratio", "IoU")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        mark = "" if row["fit_s"] < TARGET_S else f" (target {TARGET_S} s)"
        lines.append(
            f"| {row['bits']} | {row['k']} | {row['fit_s']:.3f} s{mark} "
            f"| {row['fit_fastest_s']:.3f} s | {row['fit_cpu_s']:.3f} s "
            f"| {row['best_range_s']:.4f} s | {row['ratio']:.0f} | {row['iou']:.3f} |"
        )
    return "\n".join(lines)


# --- Reach ----------------------------------------------------------------------------------


def _parts(
    data: Path, folder: str, prefix: str, every: int
) -> Iterator[tuple[GrayImage, Mask, RoiBox]]:
    for path in sorted((data / folder / "images").glob(f"{prefix}*.png"))[::every]:
        image = read_image(path)
        parts = td.connected_parts(read_mask(data / folder / "masks" / path.name, image.shape))
        for part, roi in part_rois(parts).items():
            yield image, parts == part, roi


def reached(parts: list[tuple[GrayImage, Mask, RoiBox]], k: int) -> dict[str, float]:
    """Return the mean DSC of fitted boxes, raw and cleaned."""
    raw, cleaned = [], []
    for image, truth, roi in parts:
        mask = box_mask(image.pixels, [fit_box(image, truth, roi, k).box])
        raw.append(dice(mask, truth))
        cleaned.append(dice(LIGHT(mask), truth))
    return {"raw": round(float(np.mean(raw)), 4), "cleaned": round(float(np.mean(cleaned)), 4)}


def reach_table(reach: dict[str, Any]) -> str:
    heads = [f"K = {k}, {what}" for k in NETS for what in ("raw", "cleaned")]
    lines = ["| parts of | n | " + " | ".join(heads) + " | before: K = 1, 3, 4 |"]
    lines.append("|---" * (len(heads) + 3) + "|")
    for name, found in reach.items():
        cells = [f"{found[str(k)][what]:.3f}" for k in NETS for what in ("raw", "cleaned")]
        before = ", ".join(f"{value:.3f}" for value in MEASURED_BEFORE[name].values())
        lines.append(f"| {name} | {found['parts']} | {' | '.join(cells)} | {before} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
