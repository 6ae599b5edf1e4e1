"""`make weights`: train the networks that the package ships.

    python -m napari_graydet.workflows.weights --data ../shared/data \
        --darknet ../shared/weights/yolov3-tiny.weights --out napari_graydet/weights

They learn from phantoms and from the training side of the Montgomery chest X-rays, nothing else
(shipped_data.py). Everything is seeded; budgets are steps, not seconds, so that the same seed
gives the same weights on the same machine and library versions. Some three hours on two cores;
drawn phantoms are kept under `--cache`. `--part refiner` comes after the other two: it works with
the detectors that stand in `--out`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from napari_graydet.core.sample import Sample
from napari_graydet.errors import GraydetError
from napari_graydet.workflows import shipped_data
from napari_graydet.workflows.box_samples import box_samples

if TYPE_CHECKING:
    from napari_graydet.models.learning.loop import Step, Watch

CLASSES = ("bone", "lung")
PHANTOMS = {"hand": 260, "forearm": 360, "chest": 160}
HELD_OUT_PHANTOMS = 12
ROI_EPOCHS = 60.0
BOX_STEPS = 10_000

REFINER_STEPS = 4000
CHOICE_PHANTOMS = 6

Which = Literal["roi", "boxes", "all", "refiner"]
"""All: both detectors and the refiner."""


def make_weights(
    data: Path,
    darknet: Path,
    out: Path,
    *,
    which: Which = "all",
    seed: int = 0,
    cache: Path,
) -> None:
    """Train and save ``roi.safetensors``, ``boxes.safetensors``, ``refiner.safetensors``, or one.

    Parameters
    ----------
    data
        Folder of the data sets; only Montgomery images are read.
    darknet
        The YOLOv3-tiny weights that the ROI detector and the refiner start from.
    out
        Folder to write to.
    which
        Part to make.
    seed
        Of all trainings.
    cache
        Folder that keeps drawn phantoms.

    Raises
    ------
    ImageError
        If the Montgomery images are not there.
    WeightsError
        If the darknet file does not fit or a file cannot be written.
    """
    if which in ("roi", "all"):
        _make_roi(data, darknet, out / "roi.safetensors", seed, cache)
    if which in ("boxes", "all"):
        _make_boxes(data, out / "boxes.safetensors", seed, cache)
    if which in ("refiner", "all"):
        _make_refiner(data, darknet, out / "refiner.safetensors", seed, cache)


def _training(data: Path, cache: Path) -> Iterator[Sample]:
    return shipped_data.training_samples(data, PHANTOMS, cache=cache)


def _held_out(data: Path, cache: Path) -> Iterator[Sample]:
    return shipped_data.held_out_samples(data, HELD_OUT_PHANTOMS, cache=cache)


def _sources(data: Path) -> list[str]:
    """Return what the weights learn from, for their cards."""
    montgomery = len(shipped_data.montgomery_stems(data, "train"))
    return [
        f"Montgomery chest X-rays: {montgomery} images",
        *(f"{kind} phantoms: {count} images" for kind, count in PHANTOMS.items()),
    ]


def _make_roi(data: Path, darknet: Path, path: Path, seed: int, cache: Path) -> None:
    from napari_graydet.models.roi.training import train_roi

    card = train_roi(
        _training(data, cache),
        start=darknet,
        out=path,
        seed=seed,
        epochs=ROI_EPOCHS,
        classes=CLASSES,
        held_out=_held_out(data, cache),
        data=_sources(data),
        watch=_watch("roi"),
    )
    print(f"{path}: {card.metrics}")


def _make_boxes(data: Path, path: Path, seed: int, cache: Path) -> None:
    from napari_graydet.models.boxes.training import BoxTraining, box_metrics, train_boxes

    samples, held_out = (box_samples(of(data, cache), CLASSES) for of in (_training, _held_out))
    model = train_boxes(
        samples,
        CLASSES,
        seed=seed,
        training=BoxTraining(steps=BOX_STEPS),
        watch=_watch("boxes"),
    )
    metrics = box_metrics(model, held_out, seed=seed)
    versions = {name: version(name) for name in ("torch", "numpy")}
    model.save(path, data=_sources(data), metrics=metrics, seed=seed, versions=versions)
    print(f"{path}: {metrics}")


def _make_refiner(data: Path, darknet: Path, path: Path, seed: int, cache: Path) -> None:
    """Train all refiners on top of the detectors beside them, and choose among them."""
    from napari_graydet.models.boxes.detector import BoxModel
    from napari_graydet.models.refiner.learner import RefinerTraining
    from napari_graydet.models.refiner.training import make_refiner
    from napari_graydet.models.roi.darknet import read_darknet
    from napari_graydet.workflows.predict import Predictor
    from napari_graydet.workflows.training.refiner_part import held_out_boxes

    training = RefinerTraining(steps=REFINER_STEPS, backbone=read_darknet(darknet))
    roi, boxes = (path.with_name(f"{kind}.safetensors") for kind in ("roi", "boxes"))
    choice = shipped_data.choice_samples(data, CHOICE_PHANTOMS, cache=cache)
    table = make_refiner(
        shipped_data.refiner_samples(data, PHANTOMS, cache=cache),
        CLASSES,
        path,
        seed=seed,
        held_out=held_out_boxes(([sample] for sample in choice), Predictor(roi, boxes)),
        data=_sources(data),
        trunk=BoxModel.load(boxes),
        training=training,
        watch=_watch("refiner"),
    )
    print(f"{path}: {table}")


def _watch(part: str) -> Watch:
    """Return who prints where the training of a part stands."""
    from napari_graydet.models.learning.loop import Watch  # late: it loads torch

    def say(at: Step) -> None:
        if at.step % 25 == 0:
            print(f"{part}: step {at.step}, {at.share:.0%}, loss {at.loss:.4f}", flush=True)

    return Watch(step=say)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Train the weights that the package ships.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--darknet", type=Path, required=True, help="yolov3-tiny.weights")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--part", choices=get_args(Which), default="all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("build/phantoms"), help="keeps phantoms")
    given = parser.parse_args(arguments)
    try:
        make_weights(
            given.data,
            given.darknet,
            given.out,
            which=given.part,
            seed=given.seed,
            cache=given.cache,
        )
    except GraydetError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
