"""How well the uncertainty ranks bad masks first (core/uncertainty.py).

    python -m benchmarks.uncertainty --data ../shared/data

The whole line with the shipped weights: ROI detector, 3D box detector, raw mask. Reported is the
AUROC of the image's uncertainty for "DSC below 0.9", with an interval of the bootstrap over images,
and of every sign alone; because few raw masks of lungs reach 0.9 at all, also the AUROC for the
worst quarter of the set, the rank correlation with DSC, and the mean DSC of the most and the least
doubtful quarter.

The weights of the signs come from training images alone: Montgomery's training side, and phantoms
that the 3D box detector was not trained on. With `--fit` the script fits them to these and prints
what belongs into core/uncertainty.py. Held-out Montgomery and `limb` are never used for that. Signs
are kept per image under --work, so that a run that was cut goes on where it stopped.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import rankdata, spearmanr

from benchmarks.interval import TRAINING_PHANTOMS, limb_samples
from napari_graydet.core.metrics import dice
from napari_graydet.core.segmentation import box_mask
from napari_graydet.core.uncertainty import (
    WEIGHTS,
    Signs,
    box_uncertainty,
    image_uncertainty,
    scaled,
    signs_of,
)
from napari_graydet.errors import GraydetError
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.weights import read_card
from napari_graydet.models.registry import load_box_detector, load_roi_detector, shipped
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import training_data as td

HERE = Path(__file__).parent
BAD = 0.9
FITTED = ("margin", "spread", "near", "separability", "roi_score")
MORE_IS_WORSE = ("spread", "near")
SHRINKAGE = 0.1
"""L2 weight on the weights of standardised signs."""

Row = dict[str, Any]
Float = npt.NDArray[np.float64]


def main() -> None:
    options = _options()
    keys = {kind: read_card(shipped(kind)).sha256 for kind in ("roi", "boxes")}
    work: Path = options.work / f"{keys['roi'][:8]}-{keys['boxes'][:8]}"
    work.mkdir(parents=True, exist_ok=True)
    if options.fit:
        print(fitted({name: _rows(name, s, work) for name, s in _fitting_sets(options)}))
        return
    results = {}
    for name, samples in _test_sets(options):
        results[name] = summary(_rows(name, samples, work))
        print(f"{name}: {json.dumps(results[name])}", flush=True)
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seed": td.SEED,
        "bad": f"DSC < {BAD}",
        "limb_every": options.every,
        "montgomery_held_out": td.montgomery_stems(options.data, "held out"),
        "weights": keys,
        "results": results,
    }
    atomic_write_text(options.out, json.dumps(document, indent=2) + "\n")
    print(table(results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "uncertainty.json")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "uncertainty")
    parser.add_argument("--cache", type=Path, help="folder that keeps drawn phantoms")
    parser.add_argument("--phantoms", type=int, default=30, help="fitting phantoms of each kind")
    parser.add_argument("--every", type=int, default=4, help="take every n-th image of limb")
    parser.add_argument("--fit", action="store_true", help="fit the weights of the signs")
    return parser.parse_args()


def _fitting_sets(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[td.Sample]]]:
    yield "fitting montgomery", td.montgomery_samples(options.data, "train")
    for kind in phantoms.KINDS:
        last = TRAINING_PHANTOMS + options.phantoms
        found = td.phantom_samples(kind, last, cache=options.cache)
        yield f"fitting {kind} phantoms", islice(found, TRAINING_PHANTOMS, None)


def _test_sets(options: argparse.Namespace) -> Iterator[tuple[str, Iterable[td.Sample]]]:
    yield "montgomery held out", td.montgomery_samples(options.data, "held out")
    for prefix in ("knee", "tibia"):
        yield (
            f"limb {prefix}",
            islice(limb_samples(options.data, prefix), 0, None, options.every),
        )


# --- Signs ----------------------------------------------------------------------------------


def _rows(name: str, samples: Iterable[td.Sample], work: Path) -> list[Row]:
    """Return one row per image; rows of an earlier run are read back."""
    log = work / f"{name.replace(' ', '_')}.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    known = {row["key"]: row for row in map(json.loads, lines)}
    rows = []
    for sample in samples:
        key = f"{sample.stem} {hashlib.sha256(sample.image.pixels.tobytes()).hexdigest()[:12]}"
        if key not in known:
            known[key] = {"key": key} | measure(sample)
            with log.open("a") as file:
                file.write(json.dumps(known[key]) + "\n")
        rows.append(known[key])
    return rows


_DETECTORS: list[Any] = []


def measure(sample: td.Sample) -> Row:
    """Run the whole line on one image; return its DSC, and the signs and area of every box."""
    if not _DETECTORS:
        _DETECTORS.extend([load_roi_detector(device="cpu"), load_box_detector(device="cpu")])
    rois, detector = _DETECTORS
    image, signs, areas, boxes = sample.image, [], [], []
    for roi in (p for p in rois.detect(image) if p.label == sample.label):
        try:
            best = detector.detect(image, roi.roi, label=roi.label, alternatives=0)[0]
        except GraydetError:  # an ROI of a single gray value has no box
            continue
        boxes.append(best.box)
        signs.append(asdict(signs_of(image, best, roi_score=roi.score)))
        areas.append(int(np.count_nonzero(best.box.inside(image.pixels)[1])))
    mask = box_mask(image.pixels, boxes)
    return {"dice": dice(mask, sample.mask), "signs": signs, "areas": areas}


def uncertainty_of(row: Row) -> float:
    """Return the image's uncertainty."""
    return image_uncertainty([box_uncertainty(Signs(**s)) for s in row["signs"]], row["areas"])


# --- Figures --------------------------------------------------------------------------------


def auroc(values: Float, bad: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a bad image has a higher value than a good one (ties count half)."""
    positive, negative = int(bad.sum()), int((~bad).sum())
    if positive == 0 or negative == 0:
        return float("nan")
    ranks = rankdata(values)[bad].sum() - positive * (positive + 1) / 2
    return float(ranks / (positive * negative))


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the figures of a set."""
    scores = np.array([row["dice"] for row in rows])
    doubt, bad = np.array([uncertainty_of(row) for row in rows]), scores < BAD
    rng = np.random.default_rng(td.SEED)
    draws = [rng.integers(len(rows), size=len(rows)) for _ in range(2000)]
    spread = np.array([auroc(doubt[draw], bad[draw]) for draw in draws])
    spread = spread[np.isfinite(spread)] if np.isfinite(spread).any() else np.zeros(1)
    quarter, order = max(1, len(rows) // 4), np.argsort(-doubt, kind="stable")
    lowest = scores <= np.sort(scores)[quarter - 1]
    alone = {sign: auroc(_of_images(rows, sign), bad) for sign in FITTED}
    figures = {
        "images": len(rows),
        "bad": int(bad.sum()),
        "nothing_found": sum(not row["signs"] for row in rows),
        "auroc": round(auroc(doubt, bad), 4),
        "interval_95": [round(float(v), 4) for v in np.percentile(spread, [2.5, 97.5])],
        "auroc_lowest_quarter": round(auroc(doubt, lowest), 4),
        "spearman": round(float(spearmanr(doubt, scores).statistic), 4),
        "auroc_of_signs": {sign: round(max(a, 1 - a), 4) for sign, a in alone.items()},
        "dice_most_doubtful_quarter": round(float(scores[order[:quarter]].mean()), 4),
        "dice_least_doubtful_quarter": round(float(scores[order[-quarter:]].mean()), 4),
        "dice": round(float(scores.mean()), 4),
    }
    if bad.all() or not bad.any():  # nothing to tell apart
        figures |= {"auroc": None, "interval_95": None, "auroc_of_signs": None}
    return figures


def _of_images(rows: list[Row], sign: str) -> Float:
    """Return a sign per image: mean over boxes by area; the average where nothing was found."""
    values = [
        np.average([s[sign] for s in row["signs"]], weights=np.array(row["areas"]) + 1.0)
        if row["signs"]
        else np.nan
        for row in rows
    ]
    found = np.array(values)
    return np.where(np.isnan(found), np.nanmean(found), found)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    head = ["set", "images", f"DSC < {BAD}", "AUROC [95 %]", *FITTED, "AUROC, worst quarter"]
    head += ["rank correlation", "DSC, most doubtful quarter", "least doubtful quarter"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, found in results.items():
        cells = [name, str(found["images"]), str(found["bad"])]
        if found["auroc"] is None:
            cells += ["-"] * (1 + len(FITTED))
        else:
            low, high = found["interval_95"]
            cells.append(f"**{found['auroc']:.3f}** [{low:.3f}, {high:.3f}]")
            cells += [f"{found['auroc_of_signs'][sign]:.3f}" for sign in FITTED]
        cells += [f"{found[key]:.3f}" for key in ("auroc_lowest_quarter", "spearman")]
        cells += [f"{found[f'dice_{which}_doubtful_quarter']:.3f}" for which in ("most", "least")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# --- Weights --------------------------------------------------------------------------------


def fitted(sets: dict[str, list[Row]]) -> str:
    """Fit the weights to pairs of a bad and a good image of one set; return them as source text.

    A logistic loss on the difference of the two (RankNet), every set counting alike: what is wanted
    is the order of images within a set. No sign may count against its sense.
    """
    kept = {name: [row for row in rows if row["signs"]] for name, rows in sets.items()}
    values = {name: np.array([_mean_signs(row) for row in rows]) for name, rows in kept.items()}
    bad = {name: np.array([row["dice"] < BAD for row in rows]) for name, rows in kept.items()}
    centre = np.mean([v.mean(axis=0) for v in values.values()], axis=0)
    scale = np.sqrt(np.mean([((v - centre) ** 2).mean(axis=0) for v in values.values()], axis=0))
    design = {name: np.clip((v - centre) / scale, -3, 3) for name, v in values.items()}

    def loss(p: Float) -> float:
        total = SHRINKAGE * float(p @ p)
        for name, x in design.items():
            doubt = x @ p
            gains = doubt[bad[name]][:, None] - doubt[~bad[name]]
            total += float(np.logaddexp(0, -gains).mean()) if gains.size else 0.0
        return total

    bounds = [(0, None) if name in MORE_IS_WORSE else (None, 0) for name in FITTED]
    found = minimize(loss, np.zeros(len(FITTED)), method="L-BFGS-B", bounds=bounds).x
    lines = []
    for name, *numbers in zip(FITTED, centre, scale, found, strict=True):
        lines.append(f'    "{name}": Weight({", ".join(f"{v:.3f}" for v in numbers)}),')
    for name, rows in kept.items():
        old = np.array([uncertainty_of(row) for row in rows])
        figures = f"AUROC {auroc(design[name] @ found, bad[name]):.3f}, with the weights in use "
        figures += f"{auroc(old, bad[name]):.3f}"
        lines.append(f"{name}: {len(rows)} images, {bad[name].sum()} bad, {figures}")
    return "\n".join(lines)


def _mean_signs(row: Row) -> list[float]:
    return [
        float(
            np.average(
                [scaled(name, s[name]) for s in row["signs"]], weights=np.array(row["areas"]) + 1.0
            )
        )
        for name in FITTED
    ]


assert set(FITTED) <= set(WEIGHTS) == {field.name for field in fields(Signs)}

if __name__ == "__main__":
    main()
