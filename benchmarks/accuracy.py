"""How well the shipped weights find ROIs and gray ranges on images that nothing was trained on.

    python benchmarks/accuracy.py --data ../shared/data

Sets: Shenzhen chest X-rays, held-out Montgomery chest X-rays, held-out phantoms of each kind. For
every image the whole line runs: ROI detector, then the 3D box detector in every detected ROI; the
mask is the union of the boxes. Beside it stands the ceiling: the union of the best gray ranges of
the true parts, each in its true box grown by 3 %; no detector of single gray ranges can do better
by much, however good.

Figures, each a mean over the set:

- ROI IoU: over true parts, of the detected ROI matched to it (each matched once; missed = 0);
- interval IoU: over found parts, of the detected gray range with the best one in the same detected
  ROI, both clipped to the gray values that occur there;
- DSC, IoU: over images, of the raw mask with the true one; "cleaned" after the light clean-up;
- refined: over images, DSC and IoU of the mask that the shipped refiner makes of it, in those ROIs
  and the ones that it sees itself;
- ceiling: over images, IoU of the mask that the best ranges give;
- IoU / ceiling: ratio of the means.

Results go to benchmarks/results/accuracy.json and, as a Markdown table, to standard output. A run
that was cut continues where it stopped (rows are kept per image under --work).
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from napari_graydet.core.ceiling import ceiling_mask, interval_iou
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.matching import match_rois
from napari_graydet.core.metrics import dice, iou
from napari_graydet.core.proposals import BoxProposal, RoiDetector, RoiProposal
from napari_graydet.core.segmentation import CleanUp, box_mask
from napari_graydet.errors import GraydetError
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.weights import SHIPPED, WeightsKind, read_card
from napari_graydet.models.boxes.detector import BoxDetector
from napari_graydet.models.loading import (
    load_box_detector,
    load_refiner,
    load_roi_detector,
    shipped,
)
from napari_graydet.models.refiner.refiner import Refiner
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td

HERE = Path(__file__).parent
TARGETS = {"shenzhen": 0.85, "montgomery": 0.90} | dict.fromkeys(phantoms.KINDS, 0.95)
ROI_TARGET = 0.80

Row = dict[str, Any]


def main() -> None:
    options = _options()
    kinds: tuple[WeightsKind, ...] = ("roi", "boxes", "refiner")
    keys = {kind: read_card(shipped(kind)).sha256 for kind in kinds}
    work: Path = options.work / "-".join(key[:8] for key in keys.values())
    work.mkdir(parents=True, exist_ok=True)
    chain = Chain(
        load_roi_detector(device="cpu"),
        load_box_detector(device="cpu"),
        load_refiner(SHIPPED, device="cpu"),
    )
    results = {}
    for name, samples in _sets(options):
        rows = list(_rows(name, samples, chain, work / f"{name}.jsonl"))
        results[name] = summary(rows)
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": td.SEED,
        "montgomery_held_out": td.montgomery_stems(options.data, "held out"),
        "phantoms": {"first_index": td.HELD_OUT_START, "each": options.phantoms},
        "weights": keys,
        "versions": {name: version(name) for name in ("torch", "ultralytics", "numpy")},
        "python": platform.python_version(),
        "targets": {"iou_over_ceiling": TARGETS, "roi_iou": ROI_TARGET},
        "results": results,
    }
    atomic_write_text(options.out, json.dumps(document, indent=2) + "\n")
    print(table(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "accuracy.json")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "accuracy")
    parser.add_argument("--cache", type=Path, help="folder that keeps drawn phantoms")
    parser.add_argument("--phantoms", type=int, default=40, help="held-out phantoms of each kind")
    parser.add_argument("--limit", type=int, help="only so many images of each real set")
    return parser.parse_args()


def _sets(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[td.Sample]]]:
    yield "shenzhen", islice(td.shenzhen_samples(options.data), options.limit)
    yield "montgomery", islice(td.montgomery_samples(options.data, "held out"), options.limit)
    for kind in phantoms.KINDS:
        yield (
            kind,
            td.phantom_samples(
                kind, options.phantoms, start=td.HELD_OUT_START, cache=options.cache
            ),
        )


def _rows(
    name: str,
    samples: Iterable[td.Sample],
    chain: Chain,
    log: Path,
) -> Iterator[Row]:
    """Yield one row per image; rows of the same picture from an earlier run are read back."""
    lines = log.read_text().splitlines() if log.exists() else []
    known = {row["key"]: row for row in map(json.loads, lines)}
    for sample in samples:
        key = f"{sample.stem} {_digest(sample)}"
        if key not in known:
            row = {"key": key, "set": name} | measure(sample, chain)
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            known[key] = row
        yield known[key]


def _digest(sample: td.Sample) -> str:
    return hashlib.sha256(sample.image.pixels.tobytes() + sample.parts.tobytes()).hexdigest()[:12]


@dataclass(frozen=True)
class Chain:
    """The shipped models."""

    rois: RoiDetector
    boxes: BoxDetector
    refiner: Refiner


def measure(sample: td.Sample, chain: Chain) -> Row:
    """Run the whole line on one image and compare with its truth."""
    image, truth = sample.image, sample.mask
    detected = chain.rois.detect(image)
    found = [p for p in detected if p.label == sample.label]
    ranges = [_best_box(chain.boxes, image, p) for p in found]
    seen = [p for p in chain.refiner.missed(image, detected) if p.label == sample.label]
    boxes = [b for b in (*ranges, *(_best_box(chain.boxes, image, p) for p in seen)) if b]
    refined = chain.refiner.masks(image, boxes).get(sample.label, np.zeros_like(truth))
    solids = [p.box for p in ranges if p is not None]
    mask = box_mask(image.pixels, solids)
    cleaned = CleanUp(opening=1, fill_holes=True, keep_largest=len(solids))(mask)
    matched = match_rois(sample.rois, [p.roi for p in found])
    return {
        "parts": len(sample.rois),
        "rois": len(found),
        "roi_iou": [overlap for _, overlap in matched],
        "interval_iou": [
            value
            for place, _ in matched
            if place is not None
            and (best := ranges[place]) is not None
            and (value := interval_iou(image, truth, found[place].roi, best.box.gray)) is not None
        ],
        "dice": dice(mask, truth),
        "iou": iou(mask, truth),
        "cleaned_iou": iou(cleaned, truth),
        "refined_dice": dice(refined, truth),
        "refined_iou": iou(refined, truth),
        "seen": len(seen),
        "ceiling": iou(ceiling_mask(image, truth, sample.rois), truth),
    }


def _best_box(boxes: BoxDetector, image: GrayImage, roi: RoiProposal) -> BoxProposal | None:
    try:
        proposals = boxes.detect(image, roi.roi, label=roi.label, alternatives=0)
    except GraydetError:  # an ROI of a single gray value has no box
        return None
    return proposals[0] if proposals else None


def summary(rows: list[Row]) -> dict[str, float]:
    """Return the means of a set, as the module's docstring defines them."""

    def mean_of_parts(name: str) -> float:
        values = [value for row in rows for value in row[name]]
        return float(np.mean(values)) if values else 0.0

    means = {name: float(np.mean([row[name] for row in rows])) for name in _PER_IMAGE}
    figures = {
        "images": len(rows),
        "parts": sum(row["parts"] for row in rows),
        "roi_iou": mean_of_parts("roi_iou"),
        "roi_missed": float(np.mean([v < 0.5 for row in rows for v in row["roi_iou"]])),
        "interval_iou": mean_of_parts("interval_iou"),
        **means,
        "iou_over_ceiling": means["iou"] / means["ceiling"],
    }
    return {name: round(value, 4) for name, value in figures.items()}


_PER_IMAGE = ("dice", "iou", "cleaned_iou", "refined_dice", "refined_iou", "seen", "ceiling")
_COLUMNS = {
    "images": "images",
    "parts": "parts",
    "roi_iou": "ROI IoU",
    "interval_iou": "interval IoU",
    "dice": "DSC",
    "iou": "IoU",
    "cleaned_iou": "IoU, cleaned",
    "refined_dice": "DSC, refined",
    "refined_iou": "IoU, refined",
    "ceiling": "ceiling",
    "iou_over_ceiling": "IoU / ceiling",
}


def table(results: dict[str, dict[str, float]]) -> str:
    """Return the results as a Markdown table; a figure below its target is marked."""
    lines = [
        "| set | " + " | ".join(_COLUMNS.values()) + " |",
        "|---" * (len(_COLUMNS) + 1) + "|",
    ]
    for name, figures in results.items():
        cells = [_cell(name, column, figures[column]) for column in _COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(name: str, column: str, value: float) -> str:
    if column in ("images", "parts"):
        return str(int(value))
    target = {"roi_iou": ROI_TARGET, "iou_over_ceiling": TARGETS[name]}.get(column, 0.0)
    text = f"{value:.3f}"
    return text if value >= target else f"{text} (target {target:.2f})"


if __name__ == "__main__":
    main()
