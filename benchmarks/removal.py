"""The effect of each part by removal: acceptance table 4.

    python -m benchmarks.removal --cache FOLDER --pointnet FILE      # trains what is not there yet
    python -m benchmarks.removal --table                             # Markdown of what is there

Every variant lacks one part and is trained anew with the same budget, far below that of the shipped
weights, from the same images and seeds; `--pointnet` is what `napari-graydet pretrain pointnet
DATA --preset fast` wrote. All learn from the training side of Montgomery and 60 phantoms of each
kind, and are scored on the 40 held-out Montgomery images, 160 of Shenzhen and held-out phantoms.

- boxes: true ROIs of parts, every edge moved by 6 % of the size, class given; mask IoU of the best
  box over that of the best gray range (as benchmarks.interval). The regressor is taken away after
  training. Where features are not shared, a step costs ten times as much: as many steps as take
  equally long.
- images: the same boxes on whole images in full resolution (the first 40 of a set), all parts
  together, over the ceiling of the parts' ROIs; without and with clean-up, and with a single ROI
  around all parts.
- rois: the whole line on whole images, from an ROI detector that starts from COCO weights or from
  random ones (which then trains all of its layers), with an ROI for each part or one for all.

Every job (kind, variant, seed) is one file in benchmarks/results/removal; a job whose file is there
is skipped. Differences to all parts are paired by image, which is by patient, over all seeds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import removal_boxes as boxes
from benchmarks import removal_images as images
from benchmarks.held_out_rois import held_out_rois
from benchmarks.removal_table import tables
from napari_graydet.core.ridge import RidgeRegressor
from napari_graydet.io.files import atomic_write_text
from napari_graydet.models.boxes.detector import BoxDetector, BoxModel
from napari_graydet.models.boxes.samples import BoxSample, crop_sample
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.weights import CLASSES

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared"
RESULTS = HERE / "results" / "removal"
TRAINING_PHANTOMS = 60

Scores = dict[str, dict[str, list[Any]]]
"""By set, then by column, an entry for each ROI or image."""


def main() -> None:
    options = _options()
    if not options.table:
        bench = Bench(options)
        for seed in options.seeds:
            for kind, variant in _jobs(options):
                bench.run(kind, variant, seed)
    print(tables(options.out))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "removal")
    parser.add_argument("--cache", type=Path, default=Path("build/phantoms"), help="keeps phantoms")
    parser.add_argument("--pointnet", type=Path, default=Path("build/removal/pointnet.safetensors"))
    parser.add_argument("--darknet", type=Path, default=SHARED / "weights" / "yolov3-tiny.weights")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--variants", nargs="+", help="only these, in this order")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--phantoms", type=int, default=10, help="held-out phantoms of each kind")
    parser.add_argument("--limit", type=int, help="only so many images of each set")
    parser.add_argument("--table", action="store_true", help="print tables, compute nothing")
    return parser.parse_args()


KINDS = {
    "boxes": tuple(boxes.VARIANTS),
    "images": (boxes.WHOLE, images.ONE_ROI),
    "rois": images.ROI_VARIANTS,
}


def _jobs(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for kind in options.kinds:
        for variant in options.variants or KINDS[kind]:
            if variant in KINDS[kind]:
                yield kind, variant


class Bench:
    """The data, read once, and the jobs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        options.work.mkdir(parents=True, exist_ok=True)
        options.out.mkdir(parents=True, exist_ok=True)

    def run(self, kind: str, variant: str, seed: int) -> None:
        """Do a job whose result is not there yet."""
        path = self.path(kind, variant, seed)
        if path.exists():
            return
        print(f"{datetime.datetime.now():%H:%M:%S} {path.stem}", file=sys.stderr, flush=True)
        getattr(self, f"_{kind}")(variant, seed)

    def path(self, kind: str, variant: str, seed: int) -> Path:
        name = variant.replace(" ", "_").replace(",", "").replace("(", "").replace(")", "")
        return Path(self.options.out / f"{kind}-{name}-{seed}.json")

    def keep(
        self, kind: str, variant: str, seed: int, scores: Scores, training: dict[str, Any]
    ) -> None:
        """Write the result of a job."""
        document = {
            "kind": kind,
            "variant": variant,
            "seed": seed,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "limit": self.options.limit,
            "phantoms": {"training": TRAINING_PHANTOMS, "held out": self.options.phantoms},
            "versions": {name: version(name) for name in ("torch", "numpy")},
            "training": training,
            "scores": scores,
        }
        atomic_write_text(self.path(kind, variant, seed), json.dumps(document) + "\n")

    # --- Data -------------------------------------------------------------------------------

    def training(self) -> Iterator[td.Sample]:
        counts = dict.fromkeys(phantoms.KINDS, TRAINING_PHANTOMS)
        return td.training_samples(self.options.data, counts, cache=self.options.cache)

    def sets(self, most: int | None = None) -> Iterator[tuple[str, Iterable[td.Sample]]]:
        o = self.options
        most = most if o.limit is None else o.limit
        yield "Montgomery held out", islice(td.montgomery_samples(o.data, "held out"), most)
        yield "Shenzhen", islice(td.shenzhen_samples(o.data), most)
        for kind in phantoms.KINDS:
            count = min(o.phantoms, o.limit or o.phantoms)
            found = td.phantom_samples(kind, count, start=td.HELD_OUT_START, cache=o.cache)
            yield f"{kind} phantoms", found

    @cached_property
    def parts(self) -> list[BoxSample]:
        return box_samples(self.training(), CLASSES)

    @cached_property
    def tests(self) -> dict[str, list[BoxSample]]:
        """The parts of test images, the group of a sample being its image."""
        return {
            name: [
                crop_sample(s.image, s.mask, roi, CLASSES.index(s.label), s.stem)
                for s in samples
                for roi in s.rois
            ]
            for name, samples in self.sets()
        }

    # --- Jobs -------------------------------------------------------------------------------

    def _boxes(self, variant: str, seed: int) -> None:
        chosen = boxes.VARIANTS[variant]
        model, seconds = boxes.trained(chosen, self.parts, seed, self.options.pointnet)
        training = {
            "steps": chosen.training.steps,
            "batch": chosen.training.batch,
            "CPU seconds": round(seconds, 1),
        }
        rois = {
            name: held_out_rois(parts, CLASSES, seed=seed) for name, parts in self.tests.items()
        }
        if variant == boxes.WHOLE:
            model.save(self.weights(variant, seed), seed=seed)
            plain = replace(model, regressor=RidgeRegressor(np.zeros_like(model.regressor.coef)))
            self.keep("boxes", boxes.REGRESSOR, seed, boxes.scored(plain, rois), training)
        self.keep("boxes", variant, seed, boxes.scored(model, rois), training)

    def _images(self, variant: str, seed: int) -> None:
        one = variant == images.ONE_ROI
        training: dict[str, Any] = {}
        if one:
            samples = images.whole_samples(self.training())
            chosen = boxes.VARIANTS[boxes.WHOLE]
            model, seconds = boxes.trained(chosen, samples, seed, self.options.pointnet)
            model.save(self.weights(variant, seed), seed=seed)
            training = {"steps": chosen.training.steps, "CPU seconds": round(seconds, 1)}
        detector = self.detector(variant, seed)
        scores = {
            name: images.boxes_of_images(detector, samples, seed, one)
            for name, samples in self.sets(images.MOST)
        }
        self.keep("images", variant, seed, scores, training)

    def _rois(self, variant: str, seed: int) -> None:
        one = variant == images.ONE_ROI
        detector = self.detector(variant if one else boxes.WHOLE, seed)
        rois, seconds = images.trained_rois(self.training(), seed, variant, self.options.darknet)
        scores = {
            name: images.lines_of_images(rois, detector, samples, one)
            for name, samples in self.sets(images.MOST)
        }
        training = {"steps": images.ROI_STEPS, "CPU seconds": round(seconds, 1)}
        self.keep("rois", variant, seed, scores, training)

    def weights(self, variant: str, seed: int) -> Path:
        return Path(self.options.work / f"{variant.replace(' ', '_')}-{seed}.safetensors")

    def detector(self, variant: str, seed: int) -> BoxDetector:
        """Return what an earlier job has trained."""
        return BoxDetector(BoxModel.load(self.weights(variant, seed)), device="cpu")


if __name__ == "__main__":
    main()
