"""Detectors and a refiner that have seen phantoms alone: what ours starts from in comparisons.

    python -m benchmarks.compare_starts --cache build/phantoms

The shipped ones have also seen most of the Montgomery images, so that a learning curve that starts
from them would begin with a hundred images of one hospital. Phantoms and seed are those of the
shipped weights (workflows/weights.py); the trainings are shorter, and each says in its card how
long it was. A part whose file is there is not made again. The refiner works on the boxes that the
other two find; which kind of it is kept is chosen on other phantoms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from napari_graydet.models.boxes.detector import BoxModel
from napari_graydet.models.boxes.training import BoxTraining, train_boxes
from napari_graydet.models.learning.loop import Step, Watch
from napari_graydet.models.refiner.learner import RefinerTraining
from napari_graydet.models.refiner.training import make_refiner
from napari_graydet.models.roi.darknet import read_darknet
from napari_graydet.models.roi.training import train_roi
from napari_graydet.workflows import phantoms
from napari_graydet.workflows import shipped_data as td
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.predict import Predictor
from napari_graydet.workflows.training.refiner_part import held_out_boxes
from napari_graydet.workflows.weights import CHOICE_PHANTOMS, CLASSES, PHANTOMS

HERE = Path(__file__).parent
FOLDER = HERE.parent / "build" / "compare" / "starts"
DARKNET = HERE.parents[1] / "shared" / "weights" / "yolov3-tiny.weights"
SEED = 0


def main() -> None:
    options = _options()
    parts: dict[str, Callable[[argparse.Namespace, Path], None]] = {
        "roi": make_roi,
        "boxes": make_boxes,
        "refiner": make_phantom_refiner,
    }
    for name, make in parts.items():
        path = options.out / f"{name}.safetensors"
        if name in options.parts and not path.exists():
            make(options, path)


def start(name: str, folder: Path = FOLDER) -> Path:
    """Return a start that has been made; one line says how, where it has not."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise SystemExit(
            f"Expected {name} that has seen phantoms alone in {path}; make it with "
            "python -m benchmarks.compare_starts."
        )
    return path


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--parts", nargs="+", default=["roi", "boxes", "refiner"])
    parser.add_argument("--cache", type=Path, default=Path("build/phantoms"), help="keeps phantoms")
    parser.add_argument("--darknet", type=Path, default=DARKNET, help="what YOLO starts from")
    parser.add_argument("--roi-steps", type=int, default=3000)
    parser.add_argument("--box-steps", type=int, default=3000)
    parser.add_argument("--refiner-steps", type=int, default=4000)
    parser.add_argument("--share", type=float, default=1.0, help="of the phantoms")
    return parser.parse_args()


def make_roi(options: argparse.Namespace, path: Path) -> None:
    """Train the ROI detector from COCO weights."""
    train_roi(
        td.training_samples(None, _counts(options), cache=options.cache),
        start=options.darknet,
        out=path,
        seed=SEED,
        steps=options.roi_steps,
        classes=CLASSES,
        data=_sources(options, options.roi_steps),
        watch=_watch("roi"),
    )


def make_boxes(options: argparse.Namespace, path: Path) -> None:
    """Train the box detector from random weights."""
    model = train_boxes(
        box_samples(td.training_samples(None, _counts(options), cache=options.cache), CLASSES),
        CLASSES,
        seed=SEED,
        training=BoxTraining(steps=options.box_steps),
        watch=_watch("boxes"),
    )
    versions = {name: version(name) for name in ("torch", "numpy")}
    model.save(path, data=_sources(options, options.box_steps), seed=SEED, versions=versions)


def make_phantom_refiner(options: argparse.Namespace, path: Path) -> None:
    """Train all refiners from COCO weights on the boxes of the other two starts, and choose."""
    roi, boxes = (start(name, options.out) for name in ("roi", "boxes"))
    phantom = partial(td.phantom_samples, cache=options.cache)
    choice = (
        s for kind in phantoms.KINDS for s in phantom(kind, CHOICE_PHANTOMS, start=td.CHOICE_START)
    )
    table = make_refiner(
        td.training_samples(None, _counts(options), cache=options.cache),
        CLASSES,
        path,
        seed=SEED,
        held_out=held_out_boxes(([sample] for sample in choice), Predictor(roi, boxes)),
        data=_sources(options, options.refiner_steps),
        trunk=BoxModel.load(boxes),
        training=RefinerTraining(
            steps=options.refiner_steps, backbone=read_darknet(options.darknet)
        ),
        watch=_watch("refiner"),
    )
    print(f"{path}: {table}")


def _counts(options: argparse.Namespace) -> dict[str, int]:
    return {kind: max(1, round(count * options.share)) for kind, count in PHANTOMS.items()}


def _sources(options: argparse.Namespace, steps: int) -> list[str]:
    counts = _counts(options)
    return [f"{kind} phantoms: {n} images" for kind, n in counts.items()] + [f"{steps} steps"]


def _watch(part: str) -> Watch:
    def say(at: Step) -> None:
        if at.step % 100 == 0:
            print(f"{part}: step {at.step}, loss {at.loss:.4f}", flush=True)

    return Watch(step=say)


if __name__ == "__main__":
    main()
