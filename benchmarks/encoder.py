"""Which encoder the scene network should have: our small one, or YOLO's, from COCO or not.

    python -m benchmarks.encoder                    # results in benchmarks/results/encoder.json

The scene network alone, on whole images, mirror images too, from random weights but for the
encoder. No test image of any table is looked at but those Montgomery images that training with
Shenzhen is tested on:

- home: 25 Montgomery images, tested on the 75 others that nothing is trained on or tested with;
- away: the same network on 60 chest phantoms;
- abroad: 21 Shenzhen images, tested on those 75;
- tibia: 21 crops, tested on 60 that nothing is trained on or tested with.

A job that is in the file is not done again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from benchmarks.compare import SETS, SHARED
from napari_graydet.core.metrics import dice
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import Sample
from napari_graydet.io.files import atomic_write_text
from napari_graydet.models.refiner.learner import RefinerTraining
from napari_graydet.models.refiner.model import SCENE, RefinerModel, average_logits, looks_of
from napari_graydet.models.refiner.patch import Frame, on_pixels, patch_of
from napari_graydet.models.refiner.training import train_refiner
from napari_graydet.models.roi.darknet import read_darknet
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.compare.compare import Series
from napari_graydet.workflows.dataset import Case

HERE = Path(__file__).parent
OUT = HERE / "results" / "encoder.json"
ENCODERS = ("ours", "yolo", "coco")
TRAININGS = {"home": ("montgomery", 25), "abroad": ("shenzhen", 21), "tibia": ("tibia", 21)}
WIDTHS = {"widths": (24, 48, 96, 192)}
FRAME = Frame(scene_size=192)
LEARNED, UNUSED, AWAY = 25, 60, 60


def main() -> None:
    options = _options()
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    for training in options.trainings:
        for encoder in options.encoders:
            job = f"{training} {encoder} {options.steps} steps seed {options.seed}"
            if job not in found:
                found[job] = _job(training, encoder, options)
                atomic_write_text(options.out, json.dumps(found, indent=1) + "\n")
            print(job, {k: v for k, v in found[job].items() if k != "dice"}, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--darknet", type=Path, default=SHARED / "weights" / "yolov3-tiny.weights")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--cache", type=Path, default=Path("build/phantoms"))
    parser.add_argument("--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _job(training: str, encoder: str, options: argparse.Namespace) -> dict[str, object]:
    learned, tests = _images(training, options)
    sizes = {SCENE: WIDTHS} if encoder == "ours" else {}
    backbone = read_darknet(options.darknet) if encoder == "coco" else None
    began = time.monotonic()
    model = train_refiner(
        learned,
        sorted({sample.label for sample in learned}),
        seed=options.seed,
        kind=SCENE,
        training=RefinerTraining(options.steps, frame=FRAME, sizes=sizes, backbone=backbone),
        device="cpu",
    )
    seconds = time.monotonic() - began
    scores = {name: _scores(model.with_flips(True), images) for name, images in tests.items()}
    return {
        "date": datetime.date.today().isoformat(),
        "torch": version("torch"),
        "seconds": round(seconds),
        "weights": sum(p.numel() for p in model.networks[SCENE].parameters()),
        **{name: round(float(np.mean(dices)), 4) for name, dices in scores.items()},
        "dice": scores,
    }


def _images(
    training: str, options: argparse.Namespace
) -> tuple[list[Sample], dict[str, list[Sample]]]:
    """Return what is learned from, and what is tested on."""
    name, count = TRAININGS[training]
    learned, unused = _pool(name, count, options.data)
    if training == "tibia":
        return learned, {"tibia": unused[:UNUSED]}
    _, others = _pool("montgomery", LEARNED, options.data)
    if training == "abroad":
        return learned, {"abroad": others}
    phantoms = td.phantom_samples("chest", AWAY, cache=options.cache)
    return learned, {"home": others, "away": list(phantoms)}


def _pool(name: str, count: int, data: Path) -> tuple[list[Sample], list[Sample]]:
    """Return the first images that comparisons learn from, and those that they leave unused."""
    pool, tests = SETS[name](data)
    series = Series(name, pool, tests, Path(), Path())
    first = series.training_names(LEARNED, 0)
    rest = [case.name for case in pool.cases if case.name not in first]
    return _samples(pool.subset(first[:count]).cases), _samples(pool.subset(rest).cases)


def _samples(cases: Iterable[Case]) -> list[Sample]:
    return [sample for case in cases for sample in case.samples()]


def _scores(model: RefinerModel, images: Sequence[Sample]) -> list[float]:
    frame, dices = model.frame.scene, []
    for sample in images:
        height, width = sample.image.shape
        whole = RoiBox(0, 0, width, height)
        patch = torch.from_numpy(patch_of(sample.image, whole, None, frame))[None]
        label = torch.tensor([model.classes.index(sample.label)])
        with torch.inference_mode():
            logits = average_logits(list(looks_of(model, patch, label).values()))
        mask = on_pixels(logits, whole, frame, (slice(0, height), slice(0, width))) > 0
        dices.append(round(dice(mask, sample.mask), 4))
    return dices


if __name__ == "__main__":
    main()
