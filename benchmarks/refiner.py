"""Box alone, point head, ROI U-Net, scene, their averages: which mask is best with few labels.

    python -m benchmarks.refiner --data ../shared/data --train montgomery --n 25 --steps 400

Training images are drawn with the seed from a pool, `VALIDATION` more for the choice; test images
are fixed, of other patients, and never used for a choice. Montgomery: pool and test are the sides
of the shipped weights' split. Shenzhen and the tibia crops (one image a patient): `TEST` images
drawn with the split's seed are the test, the others the pool. Chest refiners are tested in both
hospitals.

ROIs are the true ones with edges jittered by 6 % of their size, as a detector's (`--rois
detected` takes the shipped ROI detector's own; images without a detection then count with an empty
mask). Boxes are the shipped box detector's. DSC is the mean over whole images, all parts together,
without clean-up.

Results go to benchmarks/results/refiner.json; every trained variant is a row there, and a run that
was cut goes on with the missing rows. Rows whose names do not end in "YOLO's encoder" are of the
smaller U-Nets from before docs/decisions/0018.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from napari_graydet.core.proposals import BoxProposal
from napari_graydet.core.roi import RoiBox
from napari_graydet.errors import GraydetError
from napari_graydet.io.files import atomic_write_text
from napari_graydet.io.images import read_image
from napari_graydet.io.masks import read_mask
from napari_graydet.io.weights import read_card
from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.boxes.samples import jitter_roi
from napari_graydet.models.loading import load_box_detector, load_roi_detector, shipped
from napari_graydet.models.refiner.choice import HeldOut, choose_refiner, compare_refiners
from napari_graydet.models.refiner.learner import RefinerTraining
from napari_graydet.models.refiner.refiner import RefinerModel
from napari_graydet.models.refiner.training import SHARES, train_refiner
from napari_graydet.workflows import shipped_data as td

HERE = Path(__file__).parent
VALIDATION, TEST = 10, 60
JITTER = 0.06
CLASSES = ("bone", "lung")
TESTED_ON = {
    "montgomery": ("montgomery", "shenzhen"),
    "shenzhen": ("shenzhen", "montgomery"),
    "tibia": ("tibia",),
}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    bench = Bench(options)
    document = bench.document()
    for n, seed in itertools.product(options.n, options.seeds):
        key = bench.key(n, seed)
        if key not in document["rows"]:
            document["rows"][key] = bench.row(n, seed)
            atomic_write_text(options.out, json.dumps(document, indent=1) + "\n")
        print(key, json.dumps(document["rows"][key]), flush=True)
    print(table(document["rows"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "refiner.json")
    parser.add_argument("--train", choices=TESTED_ON, default="montgomery")
    parser.add_argument("--n", type=int, nargs="+", default=[25], help="training images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=400, help="of each network")
    parser.add_argument("--rois", choices=("jittered", "detected"), default="jittered")
    parser.add_argument("--start", type=Path, help="refiner to start from, by default none")
    parser.add_argument("--no-trunk", action="store_true", help="point head from random weights")
    parser.add_argument("--limit", type=int, default=TEST, help="test images of each set")
    return parser.parse_args()


class Bench:
    """One setting of the benchmark: what to train on, how long, from where."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.boxes = load_box_detector(device="cpu")
        self.rois = load_roi_detector(device="cpu") if options.rois == "detected" else None
        self._tests: dict[str, list[HeldOut]] = {}

    def document(self) -> dict[str, Any]:
        """Return the results so far."""
        fresh = {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "split_seed": td.SEED,
            "validation_images": VALIDATION,
            "jitter": JITTER,
            "weights": {kind: read_card(shipped(kind)).sha256 for kind in ("roi", "boxes")},
            "versions": {name: version(name) for name in ("torch", "numpy")},
            "rows": {},
        }
        if not self.options.out.exists():
            return fresh
        held: dict[str, Any] = json.loads(self.options.out.read_text())
        if held["weights"] != fresh["weights"]:
            raise SystemExit(f"{self.options.out} was made with other weights; remove it first.")
        return held

    def key(self, n: int, seed: int) -> str:
        """Name a row by all that it depends on."""
        o = self.options
        start = read_card(o.start).sha256[:8] if o.start else "none"
        trunk = "random trunk" if o.no_trunk else "box trunk"
        return (
            f"{o.train} N={n} seed={seed} steps={o.steps} rois={o.rois} start={start} {trunk} "
            f"test={o.limit} YOLO's encoder"
        )

    def row(self, n: int, seed: int) -> Row:
        """Train both networks, choose, and test all candidates."""
        o = self.options
        pool = pool_of(o.data, o.train)
        order = np.random.default_rng([td.SEED, seed]).permutation(len(pool))
        chosen = [pool[i] for i in order[: n + VALIDATION]]
        train = [load(o.data, o.train, stem) for stem in chosen[:n]]
        start = RefinerModel.load(o.start) if o.start else None
        training = RefinerTraining() if start is None else RefinerTraining(frame=start.frame)
        models = [
            train_refiner(
                train,
                CLASSES,
                seed=seed,
                kind=kind,
                start=start if start is not None and kind in start.networks else None,
                trunk=None if o.no_trunk else BoxModel.load(shipped("boxes")),
                training=replace(training, steps=o.steps),
                device="cpu",
            )
            for kind in SHARES
        ]
        validation = [self.case(load(o.data, o.train, stem)) for stem in chosen[n:]]
        _, choice = choose_refiner(models, validation)
        tests = {name: compare_refiners(models, self.test(name)) for name in TESTED_ON[o.train]}
        return {
            "n": len(train),
            "validation": choice,
            "chosen": max(choice, key=lambda name: choice[name]),
            "test": {
                name: {"images": len(self.test(name)), "DSC": dice} for name, dice in tests.items()
            },
        }

    def test(self, name: str) -> list[HeldOut]:
        """Return the test images of a set with their boxes, found once."""
        if name not in self._tests:
            stems = test_of(self.options.data, name)[: self.options.limit]
            self._tests[name] = [self.case(load(self.options.data, name, s)) for s in stems]
        return self._tests[name]

    def case(self, sample: td.Sample) -> HeldOut:
        """Put the detected boxes to an image."""
        boxes: list[BoxProposal] = []
        for roi in self._rois(sample):
            try:
                boxes += self.boxes.detect(sample.image, roi, label=sample.label, alternatives=0)
            except GraydetError:  # an ROI of a single gray value has no box
                continue
        return HeldOut(sample.image, tuple(boxes), sample.label, sample.mask)

    def _rois(self, sample: td.Sample) -> list[RoiBox]:
        if self.rois is not None:
            found = self.rois.detect(sample.image)
            return [p.roi for p in found if p.label == sample.label]
        rng = np.random.default_rng([td.SEED, zlib.crc32(sample.stem.encode())])
        return [jitter_roi(roi, sample.image.shape, JITTER, rng) for roi in sample.rois]


def _shuffled(data: Path, name: str) -> list[str]:
    prefix, folder = {
        "shenzhen": (td.SHENZHEN, "chest"),
        "tibia": ("tibia_", "limb"),
    }[name]
    stems = sorted(path.stem for path in (data / folder / "images").glob(f"{prefix}*.png"))
    order = np.random.default_rng(td.SEED).permutation(len(stems))
    return [stems[i] for i in order]


def pool_of(data: Path, name: str) -> Sequence[str]:
    """Return the stems of a set that may be trained on or chosen on."""
    if name == "montgomery":
        return td.montgomery_stems(data, "train")
    return _shuffled(data, name)[TEST:]


def test_of(data: Path, name: str) -> Sequence[str]:
    """Return the stems of a set that are tested on."""
    if name == "montgomery":
        return td.montgomery_stems(data, "held out")
    return _shuffled(data, name)[:TEST]


def load(data: Path, name: str, stem: str) -> td.Sample:
    """Read one image with its truth; an ROI for every connected part."""
    folder, label = ("limb", "bone") if name == "tibia" else ("chest", "lung")
    image = read_image(data / folder / "images" / f"{stem}.png")
    mask = read_mask(data / folder / "masks" / f"{stem}.png", image.shape)
    return td.Sample(image, label, td.connected_parts(mask), name, stem)


def table(rows: dict[str, Row]) -> str:
    """Return the test figures as a Markdown table."""
    names = list(
        dict.fromkeys(n for r in rows.values() for t in r["test"].values() for n in t["DSC"])
    )
    lines = [
        "| trained | tested | images | " + " | ".join(names) + " | chosen |",
        "|---" * (len(names) + 4) + "|",
    ]
    for key, row in rows.items():
        for name, test in row["test"].items():
            cells = " | ".join(f"{test['DSC'][n]:.4f}" if n in test["DSC"] else "" for n in names)
            lines.append(f"| {key} | {name} | {test['images']} | {cells} | {row['chosen']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
