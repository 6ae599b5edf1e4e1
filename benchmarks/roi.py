"""How well ROIs are found on held-out images: acceptance table 5.

    python -m benchmarks.roi --cache FOLDER                          # the shipped weights
    python -m benchmarks.roi --weights RUN/roi.safetensors --label "25 Montgomery images" \
        --sets montgomery shenzhen
    python -m benchmarks.roi --table                                 # Markdown of what is there

An ROI is true around every connected part of the mask (a part of a phantom, all pieces of a bone
together), grown by 3 %. Of the ROIs found only those of the image's class count: nobody drew the
ribs of chest X-rays. All but AP50 take them down to the detector's own least score.

- AP50: average precision at IoU 0.5 over the whole set (core.matching.average_precision), from
  scores of 0.03 on; there is one class in a set;
- ROI IoU: mean over true parts of the best ROI's IoU, whether or not another part claims it too;
- missed: share of true parts of which no ROI has an IoU of 0.5;
- false: ROIs for each image that AP50 counts as wrong, so also a second one for the same part;
- other class: ROIs for each image of a class that the set says nothing about.

Intervals are of the bootstrap over images, which are patients. Every job (weights, set) is one file
in benchmarks/results/roi, with a row for each image; a job whose file is there is skipped.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_graydet.core.matching import area_of_precision, right_proposals
from napari_graydet.core.proposals import RoiProposal
from napari_graydet.core.roi import RoiBox, pairwise_iou_2d
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.weights import read_card
from napari_graydet.models.loading import shipped
from napari_graydet.models.roi.detector import VOTING_SCORE, YoloRoiDetector
from napari_graydet.models.roi.metrics import FOUND
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.compare.statistics import confidence

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "roi"
SETS = ("montgomery", "shenzhen", *phantoms.KINDS)
SHIPPED = "shipped"
TARGET = 0.02
"""Of missed parts, on chest."""

RESAMPLES = 1000
"""Of average precision."""

Row = dict[str, Any]


def main() -> None:
    options = _options()
    if not options.table:
        weights = options.weights or shipped("roi")
        for name in options.sets:
            path = (
                options.out / f"{'_'.join(re.findall(r'[A-Za-z0-9]+', options.label))}-{name}.json"
            )
            if not path.exists():
                print(path.stem, file=sys.stderr, flush=True)
                options.out.mkdir(parents=True, exist_ok=True)
                atomic_write_text(path, json.dumps(_job(name, weights, options)) + "\n")
    print(table([json.loads(path.read_text()) for path in sorted(options.out.glob("*.json"))]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--weights", type=Path, help="ROI weights; the shipped ones if left out")
    parser.add_argument("--label", default=SHIPPED, help="what the weights are called in the table")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--cache", type=Path, help="folder that keeps drawn phantoms")
    parser.add_argument("--phantoms", type=int, default=40, help="held-out phantoms of each kind")
    parser.add_argument("--limit", type=int, help="only so many images of each set")
    parser.add_argument("--table", action="store_true", help="print the table, compute nothing")
    options = parser.parse_args()
    if options.weights is not None and options.label == SHIPPED:
        parser.error("give the weights a --label; 'shipped' stands for those of the package")
    return options


def _samples(name: str, options: argparse.Namespace) -> Iterable[td.Sample]:
    if name == "montgomery":
        found = td.montgomery_samples(options.data, "held out")
    elif name == "shenzhen":
        found = td.shenzhen_samples(options.data)
    else:
        found = td.phantom_samples(
            name, options.phantoms, start=td.HELD_OUT_START, cache=options.cache
        )
    return islice(found, options.limit)


def _job(name: str, weights: Path, options: argparse.Namespace) -> dict[str, Any]:
    detector = YoloRoiDetector.from_weights(weights, device="cpu")
    rows = [row_of(detector, sample) for sample in _samples(name, options)]
    return {
        "label": options.label,
        "set": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "weights": read_card(weights).sha256,
        "settings": detector.settings.model_dump(),
        "versions": {package: version(package) for package in ("torch", "ultralytics", "numpy")},
        "limit": options.limit,
        "summary": summary(rows),
        "rows": rows,
    }


# --- Scores ---------------------------------------------------------------------------------------


def row_of(detector: YoloRoiDetector, sample: td.Sample) -> Row:
    """Detect once, as far down as candidates go, and compare with the truth."""
    begun = time.process_time()
    found = detector.detect(sample.image, min_score=VOTING_SCORE)
    seconds = time.process_time() - begun
    scores = compared(sample.rois, found, sample.label, detector.settings.min_score)
    return {"image": sample.stem, "class": sample.label} | scores | {"CPU s": round(seconds, 3)}


def compared(
    truth: Sequence[RoiBox], found: Sequence[RoiProposal], label: str, least: float
) -> Row:
    """Return what an image adds to the figures; `found` goes below `least` for AP50 alone."""
    own = [p for p in found if p.label == label]
    right = right_proposals(truth, own, FOUND)
    shown = np.array([p.score >= least for p in own], dtype=np.bool_)
    overlap = pairwise_iou_2d(truth, [p.roi for p in own if p.score >= least])
    return {
        "best": overlap.max(axis=1, initial=0.0).round(5).tolist(),
        "scores": [round(p.score, 6) for p in own],
        "right": right.tolist(),
        "false": int(np.count_nonzero(shown & ~right)),
        "other": sum(p.score >= least and p.label != label for p in found),
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures of a set, each with the ends of its 95 % interval."""
    parts = [(value, row["image"]) for row in rows for value in row["best"]]
    best, owners = [value for value, _ in parts], [image for _, image in parts]
    missed = [float(value < FOUND) for value in best]
    names = [row["image"] for row in rows]
    return {
        "class": " ".join(sorted({row["class"] for row in rows})),
        "images": len(rows),
        "parts": len(parts),
        "AP50": _precision_with_interval(rows),
        "ROI IoU": _with_interval(best, owners),
        "missed": _with_interval(missed, owners),
        "false": _with_interval([float(row["false"]) for row in rows], names),
        "other class": _with_interval([float(row["other"]) for row in rows], names),
    }


def _with_interval(scores: Sequence[float], patients: Sequence[str]) -> list[float]:
    found = confidence(scores, patients)
    return [round(value, 5) for value in (found.mean, found.low, found.high)]


def _precision_with_interval(rows: Sequence[Row]) -> list[float]:
    """Return AP50 of all images, and its quantiles over images drawn again."""
    scores = [np.array(row["scores"], dtype=np.float64) for row in rows]
    right = [np.array(row["right"], dtype=np.bool_) for row in rows]
    parts = [len(row["best"]) for row in rows]

    def of(chosen: npt.NDArray[np.int64]) -> float:
        total = sum(parts[i] for i in chosen)
        pooled = (
            np.concatenate([scores[i] for i in chosen]),
            np.concatenate([right[i] for i in chosen]),
        )
        return area_of_precision(*pooled, total) if total else 0.0

    rng = np.random.default_rng(0)
    drawn = rng.integers(len(rows), size=(RESAMPLES, len(rows)))
    low, high = np.quantile([of(chosen) for chosen in drawn], [0.025, 0.975])
    return [round(float(value), 5) for value in (of(np.arange(len(rows))), low, high)]


# --- The table ------------------------------------------------------------------------------------

_COLUMNS: dict[str, Callable[[float], str]] = {
    "AP50": "{:.3f}".format,
    "ROI IoU": "{:.3f}".format,
    "missed": "{:.1%}".format,
    "false": "{:.2f}".format,
    "other class": "{:.2f}".format,
}


def table(jobs: Sequence[Mapping[str, Any]]) -> str:
    """Return the results as a Markdown table, with the mean of AP50 over classes below."""
    head = ["weights", "set", "class", "images / parts", "AP50", "ROI IoU", "missed"]
    head += ["false / image", "other class / image"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    order = sorted(jobs, key=lambda job: (job["label"] != SHIPPED, job["label"], _place(job)))
    for job in order:
        found = job["summary"]
        cells = [job["label"], job["set"], found["class"], f"{found['images']} / {found['parts']}"]
        for column, shown in _COLUMNS.items():
            mean, low, high = (shown(value) for value in found[column])
            cells.append(f"{mean} [{low}, {high}]")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_means(order)])


def _place(job: Mapping[str, Any]) -> int:
    return SETS.index(job["set"])


def _means(jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return per weights AP50 of each class, over the sets of the class, and mAP50 over classes."""
    lines = []
    for label in dict.fromkeys(job["label"] for job in jobs):
        by_class: dict[str, list[float]] = {}
        for job in jobs:
            if job["label"] == label:
                found = job["summary"]
                by_class.setdefault(found["class"], []).append(found["AP50"][0])
        means = {name: float(np.mean(values)) for name, values in by_class.items()}
        each = ", ".join(f"{name} {value:.3f}" for name, value in sorted(means.items()))
        lines.append(f"{label}: mAP50 {np.mean(list(means.values())):.3f} ({each})")
    return lines


if __name__ == "__main__":
    main()
