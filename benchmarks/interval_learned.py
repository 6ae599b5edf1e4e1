"""Box detectors that learned from the same few images, beside simple rivals that did, too.

    python -m benchmarks.interval_learned --parts build/compare/montgomery-n25-s0-9ecd0fac

As benchmarks.interval, but with what benchmarks.compare trained: presets `fast` (which started from
phantoms) and `paper` (from PointNet's ModelNet), on its training images, and on its tests. So the
detectors of the two presets stand side by side, without what their ROI detectors lose.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import SETS, first
from benchmarks.held_out_rois import FindsBoxes, HeldOutRoi, ceilings, held_out_rois, mask_ious
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.weights import read_card
from napari_graydet.models.boxes.interval import KINDS, IntervalDetector, fit_interval
from napari_graydet.models.boxes.samples import BoxSample
from napari_graydet.models.loading import load_box_detector
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.compare.compare import Series
from napari_graydet.workflows.compare.statistics import compare_paired
from napari_graydet.workflows.dataset import Case, Dataset

HERE = Path(__file__).parent
PRESETS = ("fast", "paper")
AGAINST = "ridge"


def main() -> None:
    options = _options()
    pool, tests = SETS[options.train](options.data)
    names = Series(options.train, pool, tests, HERE, HERE).training_names(options.n, options.seed)
    files = [options.parts / preset / "boxes.safetensors" for preset in PRESETS]
    detectors = _detectors(_parts(pool.subset(names)), pool.classes, files, options.seed)
    results = {
        name: _scored(first(test, options.limit), detectors, options)
        for name, test in tests.items()
    }
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "train": options.train,
        "n": options.n,
        "seed": options.seed,
        "seeds of the jitter": options.seeds,
        "weights": {p: read_card(f).sha256 for p, f in zip(PRESETS, files, strict=True)},
        "results": results,
    }
    atomic_write_text(options.out, json.dumps(document, indent=2) + "\n")
    print(table(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--parts", type=Path, required=True, help="in benchmarks.compare's --work")
    parser.add_argument("--train", choices=SETS, default="montgomery")
    parser.add_argument("--n", type=int, default=25, help="training images")
    parser.add_argument("--seed", type=int, default=0, help="of the training images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="of the jitter")
    parser.add_argument("--limit", type=int, help="only so many images of each test")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "interval_learned.json")
    return parser.parse_args()


def _detectors(
    learned: Sequence[BoxSample], classes: Sequence[str], files: Sequence[Path], seed: int
) -> dict[str, FindsBoxes]:
    found: dict[str, FindsBoxes] = {
        kind: IntervalDetector(fit_interval(kind, learned, classes, seed), name=kind)
        for kind in KINDS
    }
    return found | {
        preset: load_box_detector(file, device="cpu")
        for preset, file in zip(PRESETS, files, strict=True)
    }


def _parts(data: Dataset) -> list[BoxSample]:
    return [part for case in data.cases for part in _parts_of(case, data.classes)]


def _parts_of(case: Case, classes: Sequence[str]) -> list[BoxSample]:
    return box_samples(case.samples(), classes)


def _scored(
    test: Dataset, detectors: Mapping[str, FindsBoxes], options: argparse.Namespace
) -> dict[str, Any]:
    """Return what share of the ceiling every detector reaches, image by image: memory is little."""
    best: list[float] = []
    image: list[str] = []
    reached: dict[str, list[float]] = {name: [] for name in detectors}
    for case in test.cases:
        parts = _parts_of(case, test.classes)
        rois: list[HeldOutRoi] = []
        for seed in options.seeds:
            rois += held_out_rois(parts, test.classes, seed=_seed_of(case.name, seed))
        best += ceilings(rois).tolist()
        image += [case.name] * len(rois)
        for name, detector in detectors.items():
            reached[name] += mask_ious(detector, rois).tolist()
    return summary(image, best, reached, len(options.seeds))


def _seed_of(name: str, seed: int) -> int:
    """Return the seed of an image's jitter: that of others must not depend on it."""
    return int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])


def summary(
    image: Sequence[str],
    best: Sequence[float],
    reached: Mapping[str, Sequence[float]],
    seeds: int,
) -> dict[str, Any]:
    """Return shares of the ceiling, and what the presets have more of it than ridge, by image."""
    ceiling = float(np.mean(best))
    names, at = np.unique(image, return_inverse=True)
    shares = {
        method: np.bincount(at, weights=values) / np.bincount(at) / ceiling
        for method, values in reached.items()
    }
    gains = {
        preset: compare_paired(list(shares[preset]), list(shares[AGAINST]), list(names)).gain
        for preset in PRESETS
    }
    return {
        "images": len(names),
        "rois": len(best) // seeds,
        "ceiling": round(ceiling, 4),
        "shares": {m: round(float(np.mean(v)) / ceiling, 4) for m, v in reached.items()},
        "minus ridge": {
            preset: [round(value, 4) for value in (gain.mean, gain.low, gain.high)]
            for preset, gain in gains.items()
        },
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    methods = list(next(iter(results.values()))["shares"])
    head = ["tested on", "images / ROIs", *methods, *(f"{p} - ridge" for p in PRESETS), "ceiling"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in results.items():
        cells = [name, f"{found['images']} / {found['rois']}"]
        cells += [f"{found['shares'][method]:.3f}" for method in methods]
        for preset in PRESETS:
            mean, low, high = found["minus ridge"][preset]
            cells.append(f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        lines.append("| " + " | ".join([*cells, f"{found['ceiling']:.3f}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
