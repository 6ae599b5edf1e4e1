"""What can be trained: one entry a part. A new part is a function and a line in `PARTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_graydet.core.grayscale import GrayImage, GrayScale
from napari_graydet.core.roi import RoiBox
from napari_graydet.core.sample import Sample
from napari_graydet.errors import ModelError
from napari_graydet.io.weights import read_card
from napari_graydet.project.model_entry import Scores
from napari_graydet.workflows.box_samples import box_samples
from napari_graydet.workflows.dataset import Dataset
from napari_graydet.workflows.training.job import (
    LONGEST,
    PATIENCE,
    VALIDATIONS,
    PartJob,
    PartResult,
    Preset,
    some,
)
from napari_graydet.workflows.training.refiner_part import train_refiner_part

if TYPE_CHECKING:
    from napari_graydet.io.weights import WeightsKind
    from napari_graydet.models.boxes.detector import BoxModel
    from napari_graydet.models.boxes.paper_pointnet import PaperModel
    from napari_graydet.models.boxes.samples import BoxSample
    from napari_graydet.models.boxes.scores import ScoredRoi
    from napari_graydet.models.roi.metrics import RoiSample

NOT_PRETRAINED = (
    "PointNet starts from random weights; the paper's was pretrained: give one made by "
    "pretrain pointnet with --start."
)
NOT_FROM_COCO = (
    "The ROI detector starts from weights that know radiographs; the paper's knew photographs: "
    "give darknet's .weights with --start."
)
RIVAL_USED = (
    "On the held-out images {kind} finds gray ranges better ({rival:.3f} of the ceiling) than "
    "PointNet ({network:.3f}), so it is used; PointNet is kept for later trainings."
)


@dataclass(frozen=True)
class Part:
    """Something that can be trained.

    Parameters
    ----------
    name
        As the command line calls it.
    kind
        Of the weights that it makes: their file's name and what `ModelRegistry.activate` swaps.
    about
        One line for people.
    train
        Trains and writes `job.out`.
    try_start
        Loads weights as `train` will, for a preset and classes; raises `WeightsError` or
        `ModelError` where it cannot start from them.
    effort
        Share of the time that it takes, beside the other parts'.
    in_all
        Whether ``train all`` includes it.
    presets
        Those that have it.
    needs
        Kinds of the weights that it works with: the run's own, else those in use.
    """

    name: str
    kind: WeightsKind
    about: str
    train: Callable[[PartJob], PartResult]
    try_start: Callable[[Path, Preset, tuple[str, ...]], None]
    effort: float = 1.0
    in_all: bool = True
    presets: tuple[Preset, ...] = ("fast", "paper")
    needs: tuple[WeightsKind, ...] = ()


# --- ROI ----------------------------------------------------------------------------------------


def train_roi_part(job: PartJob) -> PartResult:
    """Train the ROI detector."""
    from napari_graydet.models.roi.training import train_roi

    held_out = job.watched([shrunk(sample) for sample in job.samples(some(job.validation))])
    before = _roi_scores_of_start(job, held_out)
    count = len(job.train.cases)
    card = train_roi(
        job.samples(job.train),
        start=job.weights,
        out=job.out,
        seed=job.seed,
        classes=job.classes,
        validation=held_out,
        validations=VALIDATIONS,
        patience=None if job.preset == "paper" else PATIENCE,
        preset=job.preset,
        data=[f"images of a project: {count}"],
        device=job.device,
        watch=job.watch(),
        **job.roi_budget(),
    )
    return PartResult(_figures(card.metrics), before)


def _roi_scores_of_start(job: PartJob, held_out: Sequence[RoiSample]) -> Scores:
    """Return the figures of the start, if it is a detector that knows one of the classes."""
    from napari_graydet.models.roi.detector import YoloRoiDetector
    from napari_graydet.models.roi.metrics import roi_scores

    if job.weights.suffix == ".weights":
        return {}
    detector = YoloRoiDetector.from_weights(job.weights, device=job.device)
    known = set(detector.labels) & set(job.classes)
    return roi_scores(detector, held_out) if known else {}


@dataclass(frozen=True, eq=False)
class _SmallSample:
    """A sample as a detector looks at it, small enough to keep many."""

    image: GrayImage
    label: str
    kind: str
    rois: list[RoiBox]


def shrunk(sample: Sample) -> RoiSample:
    """Return a sample in 8 bit, longest side at most `LONGEST`: what it takes to score ROIs."""
    image = sample.image
    factor = max(1, -(-max(image.shape) // LONGEST))
    if factor == 1:
        return _SmallSample(image, sample.label, sample.kind, sample.rois)
    rows, cols = (extent // factor for extent in image.shape)
    blocks = image.display8()[: rows * factor, : cols * factor]
    gray = blocks.reshape(rows, factor, cols, factor).mean(axis=(1, 3)).astype(np.uint8)
    small = GrayImage(gray, GrayScale.of_bits(8), name=image.name)
    rois = [
        RoiBox(*(v / factor for v in roi.xyxy)).at_least_a_pixel(small.shape) for roi in sample.rois
    ]
    return _SmallSample(small, sample.label, sample.kind, rois)


def _try_roi_start(path: Path, preset: Preset, classes: tuple[str, ...]) -> None:
    from napari_graydet.models.roi.training import described, start_from
    from napari_graydet.models.roi.yolo import build_yolo

    network = build_yolo(described(path)[0], len(classes))
    start_from(network, path, classes)


# --- 3D boxes -----------------------------------------------------------------------------------


def train_boxes_part(job: PartJob) -> PartResult:
    """Train PointNet on anchors, and solve the regressor."""
    from napari_graydet.models.boxes.samples import Disturbance
    from napari_graydet.models.boxes.scores import box_scores, scored_rois
    from napari_graydet.models.boxes.training import BoxTraining, train_boxes

    if job.preset == "paper":
        return _train_paper_boxes(job)
    start = _box_model(job.weights, job.classes, job.seed)
    samples, held_out = _crops(job, job.train), _crops(job, job.validation)
    rois = scored_rois(held_out, np.random.default_rng(job.seed))
    before = box_scores(start, rois)
    model = train_boxes(
        samples,
        job.classes,
        seed=job.seed,
        training=BoxTraining(disturbance=Disturbance(pose=True), learning_rate=1e-3),
        start=start,
        validation=held_out,
        budget=job.box_budget(len(samples)),
        device=job.device,
        watch=job.watch(),
    )
    return _saved_best(job, model, samples, rois, before)


def _train_paper_boxes(job: PartJob) -> PartResult:
    """Train PointNet and the regressor anchor by anchor, from a pretrained PointNet if given."""
    from napari_graydet.models.boxes.paper_training import (
        EPOCHS,
        paper_rois,
        paper_scores,
        train_paper_boxes,
    )
    from napari_graydet.models.device import choose_device

    note = NOT_PRETRAINED if job.start is None else None
    if note is not None:
        job.tell("notice", message=note)
    held_out = _crops(job, job.validation)
    model = train_paper_boxes(
        _crops(job, job.train),
        job.classes,
        seed=job.seed,
        start=job.start,
        epochs=job.epochs or EPOCHS,
        minutes=job.minutes,
        validation=held_out,
        device=job.device,
        watch=job.watch(),
    )
    scores = paper_scores(model, paper_rois(held_out), choose_device("cpu"))
    return replace(_saved(job, model, scores, {}), note=note)


def _try_boxes_start(path: Path, preset: Preset, classes: tuple[str, ...]) -> None:
    from napari_graydet.models.boxes.paper_training import started

    if preset == "paper":
        started(path, len(classes))
    else:
        _box_model(path, classes)


def train_regressor_part(job: PartJob) -> PartResult:
    """Solve the box regressor again, on the network as it is."""
    if job.preset == "paper":
        return _train_paper_regressor(job)
    from napari_graydet.models.boxes.detector import BoxModel
    from napari_graydet.models.boxes.scores import box_scores, scored_rois
    from napari_graydet.models.boxes.training import BoxTraining, fit_regressor

    start = _box_model(job.weights, job.classes, job.seed)
    rng = np.random.default_rng(job.seed)
    rois = scored_rois(_crops(job, job.validation), np.random.default_rng(job.seed))
    samples = _crops(job, job.train)
    fitted = fit_regressor(
        start.network, samples, len(job.classes), start.grid, BoxTraining(), rng, job.check
    )
    model = BoxModel(start.network, fitted, start.grid, job.classes)
    job.tell("progress", step=1, share=1.0, loss=0.0, seconds=0.0)
    return _saved_best(job, model, samples, rois, box_scores(start, rois))


def _train_paper_regressor(job: PartJob) -> PartResult:
    """Descend to the regressor of a network that was trained as in the paper."""
    from napari_graydet.models.boxes.paper_pointnet import PaperModel
    from napari_graydet.models.boxes.paper_training import (
        fit_paper_regressor,
        labelled,
        paper_rois,
        paper_scores,
    )
    from napari_graydet.models.device import choose_device

    start = PaperModel.load(job.weights)
    count = len(job.classes)
    rois = labelled(_crops(job, job.train), start.grid, count, job.check)
    rng = np.random.default_rng(job.seed)
    fitted = fit_paper_regressor(start.network, rois, start.grid, count, rng, job.check)
    model = PaperModel(start.network, fitted, start.grid, job.classes)
    held_out, cpu = paper_rois(_crops(job, job.validation)), choose_device("cpu")
    job.tell("progress", step=1, share=1.0, loss=0.0, seconds=0.0)
    return _saved(
        job, model, paper_scores(model, held_out, cpu), paper_scores(start, held_out, cpu)
    )


def _try_regressor_start(path: Path, preset: Preset, classes: tuple[str, ...]) -> None:
    from napari_graydet.models.boxes.detector import ARCHITECTURE
    from napari_graydet.models.boxes.paper_pointnet import ARCHITECTURE as PAPER
    from napari_graydet.models.boxes.paper_pointnet import PaperModel

    card = read_card(path)
    wanted = PAPER if preset == "paper" else ARCHITECTURE
    if card.kind == "pointnet":
        raise ModelError(
            f"{path.name} was pretrained on shapes and has never scored a box, so there is nothing "
            "to fit a regressor to; train boxes from it."
        )
    if card.kind == "boxes" and card.architecture != wanted:
        raise ModelError(
            f"The regressor of preset {preset} is fitted to a network {wanted}, the boxes to start "
            f"from are {card.architecture}; train boxes with preset {preset}, or choose the other."
        )
    if preset != "paper":
        _box_model(path, classes)
    elif (known := PaperModel.load(path).classes) != classes:
        raise ModelError(
            f"Expected a model of {', '.join(classes)}, got one of {', '.join(known)}; "
            "train the boxes, too."
        )


def _box_model(path: Path, classes: tuple[str, ...], seed: int = 0) -> BoxModel:
    """Return a start as a model of these classes; the seed is of what it has not learned."""
    from napari_graydet.models.boxes.detector import BoxModel
    from napari_graydet.models.boxes.training import for_classes
    from napari_graydet.models.pretraining import box_model_from

    if read_card(path).kind == "pointnet":
        return box_model_from(path, classes, seed)
    return for_classes(BoxModel.load(path), classes)


def _saved_best(
    job: PartJob,
    model: BoxModel,
    samples: Sequence[BoxSample],
    rois: Sequence[ScoredRoi],
    before: Scores,
) -> PartResult:
    """Save the network, and the simple rival to use in its place where that does better."""
    from napari_graydet.models.boxes.choice import NETWORK, with_best_rival
    from napari_graydet.models.boxes.interval import fit_intervals
    from napari_graydet.models.boxes.scores import SCORED, SHARE, box_scores

    job.check()
    learned = {sample.class_id for sample in samples}
    every_class = len(learned) == len(job.classes)  # a rival knows nothing of a class without parts
    rivals = fit_intervals(samples, job.classes, job.seed) if every_class else []
    images = min(len(job.validation.cases), SCORED)
    model, table = with_best_rival(model, rivals, rois, images)
    scores = box_scores(model, rois) | {f"{SHARE}, {name}": v for name, v in table.items()}
    note = None
    if model.rival is not None:
        kind = model.rival.kind
        note = RIVAL_USED.format(kind=kind, rival=table[kind], network=table[NETWORK])
        job.tell("notice", message=note)
    return replace(_saved(job, model, scores, before), note=note)


def _saved(
    job: PartJob, model: BoxModel | PaperModel, scores: Scores, before: Scores
) -> PartResult:
    versions = {name: version(name) for name in ("torch", "numpy")}
    data = [f"images of a project: {len(job.train.cases)}"]
    model.save(job.out, data=data, metrics=scores, seed=job.seed, versions=versions)
    return PartResult(scores, before)


def _crops(job: PartJob, data: Dataset) -> list[BoxSample]:
    """Cut the parts out, grouped by class: each is drawn equally often.

    Parts so thin that no pixel of them is left in a crop are left out.
    """
    by_class = (replace(sample, kind=sample.label) for sample in job.samples(data))
    return [crop for crop in box_samples(by_class, job.classes) if crop.shows_something]


# --- common -------------------------------------------------------------------------------------


def _figures(metrics: Mapping[str, object]) -> Scores:
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def _try_refiner_start(path: Path, preset: Preset, classes: tuple[str, ...]) -> None:
    from napari_graydet.models.refiner.model import RefinerModel

    RefinerModel.load(path)


_PARTS = (
    Part("roi", "roi", "the ROI detector (YOLO)", train_roi_part, _try_roi_start, effort=3),
    Part(
        "boxes",
        "boxes",
        "the 3D box detector (PointNet and regressor)",
        train_boxes_part,
        _try_boxes_start,
    ),
    Part(
        "regressor",
        "boxes",
        "the box regressor alone",
        train_regressor_part,
        _try_regressor_start,
        in_all=False,
    ),
    Part(
        "refiner",
        "refiner",
        "the refiner (what no gray range can reach)",
        train_refiner_part,
        _try_refiner_start,
        effort=2,
        presets=("fast",),
        needs=("roi", "boxes"),
    ),
)
PARTS: dict[str, Part] = {part.name: part for part in _PARTS}


def parts_of(names: str, preset: Preset) -> tuple[Part, ...]:
    """Return the parts that "all", or names with commas between them, stand for.

    Raises
    ------
    ModelError
        If there is no such part, the preset does not have it, or two make the same weights.
    """
    if names == "all":
        return tuple(p for p in PARTS.values() if p.in_all and preset in p.presets)
    asked = [name.strip() for name in names.split(",")]
    unknown = [name for name in asked if name not in PARTS]
    if unknown:
        raise ModelError(f"Expected parts among {', '.join(PARTS)} or all, got {unknown[0]!r}.")
    chosen = tuple(part for name, part in PARTS.items() if name in asked)
    for part in chosen:
        if preset not in part.presets:
            raise ModelError(
                f"Preset {preset} has no {part.name}; train it with preset {part.presets[0]}."
            )
    if len({part.kind for part in chosen}) < len(chosen):
        raise ModelError("The boxes' training fits the regressor, too; train boxes alone.")
    return chosen
