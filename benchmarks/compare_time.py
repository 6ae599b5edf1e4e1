"""Seconds and memory of every method on one image: ours stage by stage, baselines one pass.

Called by ``python -m benchmarks.compare --time``. Images are the first of the Montgomery set that
nothing was trained on. Every method runs in a process of its own, each of its stages once to warm
up; then its stages take turns, image by image. Seconds are medians over images; memory is the peak
of the process in that stage, libraries and weights included. Baselines have random weights, on
which time does not depend; they look at 128 pixels, as in the comparison's tables, and at 256. The
refiner is --refiner, or the shipped one. Measure on an idle machine.

Results go to benchmarks/results/compare_time.json, beside the folder of the jobs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import islice
from statistics import median

import torch

from benchmarks.alone import alone
from napari_graydet.core.grayscale import GrayImage
from napari_graydet.core.proposals import BoxProposal
from napari_graydet.io.files import atomic_write_text
from napari_graydet.models.baselines.networks import BASELINES, build_baseline
from napari_graydet.models.baselines.training import Baseline, fit_square
from napari_graydet.models.device import choose_device
from napari_graydet.models.loading import shipped
from napari_graydet.models.refiner.refiner import Refiner
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.evaluation.measuring import Cost, measured
from napari_graydet.workflows.evaluation.report import markdown_table
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.refine import missed_rois

RESULTS = "compare_time.json"
IMAGES, SIZES = 10, (128, 256)
OURS = "ours"
LABEL = "lung"

Stage = Callable[[GrayImage], object]


def time_methods(options: argparse.Namespace) -> None:
    """Measure all methods, write the figures and print them as a table."""
    rows = {
        stage: row
        for method in (OURS, *BASELINES)
        for stage, row in alone(measure, method, options).items()
    }
    document = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "images": [image.name for image in _images(options)],
        "device": choose_device(options.device).type,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "monai")},
        "stages": rows,
    }
    path = options.out.parent / RESULTS
    atomic_write_text(path, json.dumps(document, indent=1) + "\n")
    cells = [
        [name, f"{row['seconds']:.3f}", *(_mib(row[key]) for key in ("memory", "gpu"))]
        for name, row in rows.items()
    ]
    print(markdown_table(["stage", "s / image", "peak MiB", "GPU MiB"], cells))


def measure(method: str, options: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    """Return seconds and memory of a method's stages; runs in a process of its own."""
    images = _images(options)
    if method == OURS:
        stages = Ours(images, _refiner(options), options.device).stages()
    else:
        stages = _baseline(method, options.device)
    taken: dict[str, list[Cost]] = {name: [] for name in stages}
    for stage in stages.values():
        stage(replace(images[0]))
    for image in images:
        for name, stage in stages.items():
            fresh = replace(image)  # or the refiner would know its scene from the stage before
            with measured() as cost:
                stage(fresh)
            taken[name].append(cost)
    return {name: _summary(costs) for name, costs in taken.items()}


def _images(options: argparse.Namespace) -> list[GrayImage]:
    samples = td.montgomery_samples(options.data, "held out")
    return [sample.image for sample in islice(samples, options.limit or IMAGES)]


def _summary(costs: list[Cost]) -> dict[str, float | None]:
    total = sum(costs, Cost())
    seconds = median(cost.seconds for cost in costs)
    return {"seconds": round(seconds, 4), "memory": total.memory, "gpu": total.gpu}


def _mib(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


class Ours:
    """The stages of our chain, each fed with what the one before it has found beforehand."""

    def __init__(self, images: Sequence[GrayImage], refiner: Refiner, device: str) -> None:
        self.predictor, self.refiner = Predictor(device=device), refiner
        self._rois = {image.name: self.predictor.rois(image) for image in images}
        self._boxes = {image.name: self.boxes(image) for image in images}

    def boxes(self, image: GrayImage) -> list[BoxProposal]:
        return [
            box
            for p in self._rois[image.name]
            for box in self.predictor.boxes(image, p.roi, p.label, alternatives=0)[:1]
        ]

    def refine(self, image: GrayImage) -> object:
        return self.refiner.refine(image, self._boxes[image.name])

    def whole(self, image: GrayImage) -> object:
        found = self.predictor.rois(image)
        missed = missed_rois(image, found, self.refiner, self.predictor.rois)
        boxes = [
            box
            for p in (*found, *missed)
            for box in self.predictor.boxes(image, p.roi, p.label, alternatives=0)[:1]
        ]
        return self.refiner.refine(image, boxes)

    def stages(self) -> dict[str, Stage]:
        return {
            "ours: ROIs": self.predictor.rois,
            "ours: 3D boxes in all ROIs": self.boxes,
            f"ours: refiner ({self.refiner.model.kind}) in all ROIs": self.refine,
            "ours: whole chain": self.whole,
        }


def _refiner(options: argparse.Namespace) -> Refiner:
    """Load a refiner, by default the one that comes with the program."""
    return Refiner.load(options.refiner or shipped("refiner"), device=options.device)


def _baseline(name: str, device: str) -> dict[str, Stage]:
    """Return forward passes of a baseline and whole segmentations, at every size."""
    where = choose_device(device)
    network = build_baseline(name, 1).eval().to(where)
    stages: dict[str, Stage] = {}
    for size in SIZES:
        model = Baseline(name, network, (LABEL,), size, where, 0)
        stages[f"{name}: forward pass at {size} x {size}"] = partial(_forward, model)
        stages[f"{name}: whole image at {size} x {size}"] = model.segment
    return stages


def _forward(model: Baseline, image: GrayImage) -> object:
    square = fit_square(torch.from_numpy(image.unit())[None], model.size)[None]
    with torch.inference_mode():
        return model.network(square.to(model.device)).sum().item()
