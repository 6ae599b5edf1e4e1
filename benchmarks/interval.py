"""The box detector alone, beside simple rivals: which share of the ceiling gray ranges reach.

    python -m benchmarks.interval --data ../shared/data

True ROIs of parts, every edge moved by 6 % of the size (normal, at most two deviations), the class
given; mask IoU of the best box in the ROI over that of the best gray range there. The rivals
(core/rivals.py) learn from what the shipped weights learned from: the training side of Montgomery
and 130 phantoms of each kind. Shenzhen, `limb` and everything called held out was never trained on.
Otsu and multi-Otsu learn only which band is the object.

Each seed draws the rivals' training ROIs and the jitter anew. The gain of the network over ridge on
the histogram is given with an interval of the paired bootstrap over images (workflows/statistics).
ROIs are scored once and kept under --work, so that a run that was cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.held_out_rois import (
    FindsBoxes,
    HeldOutRoi,
    ceilings,
    held_out_rois,
    mask_ious,
)
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask
from napari_graydet.io.weights import read_card
from napari_graydet.models.boxes.interval import KINDS, IntervalDetector, fit_interval
from napari_graydet.models.boxes.samples import BoxSample, crop_sample
from napari_graydet.models.loading import load_box_detector, shipped
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.compare.statistics import compare_paired
from napari_graydet.workflows.weights import CLASSES

HERE = Path(__file__).parent
NETWORK = "3D box detector"
METHODS = (*KINDS, NETWORK)
TRAINING_PHANTOMS = 130
VERSION = 1
"""Of the protocol; a new one starts all figures anew."""

Scores = dict[str, list[Any]]


def main() -> None:
    options = _options()
    key = read_card(shipped("boxes")).sha256
    work: Path = options.work / f"{key[:8]}-{VERSION}"
    work.mkdir(parents=True, exist_ok=True)
    network = load_box_detector(shipped("boxes"), device="cpu")  # once: weights may be replaced
    results = {}
    for name, samples in _sets(options):
        scores = _all_seeds(name, samples, network, options, work)
        results[name] = summary(scores, len(options.seeds))
        print(f"{name}: {json.dumps(results[name])}", flush=True)
        _write(results, key, options)
    print(table(results))


def _write(results: dict[str, Any], key: str, options: argparse.Namespace) -> None:
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seeds": options.seeds,
        "weights": key,
        "training": {"montgomery": "train", "phantoms of each kind": TRAINING_PHANTOMS},
        "montgomery_held_out": td.montgomery_stems(options.data, "held out"),
        "results": results,
    }
    atomic_write_text(options.out, json.dumps(document, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interval.json")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "interval")
    parser.add_argument("--cache", type=Path, help="folder that keeps drawn phantoms")
    parser.add_argument("--phantoms", type=int, default=40, help="held-out phantoms of each kind")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=int, help="only so many images of each set")
    return parser.parse_args()


# --- Sets: parts of images, the group of a sample being its image ----------------------------


def _sets(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[td.Sample]]]:
    limit, data = options.limit, options.data
    yield "montgomery held out", islice(td.montgomery_samples(data, "held out"), limit)
    yield "shenzhen", islice(td.shenzhen_samples(data), limit)
    for kind in phantoms.KINDS:
        count = min(options.phantoms, limit or options.phantoms)
        found = td.phantom_samples(kind, count, start=td.HELD_OUT_START, cache=options.cache)
        yield f"{kind} phantoms held out", found
    for prefix in ("knee", "tibia"):
        yield f"limb {prefix}", islice(limb_samples(data, prefix), limit)


def limb_samples(data: Path, prefix: str) -> Iterator[td.Sample]:
    for path in sorted((data / "limb" / "images").glob(f"{prefix}_*.png")):
        image = read_image(path)
        mask = read_mask(data / "limb" / "masks" / path.name, image.shape)
        yield td.Sample(image, "bone", td.connected_parts(mask), f"limb {prefix}", path.stem)


def _parts(samples: Iterable[td.Sample]) -> list[BoxSample]:
    return [
        crop_sample(s.image, s.mask, roi, CLASSES.index(s.label), s.stem)
        for s in samples
        for roi in s.rois
    ]


def _training(options: argparse.Namespace) -> list[BoxSample]:
    counts = dict.fromkeys(phantoms.KINDS, TRAINING_PHANTOMS)
    return box_samples(td.training_samples(options.data, counts, cache=options.cache), CLASSES)


# --- Scores ---------------------------------------------------------------------------------


def _all_seeds(
    name: str,
    samples: Iterable[td.Sample],
    network: FindsBoxes,
    options: argparse.Namespace,
    work: Path,
) -> Scores:
    """Return per ROI its image, its ceiling and what every method reaches, over all seeds."""
    scores: Scores = {"image": [], "ceiling": []} | {method: [] for method in METHODS}
    parts: list[BoxSample] | None = None
    for seed in options.seeds:
        limit = "" if options.limit is None else f"-{options.limit}"
        path = work / f"{name.replace(' ', '_')}{limit}-{seed}.json"
        if not path.exists():
            parts = _parts(samples) if parts is None else parts
            rois = held_out_rois(parts, CLASSES, seed=seed)
            atomic_write_text(path, json.dumps(_scores(rois, network, seed, options)))
        for column, values in json.loads(path.read_text()).items():
            scores[column] += values
    return scores


def _scores(
    rois: list[HeldOutRoi], network: FindsBoxes, seed: int, options: argparse.Namespace
) -> Scores:
    found: Scores = {"image": [r.group for r in rois], "ceiling": ceilings(rois).tolist()}
    for kind in KINDS:
        found[kind] = mask_ious(_rival(kind, seed, options), rois).tolist()
    found[NETWORK] = mask_ious(network, rois).tolist()
    return found


_TRAINING: list[BoxSample] = []


def _rival(kind: Any, seed: int, options: argparse.Namespace) -> IntervalDetector:
    """Return a fitted rival, fitted once per seed."""
    path = options.work / f"rivals-{VERSION}" / f"{kind}-{seed}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if not _TRAINING:
            _TRAINING.extend(_training(options))
        fit_interval(kind, _TRAINING, CLASSES, seed).save(path, seed=seed)
    return IntervalDetector.load(path)


def summary(scores: Scores, seeds: int) -> dict[str, Any]:
    """Return shares of the ceiling, and the network's gain over ridge in the same unit."""
    ceiling = np.array(scores["ceiling"])
    network, ridge = ((np.array(scores[m]) / ceiling.mean()).tolist() for m in (NETWORK, "ridge"))
    gain = compare_paired(network, ridge, scores["image"])  # ROIs of an image are drawn together
    return {
        "images": len(set(scores["image"])),
        "rois": len(ceiling) // seeds,
        "ceiling": round(float(ceiling.mean()), 4),
        "shares": {m: round(float(np.mean(scores[m]) / ceiling.mean()), 4) for m in METHODS},
        "network_minus_ridge": {
            "mean": round(gain.gain.mean, 4),
            "interval_95": [round(gain.gain.low, 4), round(gain.gain.high, 4)],
            "p": gain.p_bootstrap,
        },
    }


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown table; the best share of a set is bold."""
    head = ["set", "images", "ROIs", *METHODS, "network - ridge [95 %]", "ceiling (IoU)"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in results.items():
        best = max(found["shares"].values())
        shares = [
            f"**{share:.3f}**" if share == best else f"{share:.3f}"
            for share in (found["shares"][method] for method in METHODS)
        ]
        gain, (low, high) = (
            found["network_minus_ridge"]["mean"],
            found["network_minus_ridge"]["interval_95"],
        )
        cells = [name, str(found["images"]), str(found["rois"]), *shares]
        cells += [f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]", f"{found['ceiling']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
